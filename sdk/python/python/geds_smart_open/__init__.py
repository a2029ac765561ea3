"""GEDS for programs that are written for ``smart_open``.

    import geds_smart_open

    geds_smart_open.register_object_store("lab", "https://s3.example.org", key, secret)
    with geds_smart_open.open("geds://lab/model.bin", "rb") as file:
        model = file.read()
    geds_smart_open.relocate()

Importing this makes ``geds://bucket/key`` known to ``smart_open.open``, which is also ours. The store
is the one that ``CLOUDSKIN_GEDS`` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Where smart_open is not installed, this says so.
from smart_open import open  # noqa: A004 - the name is smart_open's

from cloudskin import geds
from cloudskin.geds import Store as GEDS  # noqa: N814 - the name that such programs import
from cloudskin.geds import UnsupportedError
from cloudskin.geds.smart_open import register

if TYPE_CHECKING:
    import os

__all__ = ["GEDS", "open", "register_object_store", "relocate"]

register()


def register_object_store(
    bucket: str,
    endpoint_url: str,
    access_key: str,
    secret_key: str,
    *,
    place: str | os.PathLike[str] | None = None,
) -> None:
    """Keeps a bucket's objects in an S3 bucket of the same name, below memory and disk.

    Raises :class:`cloudskin.geds.UnsupportedError`: the store has the tiers memory and disk yet.
    """
    raise UnsupportedError(
        f"bucket `{bucket}` cannot be kept at `{endpoint_url}`: this store has no tier of object "
        f"stores yet, only memory and disk; make the bucket with cloudskin.geds.open().create_bucket, "
        f"and objects outlive the node once relocate() or durable=True put them on disk"
    )


def relocate(*, place: str | os.PathLike[str] | None = None) -> None:
    """Puts all objects where they outlive the node: on disk, synced."""
    geds.open(place).persist_all()
