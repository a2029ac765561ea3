"""``geds://bucket/key`` for ``smart_open``: importing :mod:`cloudskin.geds` makes it known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import smart_open.utils
from smart_open import transport

from . import _url
from . import open as open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

SCHEME = _url.SCHEME
URI_EXAMPLES = ("geds://bucket/key",)


def parse_uri(uri_as_string: str) -> dict[str, str]:
    """The parts of a URI."""
    bucket, key = _url.split(uri_as_string)
    return {"scheme": SCHEME, "bucket_id": bucket, "key_id": key}


def open_uri(uri: str, mode: str, transport_params: dict[str, Any]) -> Any:
    """What ``smart_open.open`` calls."""
    parsed = parse_uri(uri)
    options = smart_open.utils.check_kwargs(open, transport_params)
    return open(parsed["bucket_id"], parsed["key_id"], mode, **options)


def open(  # noqa: A001 - the name is smart_open's
    bucket_id: str,
    key_id: str,
    mode: str,
    *,
    place: str | os.PathLike[str] | None = None,
    attributes: Mapping[str, str | bytes] | None = None,
    durable: bool = False,
) -> Any:
    """Opens an object as a binary file, by default of the store that ``CLOUDSKIN_GEDS`` names.

    The keywords are the ``transport_params`` of ``smart_open.open``.
    """
    store = open_store(place)
    return store.open(bucket_id, key_id, mode, attributes=attributes, durable=durable)


def register() -> None:
    """Makes the scheme known, once."""
    try:
        transport.get_transport(SCHEME)
    except NotImplementedError:
        transport.register_transport(sys.modules[__name__])
