"""Stores for tests: each with a folder of its own, which is gone afterwards."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cloudskin import geds


@pytest.fixture
def folder():
    """An empty folder, in memory where the machine has one."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(dir=base))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def place(folder, monkeypatch):
    """Where the store of this test is; whoever names none finds it by the variable."""
    place = folder / "node"
    monkeypatch.setenv("CLOUDSKIN_GEDS", str(place))
    return place


@pytest.fixture
def store(place):
    """A store alone with an empty bucket `lab`."""
    store = geds.open(place, memory_bytes=256 << 20, wait_ms=200)
    store.create_bucket("lab")
    return store
