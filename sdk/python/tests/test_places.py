"""Where a process finds its store, and what its children have of it."""

import gc
import multiprocessing
import os
import pickle
import socket

import pytest

from cloudskin import geds


def test_a_place_is_given_or_in_the_environment(folder, monkeypatch):
    monkeypatch.delenv("CLOUDSKIN_GEDS", raising=False)
    with pytest.raises(geds.InvalidError, match=r"geds\.open\(\).*or set CLOUDSKIN_GEDS"):
        geds.open()
    monkeypatch.setenv("CLOUDSKIN_GEDS", str(folder / "node"))

    store = geds.open()

    assert geds.open(folder / "node") is store
    assert pickle.loads(pickle.dumps(store)) is store


def test_a_folder_is_open_once_and_free_when_nothing_uses_it(folder):
    store = geds.open(folder / "node")
    with pytest.raises(ConnectionError, match="another node uses the folder"):
        geds.open(folder / "node", tenant="other")
    del store
    gc.collect()

    geds.open(folder / "node", tenant="other").create_bucket("lab")


def test_a_socket_that_nobody_answers_is_unavailable(folder):
    with pytest.raises(geds.UnavailableError):
        geds.open(folder / "no.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(folder / "old"))
    with pytest.raises(geds.UnavailableError):
        geds.open(folder / "old")


def test_places_that_are_none_are_refused(folder):
    (folder / "file").write_text("")
    with pytest.raises(geds.InvalidError, match="neither a node's socket nor a folder"):
        geds.open(folder / "file")
    with pytest.raises(geds.InvalidError, match="has its tenant and limits"):
        geds.open(folder / "no.sock", memory_bytes=1)


def child(store, view, writer, report):
    said = []
    for act in (lambda: store.get("lab", "x"), lambda: bytes(view), lambda: writer.seal()):
        try:
            act()
            said.append("nothing")
        except ConnectionError as error:
            said.append(str(error))
    report.put(said)


def test_a_forked_child_is_told_to_open_its_own(store):
    store.put("lab", "x", b"1" * 100_000)
    view, writer = store.view("lab", "x"), store.create("lab", "y")
    context = multiprocessing.get_context("fork")
    report = context.Queue()
    process = context.Process(target=child, args=(store, view, writer, report))
    process.start()

    said = report.get(timeout=30)
    process.join(30)

    assert process.exitcode == 0
    assert all("forked from another: open it again" in line for line in said)
    assert bytes(view) == b"1" * 100_000
    writer.write_at(0, b"still")
    assert writer.seal().size == 5


def test_a_store_that_is_dropped_in_a_child_stays_the_parents(store):
    store.put("lab", "x", b"1")
    child = os.fork()
    if child == 0:
        del store
        gc.collect()
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    assert store.get("lab", "x") == b"1"
    store.put("lab", "y", b"2")
