"""What a bot author learns of a call: the half of a connection that is about its state and its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, overload

from voicepool._calls.view import CallView
from voicepool._hearers import Hearers
from voicepool.events import ConnectionEvent, EncryptionChanged

__all__ = ["Listening"]

# Type checkers join two classes of events to their common base, which they do not have: hence two of these.
FirstT = TypeVar("FirstT", bound=ConnectionEvent)
SecondT = TypeVar("SecondT", bound=ConnectionEvent)


class Listening:
    """Look at a call, and listen to it; mixed into `voicepool.connection.BaseVoiceConnection`.

    Parameters
    ----------
    view
        What is known of the call.
    hearers
        Who hears of its changes.
    """

    def __init__(self, view: CallView, hearers: Hearers) -> None:
        self._view = view
        self._hearers = hearers

    @property
    def connected(self) -> bool:
        """Whether there is a voice session; also while its connection is being mended, see `interrupted`."""
        return self._view.session is not None

    @property
    def mode(self) -> str | None:
        """Transport encryption in use, by its name on Discord's wire; None while not connected."""
        return self._view.session.mode if self._view.session is not None else None

    @property
    def ssrc(self) -> int | None:
        """RTP synchronisation source of what is sent; None while not connected."""
        return self._view.session.ssrc if self._view.session is not None else None

    @property
    def interrupted(self) -> bool:
        """Whether the voice server was lost and the connection is being mended. What plays is kept."""
        return self._view.interrupted

    @property
    def members(self) -> frozenset[int]:
        """IDs of the users in the voice channel, the bot's own not among them; empty while not known."""
        return self._view.members

    @property
    def encryption(self) -> EncryptionChanged | None:
        """End-to-end encryption as it is now: version, privacy code, members; None while it is not known."""
        return self._view.encryption

    @overload
    def listen(self, listener: Callable[[ConnectionEvent], object]) -> Callable[[], None]: ...
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
        first: type[ConnectionEvent],
        second: type[ConnectionEvent],
        third: type[ConnectionEvent],
        /,
        *more: type[ConnectionEvent],
    ) -> Callable[[], None]: ...
    def listen(self, listener: Callable[[Any], object], *kinds: type[Any]) -> Callable[[], None]:
        """Have a function called, on the event loop, with each event of this connection.

        Parameters
        ----------
        listener
            Takes one of `voicepool.events`. A function must not block. A coroutine function may take its
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
    def events(self) -> AsyncIterator[ConnectionEvent]: ...
    @overload
    def events(self, kind: type[FirstT], /) -> AsyncIterator[FirstT]: ...
    @overload
    def events(self, first: type[FirstT], second: type[SecondT], /) -> AsyncIterator[FirstT | SecondT]: ...
    @overload
    def events(self, *kinds: type[ConnectionEvent]) -> AsyncIterator[ConnectionEvent]: ...
    def events(self, *kinds: type[Any]) -> AsyncIterator[Any]:
        """Return an asynchronous iterator over the events from now on. It ends with the connection.

        ::

            async for event in voice.events(voicepool.Interrupted, voicepool.Restored):
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
