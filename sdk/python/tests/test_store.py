"""Buckets and objects."""

import gc
import pickle
import threading

import numpy
import pytest

from cloudskin import geds


def test_bytes_come_back(store):
    stat = store.put("lab", "a/b", b"hello", attributes={"type": "text", "raw": b"\0\xff"})

    assert store.get("lab", "a/b") == b"hello"
    assert stat == store.stat("lab", "a/b")
    assert (stat.size, stat.tier) == (5, "memory")
    assert stat.attributes == {"type": b"text", "raw": b"\0\xff"}
    assert stat.modified == pytest.approx(store.bucket("lab").created, abs=60)


@pytest.mark.parametrize("data", [b"", bytearray(b"abc"), memoryview(b"xabcx")[1:4], numpy.arange(7.0)])
def test_anything_with_bytes_can_be_put(store, data):
    store.put("lab", "x", data)

    assert store.get("lab", "x") == bytes(data)


def test_bytes_that_do_not_lie_together_are_refused(store):
    with pytest.raises(BufferError, match="do not lie together"):
        store.put("lab", "x", numpy.arange(10)[::2])
    with pytest.raises(TypeError):
        store.put("lab", "x", "text")


def test_a_view_is_the_memory_itself_and_read_only(store):
    numbers = numpy.arange(1 << 16, dtype=numpy.float32)
    store.put("lab", "weights", numbers)

    view = store.view("lab", "weights")
    seen = numpy.frombuffer(view, numpy.float32)

    assert view.is_shared
    assert numpy.array_equal(seen, numbers)
    assert not seen.flags.writeable
    again = numpy.frombuffer(store.view("lab", "weights"), numpy.float32)
    assert again.ctypes.data == seen.ctypes.data


def test_a_view_outlives_its_object_and_its_store(place):
    store = geds.open(place)
    store.create_bucket("lab")
    store.put("lab", "x", b"a" * 100_000)
    seen = memoryview(store.view("lab", "x"))
    store.delete("lab", "x")
    store.put("lab", "x", b"b" * 100_000)
    del store
    gc.collect()

    assert seen == b"a" * 100_000


def test_a_view_is_not_released_while_something_looks_into_it(store):
    store.put("lab", "x", b"abc")
    with store.view("lab", "x") as view:
        seen = memoryview(view)
        with pytest.raises(BufferError, match="1 buffers look"):
            view.release()
        seen.release()
        assert (len(view), bytes(view)) == (3, b"abc")

    with pytest.raises(ValueError, match="released"):
        memoryview(view)


def test_parts_of_an_object_are_read(store):
    store.put("lab", "x", bytes(range(200)))
    opened = store.object("lab", "x")
    room = bytearray(4)

    assert opened.read_at(10, 3) == bytes([10, 11, 12])
    assert opened.read_at(198, 100) == bytes([198, 199])
    assert opened.read_at(1 << 63, 1 << 63) == b""
    assert opened.read_into(196, room) == 4 and room == bytes([196, 197, 198, 199])
    assert bytes(opened.view_range(3, 5)) == bytes([3, 4])
    with pytest.raises(geds.InvalidError, match="of an object of 200 bytes"):
        opened.view_range(0, 201)
    with pytest.raises(BufferError, match="read-only"):
        opened.read_into(0, b"1234")
    with pytest.raises(OverflowError):
        opened.read_at(-1, 3)


def test_pieces_of_any_order_make_an_object(store):
    writer = store.create("lab", "x", attributes={"k": "v"})
    writer.write_at(4, b"5678")
    writer.write_at(0, bytearray(b"12"))
    writer.truncate(6)
    assert writer.read_at(0, 100) == b"12\0\x0056"
    assert not store.exists("lab", "x")
    assert writer.seal().size == 6

    assert store.get("lab", "x") == b"12\0\x0056"
    with pytest.raises(geds.InvalidError, match="sealed"):
        writer.write_at(0, b"1")


def test_the_first_seal_of_a_name_wins(store):
    first = store.put("lab", "x", b"1")
    late = store.create("lab", "x")
    late.write_at(0, b"2")

    with pytest.raises(FileExistsError):
        late.seal()
    with pytest.raises(geds.ExistsError, match="ask to overwrite it"):
        store.put("lab", "x", b"2")
    second = store.put("lab", "x", b"2", if_version=first.version)
    with pytest.raises(geds.ConflictError, match="read it again"):
        store.put("lab", "x", b"3", if_version=first.version)
    assert store.delete("lab", "x", if_version=second.version)
    assert not store.delete("lab", "x")


def test_names_are_changed_without_copying(store):
    for key in ("run/1", "run/2", "else"):
        store.put("lab", key, key.encode())
    store.create_bucket("other")

    store.copy(("lab", "else"), ("other", "copy"), attributes={"new": "1"})
    store.rename("lab", "else", "moved")
    assert store.copy_prefix(("lab", "run/"), ("other", "runs/")) == 2
    assert store.rename_prefix("lab", "run/", "old/") == 2

    assert [entry.key for entry in store.entries("lab")] == ["moved", "old/1", "old/2"]
    assert [entry.key for entry in store.entries("other")] == ["copy", "runs/1", "runs/2"]
    assert store.stat("other", "copy").attributes == {"new": b"1"}
    assert store.delete_prefix("lab", "old/") == 2
    with pytest.raises(geds.ConflictError, match="not empty"):
        store.delete_bucket("lab")
    store.delete_prefix("lab", "")
    store.delete_bucket("lab")
    assert [bucket.name for bucket in store.buckets()] == ["other"]


def test_objects_are_composed_of_parts(store):
    store.put("lab", "a", b"0123")
    store.put("lab", "b", b"4567")

    store.compose("lab", "all", [("lab", "a", None), ("lab", "b", (1, 3))])

    assert store.get("lab", "all") == b"012356"
    with pytest.raises(geds.InvalidError):
        store.compose("lab", "no", [("lab", "a", (3, 9))])


def test_lists_come_page_by_page(store):
    for number in range(2500):
        store.put("lab", f"many/{number:04}", b"")
    store.make_folder("lab", "empty")

    top = store.list("lab", delimiter="/")
    page = store.list("lab", "many/", limit=10)

    assert (top.prefixes, top.entries) == (["empty/", "many/"], [])
    assert [entry.key for entry in page.entries][-1] == page.next == "many/0009"
    assert len(list(store.entries("lab", "many/"))) == 2500


def test_attributes_of_objects_and_buckets_can_be_replaced(store):
    version = store.put("lab", "x", b"1").version
    assert store.set_attributes("lab", "x", {"a": "1"}, if_version=version).attributes == {"a": b"1"}
    store.set_bucket_attributes("lab", {"region": "here"})

    assert store.stat("lab", "x").version == version
    assert store.bucket("lab").attributes == {"region": b"here"}
    with pytest.raises(geds.InvalidError, match="16384"):
        store.set_attributes("lab", "x", {"a": bytes(20_000)})
    with pytest.raises(TypeError):
        store.set_attributes("lab", "x", {"a": 1})


def test_limits_hold_and_change_at_run_time(store):
    assert store.limits().memory_bytes == 256 << 20
    store.set_limits(disk_bytes=1 << 20, memory_bytes=32 << 20)
    with pytest.raises(geds.ExhaustedError, match="no room for") as raised:
        for number in range(64):
            store.put("lab", str(number), bytes(4 << 20))
    store.set_limits(disk_bytes=1 << 30, wait_ms=20_000)

    store.put("lab", "fits", bytes(4 << 20))
    assert raised.value.kind == "Exhausted"
    assert store.usage().objects == number + 1
    with pytest.raises(geds.InvalidError, match="no limit `speed`"):
        store.set_limits(speed=1)


def test_what_is_persisted_outlives_the_store(place):
    store = geds.open(place)
    store.create_bucket("lab")
    store.put("lab", "kept", b"1" * 100_000, durable=True)
    store.put("lab", "late", b"2")
    assert store.persist("lab", "late").size == 1
    del store
    gc.collect()

    store = geds.open(place)
    assert store.stat("lab", "kept").tier == "disk"
    assert store.get("lab", "kept") == b"1" * 100_000
    assert store.get("lab", "late") == b"2"


def test_errors_are_pythons_where_it_has_them(store):
    cases = [
        (FileNotFoundError, "NotFound", lambda: store.get("lab", "no")),
        (FileNotFoundError, "NotFound", lambda: store.stat("none", "x")),
        (FileExistsError, "AlreadyExists", lambda: store.create_bucket("lab")),
        (ValueError, "Invalid", lambda: store.create_bucket("No Bucket")),
        (ValueError, "Invalid", lambda: store.put("lab", "k" * 1025, b"")),
    ]
    for kind, name, act in cases:
        with pytest.raises(kind) as raised:
            act()
        assert isinstance(raised.value, geds.Error) and raised.value.kind == name
        again = pickle.loads(pickle.dumps(raised.value))
        assert (type(again), str(again)) == (type(raised.value), str(raised.value))


def test_threads_share_a_store(store):
    def work(thread):
        for number in range(200):
            store.put("lab", f"{thread}/{number}", number.to_bytes(8) * thread)
            assert store.get("lab", f"{thread}/{number}") == number.to_bytes(8) * thread

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.usage().objects == 1600


def test_others_run_while_one_waits_for_room(store):
    store.set_limits(memory_bytes=32 << 20, disk_bytes=1 << 20, wait_ms=1000)
    with pytest.raises(geds.ExhaustedError):
        for number in range(64):
            store.put("lab", str(number), bytes(4 << 20))
    refused = threading.Event()

    def wait():
        with pytest.raises(geds.ExhaustedError):
            store.put("lab", "no room", bytes(4 << 20))
        refused.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    rounds = 0
    while not refused.is_set():
        assert store.exists("lab", "0")
        rounds += 1
    waiting.join()

    assert rounds > 100


def test_what_is_forgotten_is_freed(store):
    for _ in range(50):
        store.put("lab", "x", bytes(8 << 20), overwrite=True)
        memoryview(store.view("lab", "x")).release()
        store.open("lab", "x").close()
        store.create("lab", "y", size_hint=8 << 20).write_at(0, bytes(1 << 20))

    assert store.usage().objects == 1


def test_buckets_have_storage_outside(store, folder):
    outside = folder / "outside"
    outside.mkdir()
    (outside / "old").write_bytes(b"from outside")
    with pytest.raises(geds.InvalidError, match="register it first"):
        store.import_objects("lab")
    for url in ("lab", "ftp://x", f"file://{folder}/none"):
        with pytest.raises(geds.Error):
            store.register("lab", url)
    store.register("lab", f"file://{outside}")

    assert store.get("lab", "old") == b"from outside"
    store.put("lab", "new", b"from here")
    assert store.export_objects("lab") == 1
    assert (outside / "new").read_bytes() == b"from here"
    store.delete_prefix("lab", "")
    assert store.import_objects("lab", "o") == 1
    store.unregister("lab")
    with pytest.raises(FileNotFoundError):
        store.get("lab", "new")


def test_bytes_move_to_another_tier_when_they_are_told_to(store, folder):
    store.put("lab", "a/1", b"x" * 5000)
    store.put("lab", "b", b"stays")

    assert store.relocate("lab", "a/", to="disk") == (1, [])
    assert (store.stat("lab", "a/1").tier, store.stat("lab", "b").tier) == ("disk", "memory")
    assert store.relocate("lab", to="memory") == (1, [])
    assert store.stat("lab", "a/1").tier == "memory"
    with pytest.raises(ValueError, match="attach"):
        store.relocate("lab", to="outside")
    with pytest.raises(ValueError, match="disk"):
        store.relocate("lab", to="elsewhere")


def test_an_object_has_a_class_of_its_own(store):
    assert store.put("lab", "a", b"x").storage_class is None
    assert store.put("lab", "b", b"x", storage_class="cold").storage_class == "cold"
    store.create("lab", "c", storage_class="hot").seal()
    assert store.stat("lab", "c").storage_class == "hot"
    assert store.set_storage_class("lab", "c", None).storage_class is None
    with pytest.raises(ValueError, match="cold"):
        store.put("lab", "d", b"x", storage_class="STANDARD")
