"""How a bot hears of its pool: the half of a `voicepool.pool.VoicePool` that is about its events."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar, overload

from voicepool._hearers import Hearers
from voicepool.player import Spawn
from voicepool.pool_events import PoolEvent

__all__ = ["PoolListening"]

# As in `voicepool._calls.listening`: type checkers join two classes of events to a base they do not have.
FirstT = TypeVar("FirstT", bound=PoolEvent)
SecondT = TypeVar("SecondT", bound=PoolEvent)

_KINDS: Final[tuple[type, ...]] = typing.get_args(PoolEvent)


class PoolListening:
    """Listen to a pool; mixed into `voicepool.pool.VoicePool`.

    Parameters
    ----------
    spawn
        Starts the tasks in which listeners that are coroutine functions run.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._hearers = Hearers("the pool", spawn, _KINDS)

    @overload
    def listen(self, listener: Callable[[PoolEvent], object]) -> Callable[[], None]: ...
    @overload
    def listen(self, listener: Callable[[FirstT], object], kind: type[FirstT], /) -> Callable[[], None]: ...
    @overload
    def listen(
        self,
        listener: Callable[[FirstT | SecondT], object],
        first: type[FirstT],
        second: type[SecondT],
        /,
    ) -> Callable[[], None]: ...
    @overload
    def listen(
        self,
        listener: Callable[[Any], object],
        first: type[PoolEvent],
        second: type[PoolEvent],
        third: type[PoolEvent],
        /,
        *more: type[PoolEvent],
    ) -> Callable[[], None]: ...
    def listen(self, listener: Callable[[Any], object], *kinds: type[Any]) -> Callable[[], None]:
        """Have a function called, on the event loop, with each event of this pool.

        It may be called before `start`, and hears nothing any more after `close`.

        Parameters
        ----------
        listener
            Takes one of `voicepool.pool_events`. A function must not block. A coroutine function may take its
            time: it is run for one event after the other, in a task that the pool sees to the end of, and of
            more than 1,000 events that wait for it the oldest are dropped. What it raises is logged.
        *kinds
            Classes of events; all if there are none.

        Returns
        -------
        Callable
            Call it to stop.

        Raises
        ------
        TypeError
            The listener cannot be called, or a kind is no class of event.
        """
        return self._hearers.add(listener, kinds)

    @overload
    def events(self) -> AsyncIterator[PoolEvent]: ...
    @overload
    def events(self, kind: type[FirstT], /) -> AsyncIterator[FirstT]: ...
    @overload
    def events(self, first: type[FirstT], second: type[SecondT], /) -> AsyncIterator[FirstT | SecondT]: ...
    @overload
    def events(self, *kinds: type[PoolEvent]) -> AsyncIterator[PoolEvent]: ...
    def events(self, *kinds: type[Any]) -> AsyncIterator[Any]:
        """Return an asynchronous iterator over the events from now on. It ends with the pool.

        ::

            async for event in pool.events(voicepool.WorkerLost, voicepool.CallMoved):
                print(event)

        Parameters
        ----------
        *kinds
            Classes of events; all if there are none.

        Returns
        -------
        AsyncIterator
            Holds up to 1,000 events for who iterates; then the oldest are dropped, and a warning is logged.

        Raises
        ------
        TypeError
            A kind is no class of event.
        """
        return self._hearers.stream(kinds)
