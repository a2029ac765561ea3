"""Subscriptions."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time

import pytest

from cloudskin import geds


def told(event):
    return event.what, event.key


def test_events_of_a_scope_are_told(store):
    with (
        store.subscribe("lab") as all_of_it,
        store.subscribe("lab", prefix="a/") as below,
        store.subscribe("lab", key="a/1") as one,
    ):
        version = store.put("lab", "a/1", b"123").version
        store.put("lab", "b", b"")
        store.rename("lab", "b", "c")
        store.delete("lab", "a/1")

        assert told(below.next(10)) == ("created", "a/1")
        sealed = below.next(10)
        assert (sealed.what, sealed.version, sealed.size) == ("sealed", version, 3)
        assert told(below.next(10)) == ("deleted", "a/1")
        assert below.next(0.01) is None
        assert [one.next(10).what for _ in range(3)] == ["created", "sealed", "deleted"]
        renamed = next(event for event in all_of_it if event.what == "renamed")
        assert (renamed.key, renamed.former) == ("c", "b")
        assert all_of_it.take_missed() == 0


def test_who_waits_is_told_that_a_subscription_was_closed(store):
    subscription = store.subscribe("lab")
    ended = []
    waiting = threading.Thread(target=lambda: ended.append(list(subscription)))
    waiting.start()
    store.put("lab", "x", b"")
    subscription.close()
    waiting.join(10)

    assert ended and subscription.closed
    assert subscription.next() is None


def test_a_scope_is_one(store):
    with pytest.raises(geds.InvalidError, match="not both"):
        store.subscribe("lab", prefix="a", key="b")
    with pytest.raises(FileNotFoundError):
        store.subscribe("none")


def test_an_event_loop_receives_events(store):
    async def take(subscription, count):
        keys = []
        async for event in subscription:
            if event.what == "sealed":
                keys.append(event.key)
            if len(keys) == count:
                return keys

    async def main():
        subscription = store.subscribe("lab")
        waiting = asyncio.create_task(take(subscription, 3))
        await asyncio.sleep(0)
        for number in range(5):
            store.put("lab", str(number), b"")
        first = await asyncio.wait_for(waiting, 10)
        # What came while nobody iterated was kept.
        rest = await asyncio.wait_for(take(subscription, 2), 10)
        subscription.close()
        none = [event async for event in subscription]
        return first, rest, none

    assert asyncio.run(main()) == (["0", "1", "2"], ["3", "4"], [])
    gc.collect()


def test_a_cancelled_wait_loses_no_event(store):
    async def main():
        subscription = store.subscribe("lab")
        events = aiter(subscription)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.05)
        store.put("lab", "x", b"")
        return told(await asyncio.wait_for(anext(events), 10))

    assert asyncio.run(main()) == ("created", "x")


WAITS = """
from cloudskin import geds
store = geds.open()
store.create_bucket("lab")
events = store.subscribe("lab")
try:
    print("ready", flush=True)
    events.next()
except KeyboardInterrupt:
    print("interrupted")
"""

LEAVES = """
import asyncio
from cloudskin import geds
store = geds.open()
store.create_bucket("lab")
events = store.subscribe("lab")

async def main():
    anext(aiter(events))

import warnings
warnings.simplefilter("ignore")
asyncio.run(main())
"""


def test_who_waits_can_be_interrupted(place):
    # Who runs the tests in the background may have it ignored.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program = [sys.executable, "-c", heeds + WAITS]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=20)[0] == "interrupted\n"
    assert process.returncode == 0


def test_a_program_ends_that_still_waits_for_events(place):
    begin = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", LEAVES], timeout=20)

    assert ended.returncode == 0
    assert time.monotonic() - begin < 10
