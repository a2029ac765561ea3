"""Where an object is: ``geds://bucket/key``."""

from ._errors import InvalidError

SCHEME = "geds"


def split(url: str) -> tuple[str, str]:
    """The bucket and the key of a URL. A key is taken as it stands: ``%20`` and ``?`` are part of it."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != SCHEME:
        raise InvalidError(f"`{url}` is no URL of an object: write geds://bucket/key")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        # Not said again: it may be in a log soon.
        raise InvalidError(
            "credentials do not belong into URLs: call geds_smart_open.register_object_store, "
            "then write geds://bucket/key"
        )
    return bucket, key


def join(bucket: str, key: str) -> str:
    """The URL of an object."""
    return f"{SCHEME}://{bucket}/{key}"
