"""``geds://bucket/key`` for ``fsspec``: ``fsspec.filesystem("geds")``.

Buckets are the folders at the top. Below them a folder is whatever stands before a ``/`` in a key;
:meth:`~GedsFileSystem.mkdir` marks one that has no objects yet.
"""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.spec import AbstractFileSystem

from . import Store
from . import open as open_store
from ._errors import Error, ExistsError, InvalidError, NotFoundError
from ._files import COPY_BYTES, Packed, Text

if TYPE_CHECKING:
    from ._native import Bucket, Stat


def _folder(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return _folder(bucket.name) | {"created": bucket.created, "objects": bucket.objects}


def _file(path: str, stat: Stat) -> dict[str, Any]:
    return {
        "name": path,
        "size": stat.size,
        "type": "file",
        "modified": datetime.fromtimestamp(stat.modified, UTC),
        "version": stat.version,
        "tier": stat.tier,
        "crc32c": stat.crc32c,
    }


class NotEmptyError(Error):
    """A folder that is to be removed has objects."""

    kind = "Conflict"
    _errno = errno.ENOTEMPTY


class GedsFileSystem(AbstractFileSystem):
    """The store as a file system.

    ``place`` and the other options are those of :func:`cloudskin.geds.open`; without them it is the
    store that ``CLOUDSKIN_GEDS`` names.
    """

    protocol = "geds"
    root_marker = ""
    fsid = "geds"

    def __init__(self, place: str | os.PathLike[str] | None = None, **options: Any) -> None:
        own = ("tenant", "memory_bytes", "disk_bytes", "high_water_percent", "objects", "wait_ms")
        given = {name: options.pop(name) for name in own if name in options}
        super().__init__(**options)
        self.store: Store = open_store(place, **given)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    def _split(self, path: str) -> tuple[str, str]:
        bucket, _, key = self._strip_protocol(path).partition("/")
        return bucket, key

    def _object(self, path: str) -> tuple[str, str]:
        """The names of what must be an object."""
        bucket, key = self._split(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, "a bucket is no object", path)
        return bucket, key

    # What is there

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """What is known about a file or folder."""
        bucket, key = self._split(path)
        if not bucket:
            return _folder("")
        if not key:
            return _bucket(self._known(bucket, path))
        path = f"{bucket}/{key}"
        try:
            return _file(path, self.store.stat(bucket, key))
        except NotFoundError:
            if self._has_below(bucket, key):
                return _folder(path)
            raise NotFoundError(f"there is neither a file nor a folder `{path}`") from None

    def _known(self, bucket: str, path: str) -> Bucket:
        try:
            return self.store.bucket(bucket)
        except InvalidError:
            # What cannot be a bucket's name is no bucket's.
            raise NotFoundError(f"there is neither a file nor a folder `{path}`") from None

    def _has_below(self, bucket: str, key: str) -> bool:
        return bool(self.store.list(bucket, f"{key}/", limit=1).entries)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """The files and folders in a folder; of a file, the file."""
        bucket, key = self._split(path)
        if not bucket:
            found = [_bucket(bucket) for bucket in self.store.buckets()]
        else:
            found = self._children(bucket, key)
            if not found and not (key and self._has_below(bucket, key)):
                info = self.info(path)
                found = [info] if info["type"] == "file" else []
        return found if detail else [info["name"] for info in found]

    def _children(self, bucket: str, key: str) -> list[dict[str, Any]]:
        prefix = f"{key}/" if key else ""
        found = []
        after = None
        while True:
            page = self.store.list(bucket, prefix, delimiter="/", after=after)
            for entry in page.entries:
                # The mark of the folder itself is not in it.
                if entry.key != prefix:
                    found.append(_file(f"{bucket}/{entry.key}", entry.stat))
            for below in page.prefixes:
                # A folder without a name cannot be written as a path.
                if below != f"{prefix}/":
                    found.append(_folder(f"{bucket}/{below[:-1]}"))
            after = page.next
            if after is None:
                return sorted(found, key=lambda info: info["name"])

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """All files below a path."""
        bucket, key = self._split(path)
        if maxdepth is not None or withdirs or not bucket:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        found = {}
        if key and self.store.exists(bucket, key):
            found[f"{bucket}/{key}"] = self.info(path)
        try:
            for entry in self.store.entries(bucket, f"{key}/" if key else ""):
                if not entry.key.endswith("/"):
                    name = f"{bucket}/{entry.key}"
                    found[name] = _file(name, entry.stat)
        except NotFoundError:
            pass
        return found if detail else sorted(found)

    def created(self, path: str) -> datetime:
        """When a bucket was created, or an object was sealed."""
        info = self.info(path)
        if "created" in info:
            return datetime.fromtimestamp(info["created"], UTC)
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """When an object was sealed."""
        info = self.info(path)
        if "modified" not in info:
            raise IsADirectoryError(errno.EISDIR, "a folder has no time", path)
        modified: datetime = info["modified"]
        return modified

    def ukey(self, path: str) -> str:
        """The version of a file: another one once it is written again."""
        return str(self.store.stat(*self._object(path)).version)

    def checksum(self, path: str) -> int:
        """Another number once a file is written again."""
        return self.store.stat(*self._object(path)).version

    # Bytes

    def open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        """Opens a file. It becomes an object when it is closed, unless an exception ends the block."""
        if "b" in mode:
            return self._open_packed(path, mode, *args, **kwargs)
        text = {name: kwargs.pop(name, None) for name in ("encoding", "errors", "newline")}
        binary = self._open_packed(path, mode.replace("t", "") + "b", *args, **kwargs)
        return Text(binary, **(text | {"encoding": text["encoding"] or "utf-8"}))

    def _open_packed(self, path: str, mode: str, *args: Any, **kwargs: Any) -> Any:
        compression = get_compression(path, kwargs.pop("compression", None))
        below = super().open(path, mode, *args, **kwargs)
        if compression is None:
            return below
        return Packed(compr[compression](below, mode=mode[0]), below)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        options = {name: kwargs[name] for name in ("attributes", "durable") if name in kwargs}
        return self.store.open(*self._object(path), mode, autocommit=autocommit, **options)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """The bytes of a file, or some of them; negative numbers count from the end."""
        opened = self.store.object(*self._object(path))
        first, last, _ = slice(start, end).indices(opened.size)
        return opened.read_at(first, max(last - first, 0))

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Sets the bytes of a file."""
        if self._intrans:
            super().pipe_file(path, value, mode, **kwargs)
            return
        self.store.put(*self._object(path), value, overwrite=mode != "create")

    def put_file(
        self,
        lpath: Any,
        rpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Copies a file of the machine. Folders above it come to be with it."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with (
            open(lpath, "rb") as source,
            self.open(os.fspath(rpath), "xb" if mode == "create" else "wb", **kwargs) as target,
        ):
            callback.set_size(os.fstat(source.fileno()).st_size)
            while data := source.read(COPY_BYTES):
                callback.relative_update(target.write(data))

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Makes an empty file; with ``truncate=False`` one that is there only gets a new time."""
        name = self._object(path)
        if truncate:
            self.store.put(*name, b"", overwrite=True)
            return
        try:
            self.store.copy(name, name, overwrite=True)
        except NotFoundError:
            self.store.put(*name, b"")

    # Names

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copies a file, or a folder without what is in it; bytes are shared."""
        source, target = self._object(path1), self._object(path2)
        try:
            self.store.copy(source, target, overwrite=True)
        except NotFoundError:
            if not self.isdir(path1):
                raise
            self.makedirs(path2, exist_ok=True)

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Moves files; within a bucket one gets another name."""
        if isinstance(path1, str) and isinstance(path2, str) and not path2.endswith("/"):
            (bucket, key), (target, name) = self._split(path1), self._split(path2)
            simple = bucket == target and key and name and not self.isdir(path2)
            if simple and self.store.exists(bucket, key):
                self.store.rename(bucket, key, name, overwrite=True)
                return
        super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    def rm_file(self, path: str) -> None:
        """Removes a file."""
        bucket, key = self._object(path)
        if not self.store.delete(bucket, key):
            raise NotFoundError(f"there is no object `{key}` in bucket `{bucket}`")

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Removes files, and with ``recursive`` folders with all that is in them."""
        if recursive and maxdepth is None:
            for each in self.expand_path(path):
                self._remove_tree(each)
            return
        for each in reversed(self.expand_path(path, recursive=recursive, maxdepth=maxdepth)):
            if self.info(each)["type"] == "file":
                self.rm_file(each)
            elif recursive:
                # What lies deeper stays, and its folders with it.
                self._remove_mark(each)
            else:
                raise IsADirectoryError(errno.EISDIR, "it is a folder: ask for recursive", each)

    def _remove_tree(self, path: str) -> None:
        bucket, key = self._split(path)
        if not bucket:
            raise InvalidError("all buckets at once are not removed: name them")
        if not key:
            self.store.delete_prefix(bucket, "")
            self.store.delete_bucket(bucket)
            return
        self.store.delete(bucket, key)
        self.store.delete_prefix(bucket, f"{key}/")

    def _remove_mark(self, path: str) -> None:
        bucket, key = self._split(path)
        if key:
            self.store.delete(bucket, f"{key}/")

    # Folders

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Makes a bucket, or marks a folder in one."""
        bucket, key = self._split(path)
        if not key:
            self.store.create_bucket(bucket)
            return
        if create_parents:
            self.store.create_bucket(bucket, exist_ok=True)
        if self.exists(path):
            raise ExistsError(f"`{bucket}/{key}` exists already")
        self.store.make_folder(bucket, key)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Makes a bucket and marks a folder, whatever of it is there already."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not exist_ok or self.isfile(path):
                raise

    def rmdir(self, path: str) -> None:
        """Removes an empty bucket, or the mark of an empty folder."""
        bucket, key = self._split(path)
        if not key:
            self.store.delete_bucket(bucket)
            return
        below = self.store.list(bucket, f"{key}/", limit=2).entries
        if any(entry.key != f"{key}/" for entry in below):
            raise NotEmptyError(f"folder `{bucket}/{key}` is not empty: delete its files first")
        if not self.store.delete(bucket, f"{key}/"):
            raise NotFoundError(f"there is no folder `{bucket}/{key}`")
