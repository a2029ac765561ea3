"""What is written in Rust; use :mod:`cloudskin.geds`, which adds files to it."""

from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Literal, Self, final

from typing_extensions import Buffer, disjoint_base

__all__ = [
    "Bucket",
    "Entry",
    "Event",
    "Limits",
    "Node",
    "Object",
    "Page",
    "Stat",
    "Store",
    "Subscription",
    "Usage",
    "View",
    "Writer",
    "forked",
]

_Attributes = Mapping[str, str | Buffer]

def forked() -> None: ...
@final
class Stat:
    """What is known about a sealed object."""

    @property
    def size(self) -> int: ...
    @property
    def version(self) -> int:
        """The number of this sealed state, given out once; moving bytes between tiers keeps it."""

    @property
    def modified(self) -> float:
        """When it was sealed, in seconds since the Unix epoch."""

    @property
    def crc32c(self) -> int | None:
        """The CRC-32C of all bytes, where it was computed."""

    @property
    def tier(self) -> Literal["memory", "disk", "mixed", "outside"]: ...
    @property
    def storage_class(self) -> Literal["hot", "cold"] | None:
        """The class of its own; None for that of its bucket's back end."""

    @property
    def attributes(self) -> dict[str, bytes]: ...

@final
class Bucket:
    """A bucket."""

    @property
    def name(self) -> str: ...
    @property
    def created(self) -> float: ...
    @property
    def objects(self) -> int: ...
    @property
    def attributes(self) -> dict[str, bytes]: ...

@final
class Entry:
    """An object in a list."""

    @property
    def key(self) -> str: ...
    @property
    def stat(self) -> Stat: ...

@final
class Page:
    """A part of a list. Entries and prefixes are each in byte order."""

    @property
    def entries(self) -> list[Entry]: ...
    @property
    def prefixes(self) -> list[str]: ...
    @property
    def next(self) -> str | None:
        """What to ask for the next page with, as ``after``, if there is more."""

@final
class Event:
    """Something that happened to one object."""

    @property
    def bucket(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def what(self) -> Literal["created", "sealed", "deleted", "renamed", "attributes"]: ...
    @property
    def version(self) -> int | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def former(self) -> str | None:
        """For "renamed": what the key was."""

@final
class Limits:
    """What a tenant may use of a node."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def disk_bytes(self) -> int: ...
    @property
    def high_water_percent(self) -> int: ...
    @property
    def objects(self) -> int: ...
    @property
    def wait_ms(self) -> int: ...

@final
class Usage:
    """What a tenant uses of a node."""

    @property
    def objects(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def pool_bytes(self) -> int: ...
    @property
    def index_bytes(self) -> int: ...
    @property
    def disk_bytes(self) -> int: ...
    @property
    def slabs(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def processes(self) -> int: ...

@final
class View:
    """Bytes of a sealed object, borrowed from the store: ``memoryview(view)`` copies nothing."""

    @property
    def is_shared(self) -> bool:
        """Whether the bytes are borrowed from shared memory; else they were read."""

    @property
    def nbytes(self) -> int: ...
    def tobytes(self) -> bytes: ...
    def release(self) -> None:
        """Lets the store use the memory again; raises BufferError while something looks into it."""

    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...

@final
class Object:
    """A sealed object that was opened: it stays readable, with the same bytes."""

    @property
    def size(self) -> int: ...
    @property
    def stat(self) -> Stat: ...
    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on: fewer only at the end."""

    def read_into(self, offset: int, buffer: Buffer) -> int:
        """Reads from ``offset`` on into a buffer, and says how many bytes."""

    def view(self) -> View:
        """All bytes: borrowed where they lie together in memory, else read."""

    def view_range(self, start: int, stop: int) -> View | None:
        """The bytes without a copy; None if they do not lie together in memory."""

    def __len__(self) -> int: ...

@final
class Writer:
    """An object that is not sealed yet: dropped unsealed it never was."""

    @property
    def size(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def write_at(self, offset: int, data: Buffer) -> int: ...
    def read_at(self, offset: int, size: int) -> bytes: ...
    def read_into(self, offset: int, buffer: Buffer) -> int: ...
    def truncate(self, size: int) -> None: ...
    def set_attributes(self, given: _Attributes) -> None: ...
    def seal(self) -> Stat: ...
    def abort(self) -> None: ...

@final
class Subscription:
    """Receives the events of one scope."""

    @property
    def closed(self) -> bool: ...
    def next(self, timeout: float | None = None) -> Event | None: ...
    def take_missed(self) -> int: ...
    def close(self) -> None: ...

@final
class Node:
    """A host's node that lives in this process: other processes join through its sockets."""

    def __new__(cls, folder: str | PathLike[str]) -> Self: ...
    def listen(
        self,
        socket: str | PathLike[str],
        *,
        tenant: str = "default",
        memory_bytes: int | None = None,
        disk_bytes: int | None = None,
        high_water_percent: int | None = None,
        objects: int | None = None,
        wait_ms: int | None = None,
    ) -> None:
        """Opens a socket through which processes of this user join as a tenant."""

@disjoint_base
class Store:
    """The store of one tenant, as one process sees it."""

    def __new__(
        cls, place: str | PathLike[str], *, tenant: str | None = None, **limits: int | None
    ) -> Self: ...
    def create_bucket(self, bucket: str, *, exist_ok: bool = False) -> Bucket:
        """Makes a bucket; with ``exist_ok`` one that is there is kept."""

    def buckets(self) -> list[Bucket]: ...
    def bucket(self, bucket: str) -> Bucket: ...
    def set_bucket_attributes(self, bucket: str, attributes: _Attributes) -> None: ...
    def delete_bucket(self, bucket: str) -> None:
        """Removes a bucket that has no objects."""

    def put(
        self,
        bucket: str,
        key: str,
        data: Buffer,
        *,
        overwrite: bool = False,
        if_version: int | None = None,
        attributes: _Attributes | None = None,
        durable: bool = False,
        storage_class: Literal["hot", "cold"] | None = None,
    ) -> Stat:
        """Makes an object of these bytes, sealed and visible to everybody when this returns.

        ``if_version`` replaces that version and no other; ``durable`` waits until the bytes are on
        disk, synced.
        """

    def get(self, bucket: str, key: str) -> bytes: ...
    def view(self, bucket: str, key: str) -> View:
        """All bytes of an object: borrowed where they lie together in memory, else read."""

    def object(self, bucket: str, key: str) -> Object: ...
    def create(
        self,
        bucket: str,
        key: str,
        *,
        overwrite: bool = False,
        if_version: int | None = None,
        attributes: _Attributes | None = None,
        durable: bool = False,
        size_hint: int | None = None,
        storage_class: Literal["hot", "cold"] | None = None,
    ) -> Writer:
        """Begins an object that is written piece by piece, of any size."""

    def stat(self, bucket: str, key: str) -> Stat: ...
    def list(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str | None = None,
        after: str | None = None,
        limit: int = 0,
    ) -> Page:
        """A page of a bucket's objects: at most 1000 entries and prefixes together."""

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        overwrite: bool = False,
        if_version: int | None = None,
        attributes: _Attributes | None = None,
        durable: bool = False,
    ) -> Stat:
        """Makes another object of the same bytes, which are shared."""

    def rename(self, bucket: str, key: str, new: str, *, overwrite: bool = False) -> Stat: ...
    def copy_prefix(
        self, source: tuple[str, str], target: tuple[str, str], *, overwrite: bool = False
    ) -> int: ...
    def rename_prefix(
        self, bucket: str, prefix: str, new: str, *, overwrite: bool = False
    ) -> int: ...
    def compose(
        self,
        bucket: str,
        key: str,
        parts: Sequence[tuple[str, str, tuple[int, int] | None]],
        *,
        overwrite: bool = False,
        if_version: int | None = None,
        attributes: _Attributes | None = None,
        durable: bool = False,
    ) -> Stat:
        """Makes one object of parts of others without copying bytes."""

    def set_attributes(
        self, bucket: str, key: str, attributes: _Attributes, *, if_version: int | None = None
    ) -> Stat: ...
    def set_storage_class(
        self,
        bucket: str,
        key: str,
        storage_class: Literal["hot", "cold"] | None,
        *,
        if_version: int | None = None,
    ) -> Stat: ...
    def delete(self, bucket: str, key: str, *, if_version: int | None = None) -> bool:
        """Removes an object, if it is still the version named; False when there was none."""

    def delete_prefix(self, bucket: str, prefix: str) -> int: ...
    def make_folder(self, bucket: str, folder: str) -> Stat: ...
    def persist(self, bucket: str, key: str) -> Stat:
        """Puts an object on disk, synced, where it outlives the node."""

    def persist_all(self) -> None: ...
    def register(self, bucket: str, url: str, **options: str) -> None:
        """Registers storage outside for a bucket, for this process.

        The URL is ``s3://bucket/prefix`` or ``file:///folder``; options are ``endpoint``,
        ``access_key_id``, ``secret_access_key``, ``region``, ``allow_http`` and others of the crate
        object_store. What is not here is read from there when it is asked for.
        """

    def unregister(self, bucket: str) -> None: ...
    def import_objects(self, bucket: str, prefix: str = "") -> int:
        """Reads objects from outside that are not here, and says how many."""

    def export_objects(self, bucket: str, prefix: str = "", *, overwrite: bool = False) -> int:
        """Writes objects outside, and says how many."""

    def relocate(
        self, bucket: str, prefix: str = "", *, to: Literal["memory", "disk", "outside"]
    ) -> tuple[int, Sequence[tuple[str, str]]]:
        """Moves bytes to another tier now; how many objects were moved, and which were not, with the reasons."""

    def usage(self) -> Usage: ...
    def limits(self) -> Limits: ...
    def set_limits(
        self,
        *,
        memory_bytes: int | None = None,
        disk_bytes: int | None = None,
        high_water_percent: int | None = None,
        objects: int | None = None,
        wait_ms: int | None = None,
    ) -> None:
        """Changes the limits that are named; lower ones take effect as memory is freed."""

    def _subscribe(
        self, bucket: str, *, prefix: str | None = None, key: str | None = None
    ) -> Subscription: ...
