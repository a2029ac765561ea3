"""What can go wrong. Where Python has an exception for it, ours is one of that kind too."""

import errno


class Error(OSError):
    """The store did not do what it was asked; ``kind`` says what a caller can do about it."""

    kind = "Internal"
    _errno = errno.EIO

    def __init__(self, message: str) -> None:
        super().__init__(self._errno, message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type["Error"], tuple[str]]:
        return type(self), (self.message,)


class NotFoundError(Error, FileNotFoundError):
    """There is no such bucket or object."""

    kind = "NotFound"
    _errno = errno.ENOENT


class ExistsError(Error, FileExistsError):
    """It is there already, and overwriting was not asked for."""

    kind = "AlreadyExists"
    _errno = errno.EEXIST


class ConflictError(Error):
    """It changed since it was read, or a bucket that is to be deleted has objects."""

    kind = "Conflict"
    _errno = errno.EBUSY


class ExhaustedError(Error):
    """A limit is reached and nothing was freed while the writer waited."""

    kind = "Exhausted"
    _errno = errno.ENOSPC


class InvalidError(Error, ValueError):
    """An argument that cannot be; repeating it cannot help."""

    kind = "Invalid"
    _errno = errno.EINVAL


class ForbiddenError(Error, PermissionError):
    """The tenant may not do this."""

    kind = "Forbidden"
    _errno = errno.EACCES


class CorruptError(Error):
    """The object was sealed, but its bytes are lost or not those that were written."""

    kind = "Corrupt"
    _errno = errno.EIO


class UnavailableError(Error, ConnectionError):
    """The node does not answer."""

    kind = "Unavailable"
    _errno = errno.ECONNREFUSED


class UnsupportedError(Error, NotImplementedError):
    """The store cannot do this yet."""

    kind = "Unsupported"
    _errno = errno.ENOTSUP


_KINDS: dict[str, type[Error]] = {
    error.kind: error
    for error in (
        NotFoundError,
        ExistsError,
        ConflictError,
        ExhaustedError,
        InvalidError,
        ForbiddenError,
        CorruptError,
        UnavailableError,
        UnsupportedError,
    )
}


def of(kind: str, message: str) -> Error:
    """The exception of a kind; the native module calls this."""
    return _KINDS.get(kind, Error)(message)
