"""Objects as files."""

import csv
import gc
import io
import json
import pickle
import shutil

import numpy
import pytest

from cloudskin import geds


def test_a_file_is_an_object_once_it_is_closed(store):
    file = store.open("lab", "x", "wb", attributes={"k": "v"})
    assert file.write(b"abc") == 3
    assert not store.exists("lab", "x")
    file.close()

    assert store.get("lab", "x") == b"abc"
    assert (file.stat.size, file.size, file.closed) == (3, 3, True)
    assert store.stat("lab", "x").attributes == {"k": b"v"}
    file.close()


def test_a_block_that_fails_leaves_no_object(store):
    for mode, data in (("wb", b"half"), ("w", "half"), ("xb", b"half"), ("w+b", b"half")):
        with pytest.raises(KeyError), store.open("lab", "x", mode) as file:
            file.write(data)
            raise KeyError
    with pytest.raises(KeyError), store.open("lab", "x", "wb", buffering=0) as file:
        file.write(b"half")
        raise KeyError

    assert not store.exists("lab", "x")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_is_dropped_leaves_no_object(store):
    file = store.open("lab", "x", "wb")
    file.write(b"half")
    with pytest.warns(ResourceWarning, match="geds://lab/x was not closed"):
        del file
        gc.collect()
    text = store.open("lab", "y", "w")
    text.write("half")
    del text
    gc.collect()

    assert not store.exists("lab", "x")
    assert not store.exists("lab", "y")


def test_a_file_whose_write_failed_leaves_no_object(store):
    store.set_limits(memory_bytes=32 << 20, disk_bytes=1 << 20)
    file = store.open("lab", "large", "wb")
    with pytest.raises(geds.ExhaustedError):
        for _ in range(64):
            file.write(bytes(4 << 20))
    file.close()

    assert not store.exists("lab", "large")


def test_reading_is_as_of_any_file(store):
    lines = [f"line {number}\n".encode() for number in range(20_000)]
    store.put("lab", "x", b"".join(lines))

    with store.open("lab", "x") as file:
        assert isinstance(file, io.BufferedIOBase)
        assert file.name == "geds://lab/x"
        assert file.readline() == lines[0]
        assert list(file) == lines[1:]
        assert file.seek(-5, io.SEEK_END) == file.size - 5
        assert file.read() == b"9999\n"
        assert file.read() == b""
        file.seek(0)
        room = bytearray(6)
        assert file.readinto(room) == 6 and room == b"line 0"
        assert bytes(file.view()) == b"".join(lines)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"")
        with pytest.raises(ValueError):
            file.seek(-1)
    with pytest.raises(ValueError):
        file.read()


def test_a_reader_keeps_the_bytes_that_it_opened(store):
    store.put("lab", "x", b"a" * 200_000)
    with store.open("lab", "x") as file:
        store.put("lab", "x", b"b", overwrite=True)
        assert file.read() == b"a" * 200_000


def test_modes_are_pythons(store):
    with pytest.raises(FileNotFoundError):
        store.open("lab", "x", "rb")
    with pytest.raises(FileNotFoundError):
        store.open("lab", "x", "r+b")
    with store.open("lab", "x", "xb") as file:
        file.write(b"0123456789")
    with pytest.raises(FileExistsError):
        store.open("lab", "x", "xb")
    with store.open("lab", "x", "ab") as file:
        assert file.tell() == 10
        file.write(b"ab")
    with store.open("lab", "x", "r+b") as file:
        assert file.read(2) == b"01"
        file.write(b"--")
        file.seek(0, io.SEEK_END)
        file.write(b"!")
    assert store.get("lab", "x") == b"01--456789ab!"
    with store.open("lab", "x", "r+b") as file:
        file.truncate(4)
    assert store.get("lab", "x") == b"01--"
    with store.open("lab", "x", "w+b") as file:
        file.write(b"new")
        file.seek(0)
        assert file.read() == b"new"
    with store.open("lab", "x", "wb"):
        pass
    assert store.get("lab", "x") == b""
    for mode in ("", "b", "rw", "rbt", "rr", "rq", "U"):
        with pytest.raises(ValueError, match="invalid mode"):
            store.open("lab", "x", mode)


def test_a_file_that_was_only_opened_for_changes_makes_no_version(store):
    version = store.put("lab", "x", b"1", attributes={"k": "v"}).version
    with store.open("lab", "x", "r+b") as file:
        file.read()
    assert store.stat("lab", "x").version == version

    with store.open("lab", "x", "ab") as file:
        file.write(b"2")
    assert store.stat("lab", "x").attributes == {"k": b"v"}


def test_what_others_wrote_meanwhile_is_not_replaced(store):
    store.put("lab", "log", b"1")
    file = store.open("lab", "log", "ab")
    file.write(b"2")
    store.put("lab", "log", b"other", overwrite=True)

    with pytest.raises(geds.ConflictError):
        file.close()
    assert file.closed
    assert store.get("lab", "log") == b"other"


def test_text_has_an_encoding_and_line_ends(store):
    with store.open("lab", "t", "w", newline="\r\n") as file:
        print("käse", file=file)
    assert store.get("lab", "t") == "käse\r\n".encode()
    with store.open("lab", "t", "r") as file:
        assert file.read() == "käse\n"
    with pytest.raises(UnicodeDecodeError), store.open("lab", "t", "r", encoding="ascii") as file:
        file.read()
    with pytest.raises(ValueError, match="no encoding"):
        store.open("lab", "t", "rb", encoding="ascii")


def test_a_file_can_be_committed_later(store):
    first = store.open("lab", "x", "wb", autocommit=False)
    second = store.open("lab", "y", "wb", autocommit=False)
    for file in (first, second):
        file.write(b"1")
        file.close()
    assert not store.exists("lab", "x")
    first.commit()
    second.discard()

    assert store.get("lab", "x") == b"1"
    assert not store.exists("lab", "y")


def test_libraries_write_and_read_such_files(store):
    array = numpy.arange(100_000).reshape(100, 1000)
    with store.open("lab", "a.npy", "wb") as file:
        numpy.save(file, array)
    with store.open("lab", "a.npy") as file:
        assert numpy.array_equal(numpy.load(file), array)
    with store.open("lab", "a.npz", "wb") as file:
        numpy.savez(file, one=array, two=array[0])
    with store.open("lab", "a.npz") as file, numpy.load(file) as both:
        assert numpy.array_equal(both["two"], array[0])
    with store.open("lab", "p", "wb") as file:
        pickle.dump({"a": array}, file, protocol=5)
    with store.open("lab", "p") as file:
        assert numpy.array_equal(pickle.load(file)["a"], array)
    with store.open("lab", "j", "w") as file:
        json.dump([1, 2], file)
    with store.open("lab", "j", "r") as file:
        assert json.load(file) == [1, 2]
    with store.open("lab", "c", "w", newline="") as file:
        csv.writer(file).writerow(["a", "b"])
    with store.open("lab", "c", "r", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"]]
    with store.open("lab", "p") as source, store.open("lab", "q", "wb") as target:
        shutil.copyfileobj(source, target)
    assert store.get("lab", "q") == store.get("lab", "p")


def test_an_object_may_be_larger_than_memory(store):
    store.set_limits(memory_bytes=32 << 20)
    piece = numpy.random.default_rng(7).bytes(1 << 20)
    with store.open("lab", "large", "wb") as file:
        for _ in range(64):
            file.write(piece)

    assert store.stat("lab", "large").tier == "disk"
    with store.open("lab", "large") as file:
        file.seek(63 << 20)
        assert file.read() == piece
