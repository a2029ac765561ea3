"""The file system for fsspec: its own suite for file systems, and what it leaves out."""

import io
import os

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from cloudskin import geds


@pytest.fixture
def fs(store):
    yield fsspec.filesystem("geds")
    fsspec.filesystem("geds").clear_instance_cache()


class Fixtures(abstract.AbstractFixtures):
    """Where fsspec's suite works."""

    @pytest.fixture
    def fs(self, store):
        yield fsspec.filesystem("geds")
        fsspec.filesystem("geds").clear_instance_cache()

    @pytest.fixture
    def fs_path(self):
        return "lab"

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def local_fs(self):
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, folder):
        path = folder / "local"
        path.mkdir()
        return make_path_posix(str(path))

    @pytest.fixture
    def local_join(self):
        return os.path.join

    @pytest.fixture
    def supports_empty_directories(self):
        return True


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass


@pytest.fixture
def tree(fs):
    fs.pipe({"lab/a/1": b"1", "lab/a/b/2": b"22", "lab/a/b/c/3": b"333", "lab/top": b"0"})
    return fs


def test_urls_and_paths_name_the_same(fs):
    with fsspec.open("geds://lab/x", "wb") as file:
        file.write(b"1")

    assert fs.cat("lab/x") == fs.cat("/lab/x") == fs.cat("geds://lab/x/") == b"1"
    assert fs.unstrip_protocol("lab/x") == "geds://lab/x"
    assert isinstance(fs, type(fsspec.url_to_fs("geds://lab/x")[0]))


def test_folders_are_what_stands_before_slashes(tree):
    assert tree.ls("", detail=False) == ["lab"]
    assert tree.ls("lab", detail=False) == ["lab/a", "lab/top"]
    assert tree.ls("lab/a/", detail=False) == ["lab/a/1", "lab/a/b"]
    assert tree.ls("lab/top", detail=False) == ["lab/top"]
    info = tree.info("lab/a/b/2")
    assert (info["name"], info["size"], info["type"]) == ("lab/a/b/2", 2, "file")
    assert tree.info("lab/a")["type"] == tree.info("")["type"] == "directory"
    assert (tree.isdir("lab/a"), tree.isfile("lab/a"), tree.exists("lab/no")) == (True, False, False)
    assert (tree.isdir("lab"), tree.exists("none"), tree.exists("No Bucket")) == (True, False, False)
    for missing in ("lab/no", "none", "none/x"):
        with pytest.raises(FileNotFoundError):
            tree.ls(missing)


def test_files_are_found_by_depth_and_pattern(tree):
    everything = ["lab/a/1", "lab/a/b/2", "lab/a/b/c/3", "lab/top"]
    assert tree.find("lab") == tree.find("") == everything
    assert tree.find("lab/a/b") == ["lab/a/b/2", "lab/a/b/c/3"]
    assert tree.find("lab/top") == ["lab/top"]
    assert tree.find("lab/no") == []
    assert tree.find("lab", maxdepth=2, withdirs=True) == ["lab", "lab/a", "lab/a/1", "lab/a/b", "lab/top"]
    assert tree.glob("lab/**/[23]") == ["lab/a/b/2", "lab/a/b/c/3"]
    assert tree.glob("lab/a/*") == ["lab/a/1", "lab/a/b"]
    assert [path for path, _, _ in tree.walk("lab")] == ["lab", "lab/a", "lab/a/b", "lab/a/b/c"]
    assert tree.du("lab") == 7
    assert tree.find("lab", detail=True)["lab/top"]["size"] == 1


def test_bytes_are_read_in_parts(tree):
    tree.pipe("lab/x", b"0123456789")

    assert tree.cat_file("lab/x", 2, 5) == b"234"
    assert tree.cat_file("lab/x", -3) == b"789"
    assert tree.cat_file("lab/x", 0, -8) == b"01"
    assert tree.cat_file("lab/x", 8, 3) == b""
    assert tree.cat_ranges(["lab/x", "lab/x"], [0, 5], [1, 7]) == [b"0", b"56"]
    assert tree.head("lab/x", 2) + tree.tail("lab/x", 2) == b"0189"
    assert tree.cat(["lab/x", "lab/top"]) == {"lab/x": b"0123456789", "lab/top": b"0"}
    with pytest.raises(IsADirectoryError):
        tree.cat_file("lab")


def test_files_have_fsspecs_modes(fs):
    with fs.open("lab/x", "wb") as file:
        file.write(b"a")
    with fs.open("lab/x", "ab") as file:
        file.write(b"b")
    with fs.open("lab/x", "a") as file:
        file.write("c\n")
    with fs.open("lab/x") as file:
        assert (file.size, file.read()) == (4, b"abc\n")
    with fs.open("lab/x", "r") as file:
        assert list(file) == ["abc\n"]
    with fs.open("lab/x.gz", "wb", compression="infer") as file:
        file.write(b"packed")
    assert fs.cat("lab/x.gz")[:2] == b"\x1f\x8b"
    with fs.open("lab/x.gz", "rt", compression="infer") as file:
        assert file.read() == "packed"
    with pytest.raises(KeyError), fs.open("lab/half", "w") as file:
        file.write("half")
        raise KeyError
    assert not fs.exists("lab/half")


def test_transactions_commit_all_files_or_none(fs):
    with fs.transaction:
        fs.pipe("lab/x", b"1")
        with fs.open("lab/y", "wb") as file:
            file.write(b"2")
        assert not fs.exists("lab/x")
    assert fs.cat("lab/x") + fs.cat("lab/y") == b"12"

    with pytest.raises(KeyError), fs.transaction:
        fs.pipe("lab/z", b"1")
        raise KeyError
    assert not fs.exists("lab/z")


def test_files_are_copied_and_moved(tree):
    tree.cp("lab/top", "lab/copy")
    tree.mv("lab/copy", "lab/moved")
    tree.cp("lab/a", "lab/tree", recursive=True)
    tree.mv("lab/a", "lab/b", recursive=True)
    tree.mv("lab/moved", "lab/b/")

    assert tree.find("lab/tree") == ["lab/tree/1", "lab/tree/b/2", "lab/tree/b/c/3"]
    assert tree.find("lab/b") == ["lab/b/1", "lab/b/b/2", "lab/b/b/c/3", "lab/b/moved"]
    assert not tree.exists("lab/a") and not tree.exists("lab/copy")
    with pytest.raises(FileNotFoundError):
        tree.mv("lab/no", "lab/x")
    with pytest.raises(FileNotFoundError):
        tree.cp("lab/no", "lab/x")


def test_files_and_folders_are_removed(tree):
    tree.rm("lab/top")
    with pytest.raises(FileNotFoundError):
        tree.rm("lab/top")
    with pytest.raises(FileNotFoundError):
        tree.rm_file("lab/top")
    with pytest.raises(IsADirectoryError):
        tree.rm("lab/a")
    tree.rm("lab/a/*/c/*")
    assert tree.find("lab") == ["lab/a/1", "lab/a/b/2"]
    tree.rm("lab/a", recursive=True)
    assert not tree.exists("lab/a")
    tree.pipe("lab/x", b"")
    with pytest.raises(OSError, match="not empty"):
        tree.rmdir("lab")
    tree.rm("lab", recursive=True)
    assert tree.ls("") == []


def test_folders_are_made_and_marked(fs):
    fs.mkdir("lab/empty")
    assert fs.isdir("lab/empty") and fs.ls("lab/empty") == []
    assert fs.find("lab") == []
    with pytest.raises(FileExistsError):
        fs.mkdir("lab/empty")
    with pytest.raises(FileExistsError):
        fs.makedirs("lab/empty")
    fs.makedirs("lab/empty", exist_ok=True)
    fs.makedirs("other/deep/er")
    assert fs.isdir("other/deep")
    fs.touch("lab/empty/x")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("lab/empty")
    fs.rm("lab/empty/x")
    fs.rmdir("lab/empty")
    assert not fs.exists("lab/empty")
    with pytest.raises(FileNotFoundError):
        fs.rmdir("lab/empty")
    fs.mkdir("new")
    with pytest.raises(FileExistsError):
        fs.mkdir("new")
    fs.rmdir("new")


def test_files_are_touched_and_dated(fs):
    fs.touch("lab/x")
    first = fs.ukey("lab/x")
    assert fs.modified("lab/x").utcoffset().seconds == 0
    assert fs.created("lab") <= fs.modified("lab/x")
    fs.pipe("lab/x", b"1")
    fs.touch("lab/x", truncate=False)
    assert fs.cat("lab/x") == b"1" and fs.ukey("lab/x") != first
    fs.touch("lab/x")
    assert fs.size("lab/x") == 0
    fs.touch("lab/new", truncate=False)
    assert fs.exists("lab/new")


def test_files_come_from_and_go_to_the_machine(tree, folder):
    tree.get("lab/a", str(folder / "out"), recursive=True)
    assert (folder / "out" / "b" / "c" / "3").read_bytes() == b"333"
    tree.put(str(folder / "out"), "lab/back", recursive=True)
    assert tree.find("lab/back") == ["lab/back/1", "lab/back/b/2", "lab/back/b/c/3"]
    with pytest.raises(FileExistsError):
        tree.put_file(str(folder / "out" / "1"), "lab/back/1", mode="create")


def test_objects_that_have_a_folders_name_are_told_from_it(fs):
    fs.pipe({"lab/x": b"file", "lab/x/y": b"below"})

    assert [info["type"] for info in fs.ls("lab")] == ["file", "directory"]
    assert fs.find("lab") == ["lab/x", "lab/x/y"]
    assert geds.open().get("lab", "x") == b"file"


def test_other_libraries_paths_and_mappings_work(fs):
    mapping = fs.get_mapper("lab/store")
    mapping["a/b"] = b"1"
    assert (dict(mapping), "a/b" in mapping) == ({"a/b": b"1"}, True)
    del mapping["a/b"]
    assert list(mapping) == []
    files = fsspec.open_files("geds://lab/part-*.txt", "wt", num=3)
    for number, opened in enumerate(files):
        with opened as file:
            file.write(str(number))
    assert [io.BytesIO(fs.cat(path)).read() for path in fs.glob("lab/part-*")] == [b"0", b"1", b"2"]
