"""Objects as binary files.

A file that is written becomes an object when it is closed, and not before. If a ``with`` block ends
with an exception, if a write failed, or if the file is dropped without being closed, there is no
object: nobody reads half of one.
"""

from __future__ import annotations

import io
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _native, _url
from ._errors import ExistsError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from . import Store

#: What small reads and writes are gathered to.
BUFFER_BYTES = 64 << 10
#: What is copied at once when an object is written again from a former one.
COPY_BYTES = 4 << 20


class _Raw(io.RawIOBase):
    """What both directions share: a name and a place."""

    def __init__(self, bucket: str, key: str, mode: str) -> None:
        super().__init__()
        self.name = _url.join(bucket, key)
        self.mode = mode
        self._at = 0

    def _size(self) -> int:
        raise NotImplementedError

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        if whence == io.SEEK_SET:
            at = offset
        elif whence == io.SEEK_CUR:
            at = self._at + offset
        elif whence == io.SEEK_END:
            at = self._size() + offset
        else:
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        if at < 0:
            raise ValueError(f"there is no byte {at}")
        self._at = at
        return at

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")


class RawReader(_Raw):
    """A sealed object, read where it lies, without a buffer between."""

    def __init__(self, bucket: str, key: str, mode: str, source: _native.Object) -> None:
        super().__init__(bucket, key, mode)
        self.object = source

    def _size(self) -> int:
        return self.object.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_open()
        count = self.object.read_into(self._at, buffer)
        self._at += count
        return count

    def readall(self) -> bytes:
        self._check_open()
        read = self.object.read_at(self._at, max(self.object.size - self._at, 0))
        self._at += len(read)
        return read


class RawWriter(_Raw):
    """An object that comes to be when this is closed, without a buffer between."""

    def __init__(
        self,
        bucket: str,
        key: str,
        mode: str,
        target: _native.Writer,
        *,
        changed: bool,
        autocommit: bool = True,
    ) -> None:
        super().__init__(bucket, key, mode)
        self._writer = target
        self._appends = "a" in mode
        self._reads = "+" in mode
        self._autocommit = autocommit
        #: Whether there is anything to seal.
        self._changed = changed
        #: Whether it shall become no object; what is written then goes nowhere.
        self._given_up = False
        #: What the object is, once it is sealed.
        self.stat: _native.Stat | None = None
        self._at = target.size if self._appends else 0

    def _size(self) -> int:
        return self._writer.size

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_open()
        if not self._reads:
            raise io.UnsupportedOperation("the file is open for writing only")
        count = self._writer.read_into(self._at, buffer)
        self._at += count
        return count

    def readall(self) -> bytes:
        self._check_open()
        if not self._reads:
            raise io.UnsupportedOperation("the file is open for writing only")
        read = self._writer.read_at(self._at, max(self._writer.size - self._at, 0))
        self._at += len(read)
        return read

    def write(self, data: Buffer, /) -> int:
        self._check_open()
        if self._given_up:
            return memoryview(data).nbytes
        at = self._writer.size if self._appends else self._at
        try:
            count = self._writer.write_at(at, data)
        except BaseException:
            # What comes behind the gap is worth nothing.
            self._given_up = True
            raise
        self._changed = True
        self._at = at + count
        return count

    def truncate(self, size: int | None = None, /) -> int:
        self._check_open()
        size = self._at if size is None else size
        if size < 0:
            raise ValueError(f"there is no size {size}")
        self._writer.truncate(size)
        self._changed = True
        return size

    def give_up(self) -> None:
        """From here on there is nothing to become an object."""
        self._given_up = True

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._autocommit or self._given_up:
            self.commit()

    def commit(self) -> None:
        """Makes it an object, if anything is to be one."""
        if self._writer.closed:
            return
        if self._given_up or not self._changed:
            self._writer.abort()
        else:
            self.stat = self._writer.seal()

    def discard(self) -> None:
        """Closes it and leaves no object."""
        self.give_up()
        self.close()
        self.commit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.give_up()
        super().__exit__(kind, error, trace)

    def __del__(self) -> None:
        # One that is closed, and waits for a commit that never comes, is given up as well.
        if not self.closed:
            self.discard()


class Reader(io.BufferedReader):
    """A sealed object as a file; its bytes stay what they were when it was opened."""

    def __init__(self, raw: RawReader) -> None:
        super().__init__(raw, BUFFER_BYTES)
        self._object = raw.object

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._object.size

    @property
    def stat(self) -> _native.Stat:
        """What is known about it."""
        return self._object.stat

    def view(self) -> _native.View:
        """All bytes: borrowed where they lie together in memory, else read."""
        return self._object.view()


class _Written:
    """What files share that become objects; `_raw` knows what becomes of it."""

    _raw: RawWriter

    @property
    def size(self) -> int:
        """How many bytes there are so far, and in the object once it is sealed."""
        stat = self._raw.stat
        if stat is not None:
            return stat.size
        self.flush()  # type: ignore[attr-defined]
        return self._raw._size()

    @property
    def stat(self) -> _native.Stat | None:
        """What is known about the object, once the file is closed."""
        return self._raw.stat

    def give_up(self) -> None:
        """From here on there is nothing to become an object."""
        self._raw.give_up()

    def discard(self) -> None:
        """Closes the file and leaves no object."""
        self.give_up()
        self.close()  # type: ignore[attr-defined]
        self._raw.discard()

    def commit(self) -> None:
        """Makes the object of a file that was opened with ``autocommit=False``, and closed."""
        self._raw.commit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.give_up()
        self.close()  # type: ignore[attr-defined]

    def __del__(self) -> None:
        if not self.closed:  # type: ignore[attr-defined]
            warnings.warn(
                f"{self._raw.name} was not closed: there is no object",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.discard()


class Writer(_Written, io.BufferedWriter):
    """A file that becomes an object when it is closed."""

    def __init__(self, raw: RawWriter) -> None:
        self._raw = raw
        super().__init__(raw, BUFFER_BYTES)


class Random(_Written, io.BufferedRandom):
    """A file that is read and written, and becomes an object when it is closed."""

    def __init__(self, raw: RawWriter) -> None:
        self._raw = raw
        super().__init__(raw, BUFFER_BYTES)


class Packed(io.BufferedIOBase):
    """What packs or unpacks a file, and the file, which is closed with it."""

    def __init__(self, packed: Any, below: Any) -> None:
        super().__init__()
        self._packed = packed
        self._below = below
        self.name = below.name

    def readable(self) -> bool:
        return bool(self._packed.readable())

    def writable(self) -> bool:
        return bool(self._packed.writable())

    def seekable(self) -> bool:
        return bool(self._packed.seekable())

    def read(self, size: int | None = -1, /) -> bytes:
        read: bytes = self._packed.read(-1 if size is None else size)
        return read

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(BUFFER_BYTES if size < 0 else size)

    def write(self, data: Buffer, /) -> int:
        self._packed.write(data)
        return memoryview(data).nbytes

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._packed.seek(offset, whence))

    def tell(self) -> int:
        return int(self._packed.tell())

    def flush(self) -> None:
        if not self._packed.closed:
            self._packed.flush()

    def give_up(self) -> None:
        """From here on there is nothing to become an object."""
        _give_up(self._below)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._packed.close()
        except BaseException:
            self.give_up()
            raise
        finally:
            super().close()
            self._below.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.give_up()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.give_up()
            self.close()


class Text(io.TextIOWrapper):
    """Text in an object."""

    def discard(self) -> None:
        """Closes the file and leaves no object."""
        _give_up(self.buffer)
        self.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            _give_up(self.buffer)
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()


def _give_up(file: object) -> None:
    """Lets no object come to be, if one would."""
    if isinstance(file, (RawWriter, Writer, Random, Packed)):
        file.give_up()


def parse_mode(mode: str) -> tuple[str, bool, bool]:
    """One of ``rwax``, whether it is for both directions, and whether it is text."""
    letters = set(mode)
    basic = letters & set("rwax")
    if (
        len(letters) != len(mode)
        or len(basic) != 1
        or not letters <= set("rwaxbt+")
        or letters >= set("bt")
    ):
        raise ValueError(f"invalid mode: {mode!r}")
    return basic.pop(), "+" in letters, "b" not in letters


def _begin(
    store: Store, bucket: str, key: str, basic: str, options: dict[str, Any]
) -> tuple[_native.Writer, bool]:
    """A writer with what the file begins with, and whether closing it at once makes an object."""
    before = None
    if basic in "ra":
        try:
            before = store.object(bucket, key)
        except NotFoundError:
            if basic == "r":
                raise
    if before is None:
        if basic == "x" and store.exists(bucket, key):
            # Decided when it is sealed; said now where it is known already.
            raise ExistsError(f"object `{key}` in bucket `{bucket}` exists already")
        return store.create(bucket, key, overwrite=basic == "w", **options), True
    if options.get("attributes") is None:
        options["attributes"] = before.stat.attributes
    # What others put there meanwhile is not replaced by what was made without knowing it.
    options["if_version"] = before.stat.version
    writer = store.create(bucket, key, size_hint=before.size, **options)
    at = 0
    while at < before.size:
        at += writer.write_at(at, before.read_at(at, COPY_BYTES))
    return writer, False


def open_file(
    store: Store,
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
    """Opens an object as a file: see :meth:`Store.open`."""
    basic, both, text = parse_mode(mode)
    if not text and (encoding is not None or errors is not None or newline is not None):
        raise ValueError("binary files have no encoding and no kind of line ends")
    if text and buffering == 0:
        raise ValueError("text needs a buffer")
    if basic == "r" and not both:
        raw_reader = RawReader(bucket, key, mode, store.object(bucket, key))
        binary: Any = raw_reader if buffering == 0 else Reader(raw_reader)
    else:
        options = {"attributes": attributes, "durable": durable}
        writer, changed = _begin(store, bucket, key, basic, options)
        raw = RawWriter(bucket, key, mode, writer, changed=changed, autocommit=autocommit)
        binary = raw if buffering == 0 else Random(raw) if both else Writer(raw)
    if not text:
        return binary
    return Text(binary, encoding=encoding or "utf-8", errors=errors, newline=newline)
