"""``geds://`` for smart_open, and the module that programs of the reference import."""

import pathlib
import runpy
import sys

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
    assert store.stat("lab", "x").tier == "disk"


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


def test_object_stores_are_refused_as_long_as_there_is_no_such_tier(store):
    with pytest.raises(NotImplementedError, match="no tier of object stores yet"):
        geds_smart_open.register_object_store("lab", "http://localhost:9000", "key", "secret")


def test_objects_are_relocated_to_disk(store):
    with geds_smart_open.open("geds://lab/x", "wb") as file:
        file.write(b"1" * 100_000)
    assert store.stat("lab", "x").tier == "memory"
    geds_smart_open.relocate()

    assert store.stat("lab", "x").tier == "disk"


def test_threads_read_models_and_write_checkpoints(store, monkeypatch, capsys):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--threads", "4", "--size", "1MiB"])

    runpy.run_path(str(EXAMPLE), run_name="__main__")

    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "threads,seconds,read_bytes,written_bytes,relocated_seconds"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "4"]
    assert store.stat("geds-test", "checkpoint/checkpoint_3.bin").size == 1 << 20
    assert geds.open().stat("geds-test", "checkpoint/checkpoint_3.bin").tier == "disk"
