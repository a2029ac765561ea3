"""Ephemeral objects kept close to the code that reads them.

    from cloudskin import geds

    store = geds.open()                             # the host's node, by CLOUDSKIN_GEDS
    store.create_bucket("lab", exist_ok=True)
    store.put("lab", "weights", array, overwrite=True)
    numpy.frombuffer(store.view("lab", "weights"))  # the same bytes, not a copy of them

    with store.open("lab", "notes.txt", "w") as file:
        print("an object once it is closed", file=file)

Objects are written once, sealed, and then never change: writing a name again makes a new version.
Importing this makes ``geds://bucket/key`` known to ``smart_open``, where that is installed; ``fsspec``
finds it by itself.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import (
    ConflictError,
    CorruptError,
    Error,
    ExhaustedError,
    ExistsError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ._files import Random, RawReader, RawWriter, Reader, Text, Writer, open_file
from ._native import Bucket, Entry, Event, Limits, Node, Object, Page, Stat, Usage, View
from ._subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Bucket",
    "ConflictError",
    "CorruptError",
    "Entry",
    "Error",
    "Event",
    "ExhaustedError",
    "ExistsError",
    "ForbiddenError",
    "InvalidError",
    "Limits",
    "Node",
    "NotFoundError",
    "Object",
    "Page",
    "Random",
    "RawReader",
    "RawWriter",
    "Reader",
    "Stat",
    "Store",
    "Subscription",
    "Text",
    "UnavailableError",
    "UnsupportedError",
    "Usage",
    "View",
    "Writer",
    "open",
]

#: Names the node of a process that does not say where it is.
VARIABLE = "CLOUDSKIN_GEDS"


class Store(_native.Store):
    """The store of one tenant, as one process sees it: get one with :func:`open`."""

    _place: str
    _tenant: str | None

    def __new__(cls, place: str, *, tenant: str | None = None, **limits: int | None) -> Store:
        store = super().__new__(cls, place, tenant=tenant, **limits)
        store._place, store._tenant = place, tenant
        return store

    def __repr__(self) -> str:
        return f"<cloudskin.geds.Store at {self._place}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process that gets this opens the same place."""
        return _reopen, (self._place, self._tenant)

    def open(
        self,
        bucket: str,
        key: str,
        mode: str = "rb",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        attributes: Mapping[str, str | bytes] | None = None,
        durable: bool = False,
        autocommit: bool = True,
    ) -> Any:
        """Opens an object as a file, with the modes of Python's own ``open``, text included.

        A file that is written becomes an object when it is closed. ``a`` and ``r+`` begin with the bytes
        of the object and make a new version of it; if another one was sealed meanwhile, closing raises
        :class:`ConflictError`. With ``autocommit=False`` the file is closed first, and then ``commit()``
        makes the object or ``discard()`` none.
        """
        return open_file(
            self,
            bucket,
            key,
            mode,
            buffering=buffering,
            encoding=encoding,
            errors=errors,
            newline=newline,
            attributes=attributes,
            durable=durable,
            autocommit=autocommit,
        )

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is an object of the name."""
        try:
            self.stat(bucket, key)
        except NotFoundError:
            return False
        return True

    def entries(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        """All objects whose keys begin so, in byte order, fetched page by page."""
        after = None
        while True:
            page = self.list(bucket, prefix, after=after)
            yield from page.entries
            if page.next is None:
                return
            after = page.next

    def subscribe(
        self, bucket: str, *, prefix: str | None = None, key: str | None = None
    ) -> Subscription:
        """Tells what happens in a bucket, below a prefix or to one object, from now on.

        Iterate over it with ``for`` or ``async for``, or ask for the next event with a limit.
        """
        return Subscription(self._subscribe(bucket, prefix=prefix, key=key))


_lock = threading.Lock()
#: The stores of this process by place and tenant: a folder can be opened once only.
_stores: weakref.WeakValueDictionary[tuple[str, str | None], Store] = (
    weakref.WeakValueDictionary()
)


def _locate(place: str | os.PathLike[str] | None) -> str:
    if place is None:
        place = os.environ.get(VARIABLE) or None
    if place is None:
        raise InvalidError(
            f"no store is named: give geds.open() the path of a node's socket, or of a folder for "
            f"a store of this process alone, or set {VARIABLE} to one of them"
        )
    return os.path.realpath(os.path.expanduser(os.fspath(place)))


def open(  # noqa: A001 - it is what the module is for
    place: str | os.PathLike[str] | None = None,
    *,
    tenant: str | None = None,
    memory_bytes: int | None = None,
    disk_bytes: int | None = None,
    high_water_percent: int | None = None,
    objects: int | None = None,
    wait_ms: int | None = None,
) -> Store:
    """Opens the store at a place, else at the one that ``CLOUDSKIN_GEDS`` names.

    The place is the socket of the host's node, or a folder for a store of this process alone. A place
    that is not there is a socket if its name ends with ``.sock``, else a folder to be made. The same
    place gives the same store as long as anything uses it; then it is closed. Tenant and limits are
    those of a store alone: a node's socket has its own.
    """
    given = {
        "memory_bytes": memory_bytes,
        "disk_bytes": disk_bytes,
        "high_water_percent": high_water_percent,
        "objects": objects,
        "wait_ms": wait_ms,
    }
    limits = {name: value for name, value in given.items() if value is not None}
    path = _locate(place)
    with _lock:
        store = _stores.get((path, tenant))
        if store is None:
            store = Store(path, tenant=tenant, **limits)
            _stores[path, tenant] = store
        elif limits:
            store.set_limits(**limits)
        return store


def _reopen(place: str, tenant: str | None) -> Store:
    return open(place, tenant=tenant)


def _forked() -> None:
    """A child of this process opens stores of its own."""
    global _lock, _stores
    _native.forked()
    _lock = threading.Lock()
    _stores = weakref.WeakValueDictionary()


os.register_at_fork(after_in_child=_forked)

try:
    from . import smart_open as _transport
except ImportError:
    # It is not installed.
    pass
else:
    _transport.register()
