"""``geds://`` for smart_open, and the module that programs of the reference import."""

import gc
import http.server
import pathlib
import runpy
import sys
import threading

import geds_smart_open
import pytest
import smart_open

from cloudskin import geds

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "checkpoints.py"


def test_urls_are_opened(store):
    with smart_open.open("geds://lab/x y?z%20", "wb") as file:
        file.write(b"1\n2\n")
    with smart_open.open("geds://lab/x y?z%20") as file:
        assert list(file) == ["1\n", "2\n"]
    assert store.get("lab", "x y?z%20") == b"1\n2\n"

    with smart_open.open("geds://lab/x.gz", "w", encoding="utf-8") as file:
        file.write("käse")
    assert store.get("lab", "x.gz")[:2] == b"\x1f\x8b"
    with smart_open.open("geds://lab/x.gz", encoding="utf-8") as file:
        assert file.read() == "käse"
    store.put("lab", "x", b"1\n2\n")
    with smart_open.open("geds://lab/x", "rb", transport_params={"place": store._place}) as file:
        file.seek(2)
        assert file.read() == b"2\n"
    with smart_open.open("geds://lab/x", "ab", transport_params={"durable": True}) as file:
        file.write(b"3\n")
    assert store.get("lab", "x") == b"1\n2\n3\n"


def test_a_block_that_fails_leaves_no_object(store):
    for name, mode, data in (("x", "wb", b"1"), ("x.txt", "w", "1"), ("x.gz", "wb", b"1")):
        with pytest.raises(KeyError), smart_open.open(f"geds://lab/{name}", mode) as file:
            file.write(data)
            raise KeyError
    assert list(store.entries("lab")) == []


def test_what_is_not_there_and_what_is_no_name_is_said(store):
    with pytest.raises(FileNotFoundError, match="no object `x` in bucket `lab`"):
        smart_open.open("geds://lab/x")
    with pytest.raises(ValueError, match="register_object_store") as raised:
        smart_open.open("geds://ACCESS:SECRET@host:443@lab/x")
    assert "SECRET" not in str(raised.value)


class Bucket(http.server.BaseHTTPRequestHandler):
    """The little of S3 that reading and writing small objects needs; believes every signature."""

    def do_PUT(self):
        self.server.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"")

    def do_GET(self):
        found = self.server.objects.get(self.path)
        self.answer(404 if found is None else 200, found or b"")

    def answer(self, status, body):
        self.server.authorizations.add(self.headers["Authorization"].split("/")[0])
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 04:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    server.objects, server.authorizations = {}, set()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()
    geds_smart_open._registered.clear()


def test_buckets_are_kept_in_object_stores(place, endpoint):
    url = f"http://127.0.0.1:{endpoint.server_port}"
    endpoint.objects["/lab/model"] = b"weights"
    geds_smart_open.register_object_store("lab", url, "KEY", "SECRET")

    with geds_smart_open.open("geds://lab/model", "rb") as file:
        assert file.read() == b"weights"
    with pytest.raises(FileNotFoundError):
        geds_smart_open.open("geds://lab/none", "rb")
    with geds_smart_open.open("geds://lab/checkpoint", "wb") as file:
        file.write(b"state")
    assert "/lab/checkpoint" not in endpoint.objects
    geds_smart_open.relocate()

    assert endpoint.objects["/lab/checkpoint"] == b"state"
    assert endpoint.authorizations == {"AWS4-HMAC-SHA256 Credential=KEY"}


def test_relocated_objects_outlive_the_store(place):
    store = geds.open()
    store.create_bucket("lab")
    with geds_smart_open.open("geds://lab/x", "wb") as file:
        file.write(b"1" * 100_000)
    geds_smart_open.relocate()
    del store, file
    gc.collect()

    assert geds.open().stat("lab", "x").tier == "disk"


def test_threads_read_models_and_write_checkpoints(store, monkeypatch, capsys):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--threads", "4", "--size", "1MiB"])

    runpy.run_path(str(EXAMPLE), run_name="__main__")

    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "threads,seconds,read_bytes,written_bytes,relocated_seconds"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "4"]
    assert store.stat("geds-test", "checkpoint/checkpoint_3.bin").size == 1 << 20
