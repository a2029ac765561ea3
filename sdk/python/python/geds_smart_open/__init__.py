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

import os

# Where smart_open is not installed, this says so.
from smart_open import open  # noqa: A004 - the name is smart_open's

from cloudskin import geds
from cloudskin.geds import Store as GEDS  # noqa: N814 - the name that such programs import
from cloudskin.geds.smart_open import register

__all__ = ["GEDS", "open", "register_object_store", "relocate"]

register()


#: The stores with buckets that are kept in object stores, which stay open for that.
_registered: dict[geds.Store, set[str]] = {}


def register_object_store(
    bucket: str,
    endpoint_url: str,
    access_key: str,
    secret_key: str,
    *,
    region: str = "us-east-1",
    place: str | os.PathLike[str] | None = None,
) -> None:
    """Ties a bucket to an S3 bucket of the same name, for this process; makes it if it is not there.

    What is not in the store is read from there when it is opened; :func:`relocate` writes there. A
    process that is forked registers again.
    """
    store = geds.open(place)
    store.create_bucket(bucket, exist_ok=True)
    store.register(
        bucket,
        f"s3://{bucket}",
        endpoint=endpoint_url,
        access_key_id=access_key,
        secret_access_key=secret_key,
        region=region,
        # Whoever writes http:// wants it.
        allow_http=str(endpoint_url.startswith("http://")).lower(),
    )
    _registered.setdefault(store, set()).add(bucket)


def relocate(*, place: str | os.PathLike[str] | None = None) -> None:
    """Puts all objects where they outlive the node: in the object stores that buckets were
    registered with, and on disk, synced."""
    store = geds.open(place)
    for bucket in sorted(_registered.get(store, ())):
        store.export_objects(bucket, overwrite=True)
    store.persist_all()


# What a parent registered is of no use to its child.
os.register_at_fork(after_in_child=_registered.clear)
