"""Who hears the events of a connection, or of a pool: functions, coroutine functions, and ``async for``.

An event is handed to functions at once. Coroutines and iterations take their time, so what waits for them is
bounded: the oldest is dropped for the newest, and one warning says so until they have caught up.
"""

from __future__ import annotations

import asyncio
import logging
import typing
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Generic, Self, TypeVar

from voicepool._subject_log import about
from voicepool.events import Closed, ConnectionEvent
from voicepool.player import Spawn

__all__ = ["EventStream", "Hearers"]

_LOGGER: Final = logging.getLogger("voicepool.connection")

MAX_WAITING: Final = 1_000
"""Events that wait for one coroutine function, or one iteration."""
_KINDS: Final[tuple[type, ...]] = typing.get_args(ConnectionEvent)

_WaitingT = TypeVar("_WaitingT")


class Hearers:
    """All who hear one connection, or one pool.

    Parameters
    ----------
    place
        Whose events they are, for log lines: ``guild 1234``.
    spawn
        Starts the tasks in which coroutine functions run.
    kinds
        Classes of events that there are. After a `voicepool.events.Closed` nothing comes; see also `end`.
    """

    def __init__(self, place: str, spawn: Spawn, kinds: tuple[type, ...] = _KINDS) -> None:
        self._place = place
        self._spawn = spawn
        self._kinds = kinds
        self._listeners: list[_Listener] = []
        # Weak, since an ``async for`` that is left by ``break`` says so to nobody.
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._untold: deque[object] = deque()
        self._telling = False
        self._over = False

    def add(self, listener: Callable[[Any], object], kinds: tuple[type, ...]) -> Callable[[], None]:
        """Have a function called with each event of these kinds, all if there are none.

        Returns
        -------
        Callable
            Ends it, for what waits for a coroutine function too.

        Raises
        ------
        TypeError
            It cannot be called, or a kind is no class of event.
        """
        if not callable(listener):
            raise TypeError(f"a listener must be callable, which {type(listener).__name__} is not")
        hearer = _Listener(listener, self._checked(kinds), self._place, self._spawn)
        if not self._over:
            self._listeners.append(hearer)

        def stop() -> None:
            if hearer in self._listeners:
                self._listeners.remove(hearer)
            hearer.stop()

        return stop

    def stream(self, kinds: tuple[type, ...]) -> EventStream:
        """Return an iterator over the events of these kinds from now on.

        Raises
        ------
        TypeError
            A kind is no class of event.
        """
        stream = EventStream(self._checked(kinds), self._place)
        if self._over:
            stream.end()
        else:
            self._streams.add(stream)
        return stream

    def tell(self, events: Iterable[object]) -> None:
        """Tell all. Nothing comes after `Closed`, and all hear the same order."""
        self._untold.extend(events)
        if self._telling:
            # A listener has set this off; the others have not heard of the cause yet.
            return
        self._telling = True
        try:
            while self._untold and not self._over:
                self._tell(self._untold.popleft())
        finally:
            self._telling = False
            self._untold.clear()

    def end(self) -> None:
        """Say nothing any more; iterations end after what waits for them."""
        self._over = True
        for stream in tuple(self._streams):
            stream.end()
        self._listeners.clear()

    def _tell(self, event: object) -> None:
        for stream in tuple(self._streams):
            stream.take(event)
        for listener in tuple(self._listeners):
            # One may have ended another.
            if listener in self._listeners:
                listener.take(event)
        if isinstance(event, Closed):
            self.end()

    def _checked(self, kinds: tuple[type, ...]) -> tuple[type, ...]:
        for kind in kinds:
            if kind not in self._kinds:
                allowed = ", ".join(sorted(known.__name__ for known in self._kinds))
                raise TypeError(f"{kind!r} is no class of event; allowed are {allowed}")
        return kinds or self._kinds


class EventStream:
    """An asynchronous iterator over events from when it was made. Ends with whose events they are."""

    def __init__(self, kinds: tuple[type, ...], place: str) -> None:
        self._kinds = kinds
        self._waiting = _Waiting[Any](place, "an iteration over events")
        self._changed = asyncio.Event()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            event = self._waiting.take()
            if event is not None:
                return event
            if self._over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def take(self, event: object) -> None:
        """Hold an event for whoever iterates."""
        if isinstance(event, self._kinds):
            self._waiting.put(event)
            self._changed.set()

    def end(self) -> None:
        """Let the iteration end after what waits."""
        self._over = True
        self._changed.set()


class _Waiting(Generic[_WaitingT]):
    """A queue with a bound, at which the oldest goes."""

    def __init__(self, place: str, what: str) -> None:
        self._place = place
        self._what = what
        self._items: deque[_WaitingT] = deque()
        self._warned = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: _WaitingT) -> _WaitingT | None:
        """Add an item; return the one that had to go for it, if any."""
        self._items.append(item)
        if len(self._items) <= MAX_WAITING:
            return None
        if not self._warned:
            self._warned = True
            _LOGGER.warning(
                "%s: %s does not keep up; the oldest of %d are dropped",
                self._place,
                self._what,
                MAX_WAITING,
                extra=about(place=self._place),
            )
        return self._items.popleft()

    def take(self) -> _WaitingT | None:
        """Return the oldest item; None if there is none."""
        if self._items:
            return self._items.popleft()
        self._warned = False
        return None


class _Listener:
    """One function. Coroutines that it returns run in a task: one after the other, in order."""

    def __init__(
        self, listener: Callable[[Any], object], kinds: tuple[type, ...], place: str, spawn: Spawn
    ) -> None:
        self._listener = listener
        self._kinds = kinds
        self._place = place
        self._spawn = spawn
        self._waiting = _Waiting[Coroutine[Any, Any, object]](place, f"listener {_name(listener)}")
        self._task: asyncio.Task[None] | None = None

    def take(self, event: object) -> None:
        if not isinstance(event, self._kinds):
            return
        try:
            result = self._listener(event)
        except Exception:
            _LOGGER.exception(
                "%s: listener %s failed", self._place, _name(self._listener), extra=about(place=self._place)
            )
            return
        if isinstance(result, Coroutine):
            if (dropped := self._waiting.put(result)) is not None:
                dropped.close()
            self._attend()

    def stop(self) -> None:
        """Drop what waits. A coroutine that runs goes on."""
        while (work := self._waiting.take()) is not None:
            work.close()

    def _attend(self) -> None:
        if self._task is None:
            self._task = self._spawn(self._work_off(), name=f"listener {_name(self._listener)}")
            self._task.add_done_callback(self._on_done)

    async def _work_off(self) -> None:
        while (work := self._waiting.take()) is not None:
            try:
                await work
            except Exception:
                _LOGGER.exception(
                    "%s: listener %s failed",
                    self._place,
                    _name(self._listener),
                    extra=about(place=self._place),
                )

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            # The pool's end. A coroutine that never ran has to be closed, or Python complains.
            self.stop()
        elif self._waiting:
            self._attend()


def _name(listener: object) -> str:
    return getattr(listener, "__qualname__", type(listener).__name__)
