"""Events for programs that wait in turn, and for those that wait for many things."""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from typing import TYPE_CHECKING

from . import _native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from ._native import Event

    #: An event, or why there is none, or that there will be none.
    _Told = Event | Exception | None

#: How long a thread that serves an event loop waits before it looks whether it is still needed.
_SLICE_SECONDS = 0.1


class Subscription:
    """What happens in a scope, from the moment of subscribing on.

    Iterating waits for the next event until the subscription is closed. Events that find 4096 others
    waiting are counted instead of kept: see :meth:`take_missed`.
    """

    def __init__(self, native: _native.Subscription) -> None:
        self._native = native
        self._events: _Events | None = None

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event, waiting up to ``timeout`` seconds for it, or for ever.

        None if there was none, and once the subscription is closed.
        """
        return self._native.next(timeout)

    def take_missed(self) -> int:
        """How many events were not kept because too many were waiting, since this was last asked."""
        return self._native.take_missed()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    def close(self) -> None:
        """Ends the subscription, and with it whoever iterates over it."""
        self._native.close()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self._native.next(None)
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        # Events that wait for a loop that was left are not lost when it is entered again.
        if self._events is None or self._events.loop is not loop:
            if self._events is not None:
                self._events.stop()
            self._events = _Events(self._native, loop)
        return self._events


class _Events:
    """Hands events over to an event loop, from a thread that waits for them.

    A thread, because one that is cancelled between waiting and handing over would lose an event.
    """

    def __init__(
        self, native: _native.Subscription, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self._queue: asyncio.Queue[_Told] = asyncio.Queue()
        stopped = threading.Event()
        self._stopped = stopped

        def tell(what: _Told, queue: asyncio.Queue[_Told] = self._queue) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, what)

        self._thread = threading.Thread(
            target=_pump, args=(native, tell, stopped), name="geds-events", daemon=True
        )
        _pumps.add(self)
        # Nobody can receive what comes once this has gone.
        weakref.finalize(self, stopped.set)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.get()
        if isinstance(event, Exception):
            raise event
        if event is None:
            # Whoever asks again is told again.
            self._queue.put_nowait(None)
            raise StopAsyncIteration
        return event


def _pump(
    native: _native.Subscription, tell: Callable[[_Told], None], stopped: threading.Event
) -> None:
    while not stopped.is_set():
        told: _Told
        try:
            told = native.next(_SLICE_SECONDS)
        except Exception as error:
            told = error
        if told is None and not native.closed:
            continue
        try:
            tell(told)
        except RuntimeError:
            # The loop is closed.
            return
        if told is None or isinstance(told, Exception):
            return


_pumps: weakref.WeakSet[_Events] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """No thread is left in the middle of something when the interpreter ends."""
    for events in list(_pumps):
        events.stop()
