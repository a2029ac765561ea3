"""Processes that share a node."""

import multiprocessing
import subprocess
import sys

import numpy
import pytest

from cloudskin import geds


@pytest.fixture
def socket(folder):
    node = geds.Node(folder / "node")
    socket = folder / "lab.sock"
    node.listen(socket, tenant="lab", memory_bytes=256 << 20)
    yield socket
    del node


def total(key):
    return float(numpy.frombuffer(geds.open().view("lab", key)).sum())


def test_processes_see_the_same_memory(socket, monkeypatch):
    monkeypatch.setenv("CLOUDSKIN_GEDS", str(socket))
    store = geds.open()
    store.create_bucket("lab")
    for number in range(4):
        store.put("lab", str(number), numpy.full(10_000, float(number)))

    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(total, "0123") == [0.0, 10_000.0, 20_000.0, 30_000.0]


def test_a_store_travels_to_other_processes_as_its_place(socket):
    store = geds.open(socket)
    store.create_bucket("lab")
    store.put("lab", "x", b"1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(store.get, ("lab", "x")) == b"1"


WRITER = """
from cloudskin import geds
store = geds.open()
store.create_bucket("lab", exist_ok=True)
half = store.open("lab", "half", "wb")
half.write(bytes(1 << 20))
store.put("lab", "whole", b"1", overwrite=True)
view = store.view("lab", "whole")
print("ready", flush=True)
input()
"""


def test_what_a_killed_process_sealed_stays(socket):
    store = geds.open(socket)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER],
            env={"CLOUDSKIN_GEDS": str(socket)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready\n"
        assert store.usage().processes == 2
        process.kill()
        process.communicate()

        assert store.get("lab", "whole") == b"1"
        assert not store.exists("lab", "half")


def test_whose_node_has_gone_is_told_so(folder):
    node = geds.Node(folder / "node")
    node.listen(folder / "lab.sock")
    store = geds.open(folder / "lab.sock")
    del node

    with pytest.raises(ConnectionError):
        store.create_bucket("lab")
