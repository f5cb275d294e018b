"""[pure] The encrypted calls of one server: each with its timer, and its way out to the clients."""

from __future__ import annotations

__all__ = ("DaveCalls", "DaveOptions")

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from voicepool.testing.dave_call import DaveCall
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.dave_members import DaveListener, DaveMember
from voicepool.testing.dave_messages import DaveMessage
from voicepool.testing.dave_rules import MAX_VERSION, Spoilable
from voicepool.testing.mls_framing import ExternalSender

Place = tuple[int, int]
"""Guild and channel."""


class Timer(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Schedule(Protocol):
    """Runs something later, as `asyncio.loop.call_at` does."""

    def __call__(self, when: float, callback: Callable[[], None], /) -> Timer:
        """Run `callback` at monotonic second `when`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaveOptions:
    """How calls are held.

    Attributes
    ----------
    max_version : int
        Highest version offered; 0: no encrypted calls.
    listener_id : int | None
        User id of the listener that joins each call; None: nobody listens.
    transition_timeout_s, commit_timeout_s, overlap, first_transition_id
        As in `DaveDeliveryService`.
    """

    max_version: int = MAX_VERSION
    listener_id: int | None = None
    transition_timeout_s: float = 2.0
    commit_timeout_s: float = 4.0
    overlap: bool = False
    first_transition_id: int = 1


class DaveCalls:
    """All calls of one server.

    Parameters
    ----------
    options : DaveOptions
        For every call.
    deliver : Callable[[Place, int, DaveMessage], None]
        Sends a message: place, user, message.
    complain : Callable[[Place, int, str], None]
        Takes a rule that a client broke: place, user, sentence.
    clock : Callable[[], float]
        Monotonic seconds.
    schedule : Schedule
        Runs something at a time of `clock`.
    """

    def __init__(
        self,
        options: DaveOptions,
        *,
        deliver: Callable[[Place, int, DaveMessage], None],
        complain: Callable[[Place, int, str], None],
        clock: Callable[[], float],
        schedule: Schedule,
    ) -> None:
        self._options = options
        self._deliver = deliver
        self._complain = complain
        self._clock = clock
        self._schedule = schedule
        self._sender = ExternalSender()
        self._calls: dict[Place, DaveCall] = {}
        self._timers: dict[Place, Timer] = {}
        self._spoiled: set[tuple[int, Spoilable]] = set()
        self._without: set[int] = set()

    def get(self, place: Place) -> DaveCall | None:
        """Return the call in a channel, if somebody is there."""
        return self._calls.get(place)

    def offers(self, channel_id: int) -> bool:
        """Return whether calls that begin in a channel now are encrypted."""
        return bool(self._options.max_version) and channel_id not in self._without

    def set_channel(self, channel_id: int, *, enabled: bool) -> None:
        """Say whether calls that begin in a channel from now on are encrypted."""
        if enabled:
            self._without.discard(channel_id)
        else:
            self._without.add(channel_id)

    def admit(self, place: Place, max_version: int) -> int | None:
        """Get a call ready for a client that identifies; return the listener's id if it joins before it.

        The client, and those already there, are then to be told of each other with opcode 11.
        """
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = self._begin(place)
        listener_id = call.admit_listener(max_version, self._clock())
        self._flush(place, call)
        return listener_id

    def played(self, place: Place) -> tuple[int, ...]:
        """Return the users that are played in a channel."""
        call = self._calls.get(place)
        return () if call is None else call.played

    def connect(self, place: Place, user_id: int, max_version: int) -> None:
        """Let a client in, after opcode 11."""
        call = self._calls[place]
        call.connect(user_id, max_version, self._clock())
        self._flush(place, call)

    def describe(self, place: Place, user_id: int, announce: Callable[[int], None]) -> None:
        """Have `announce` send a Session Description with the call's version, then send what follows it."""
        call = self._calls[place]
        announce(call.describe(user_id, self._clock()))
        self._flush(place, call)

    def disconnect(self, place: Place, user_id: int) -> None:
        """Let a client go, after opcode 13; the call ends with its last one."""
        call = self._calls.get(place)
        if call is None:
            return
        call.disconnect(user_id, self._clock())
        self._flush_or_end(place, call)

    def receive(self, place: Place, user_id: int, message: DaveMessage) -> None:
        """Take a message of a client; raises `Refusal` 4020 if it lacks a usable transition id."""
        call = self._calls.get(place)
        if call is not None:
            call.receive(user_id, message, self._clock())
            self._flush(place, call)

    def hear(self, place: Place, user_id: int, timestamp: int, frame: bytes) -> bytes | None:
        """Have the listener decrypt a frame; see `DaveListener.hear`.

        Returns
        -------
        bytes | None
            The Opus packet; None if the listener cannot decrypt it; b"" if nobody is there to do so.
        """
        call = self._calls.get(place)
        if call is None or call.listener is None:
            return b"" if is_protocol_frame(frame) else frame
        return call.listener.hear(user_id, timestamp, frame, self._clock())

    def spoil_next(self, user_id: int, kind: Spoilable) -> None:
        """Damage the next commit or welcome that is sent to a user, in whichever call."""
        self._spoiled.add((user_id, kind))

    def renew(self, place: Place) -> None:
        """Have the members create the group anew; raises `LookupError` without an encrypted call there."""
        call = self._calls.get(place)
        if call is None or not call.service.version:
            raise LookupError(f"there is no encrypted call in channel {place[1]} of guild {place[0]}")
        call.renew(self._clock())
        self._flush(place, call)

    def play(self, place: Place, member: DaveMember) -> None:
        """Let a played member join, after `admit` and opcode 11."""
        call = self._calls[place]
        call.play(member, self._clock())
        self._flush(place, call)

    def stop(self, place: Place, user_id: int) -> None:
        """Let a played member leave, after opcode 13."""
        call = self._calls.get(place)
        if call is not None:
            call.stop(user_id, self._clock())
            self._flush_or_end(place, call)

    def close(self) -> None:
        """End all calls and their timers."""
        self._calls.clear()
        for place in tuple(self._timers):
            self._cancel(place)

    def _begin(self, place: Place) -> DaveCall:
        options = self._options
        max_version = options.max_version if self.offers(place[1]) else 0
        service = DaveDeliveryService(
            place[1],
            sender=self._sender,
            max_version=max_version,
            transition_timeout_s=options.transition_timeout_s,
            commit_timeout_s=options.commit_timeout_s,
            overlap=options.overlap,
            first_transition_id=options.first_transition_id,
            spoiled=self._spoiled,
        )
        listener = None
        if options.listener_id is not None and max_version:
            # The session keeps what it hears; the listener needs to keep nothing.
            listener = DaveListener(options.listener_id, place[1], keep_frames=0)
        return DaveCall(service, listener)

    def _tick(self, place: Place) -> None:
        del self._timers[place]
        call = self._calls[place]
        call.tick(self._clock())
        self._flush(place, call)

    def _flush(self, place: Place, call: DaveCall) -> None:
        """Send what the call has to say, and set its timer."""
        for user_id, message in call.outgoing():
            self._deliver(place, user_id, message)
        for user_id, sentence in call.service.complaints():
            self._complain(place, user_id, sentence)
        self._cancel(place)
        due_s = call.next_deadline()
        if due_s is not None:
            self._timers[place] = self._schedule(due_s, lambda: self._tick(place))

    def _flush_or_end(self, place: Place, call: DaveCall) -> None:
        if call.empty:
            del self._calls[place]
            self._cancel(place)
        else:
            self._flush(place, call)

    def _cancel(self, place: Place) -> None:
        timer = self._timers.pop(place, None)
        if timer is not None:
            timer.cancel()
