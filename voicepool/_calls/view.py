"""[pure] What a bot knows of one of its calls: a little state, fed by what the worker says.

News goes in with the time, and what listeners are to be told comes out. The rules that a bot may build on:

* An `Interrupted` is followed by one `Restored`, or by `Closed`; there is no second one in between.
* `Connected` is told of each voice session that new credentials began. If that ended an interruption,
  `Restored` is next.
* A call that goes on at another worker with the credentials it had is not connected anew for its listeners:
  that is an interruption, or nothing if it was short.
* `MemberJoined` and `MemberLeft` of one user alternate.
* `Closed` is the last, and told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voicepool.errors import ConnectError, VoicePoolError, from_info
from voicepool.events import (
    Closed,
    Connected,
    ConnectionEvent,
    EncryptionChanged,
    Interrupted,
    MemberJoined,
    MemberLeft,
    MemberSpeaking,
    Restored,
    ServerWanted,
)
from voicepool.ipc import events as wire

if TYPE_CHECKING:
    from voicepool._process.link import CallEvent

__all__ = ["NAMED_WITHIN_S", "CallView", "VoiceSession"]

NAMED_WITHIN_S: Final = 6.0
"""Who has not been named so long after another worker took the call over has left it meanwhile."""

_GONE: Final = "Discord took the voice server away and will name another"


@dataclass(frozen=True, slots=True)
class VoiceSession:
    """What a voice session has settled: the transport encryption mode, and the RTP SSRC of what is sent."""

    mode: str
    ssrc: int


class CallView:
    """One call, as far as its bot knows. All times are seconds of a monotonic clock.

    Attributes
    ----------
    generation
        Number of the newest attempt to connect; what is said of an older one is void.
    session
        The voice session, also while it is being mended; None while there is none to mend.
    encryption
        End-to-end encryption as last told; None before.
    members
        IDs of the users in the channel, the bot's own not among them.
    interrupted
        Whether the connection was lost and is being mended.
    was_connected
        Whether there ever was a session. From then on the worker mends what breaks.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.session: VoiceSession | None = None
        self.encryption: EncryptionChanged | None = None
        self.members: frozenset[int] = frozenset()
        self.interrupted = False
        self.was_connected = False
        self._channel_id = 0
        self._interruption_told_at: float | None = None
        self._begun_afresh = False
        self._closed = False
        self._renewed = True
        self._left_at: float | None = None
        """Since when no worker has held the call, until another one can send."""
        self._unnamed: frozenset[int] = frozenset()
        """Members that the worker which has taken over has not named yet."""
        self._opened_at = 0.0

    def attempt(self, channel_id: int, *, renewed: bool = True) -> int:
        """Take note that a voice session is about to be tried.

        Parameters
        ----------
        channel_id
            Where.
        renewed
            Whether with credentials that have not been used.

        Returns
        -------
        int
            The generation of this attempt.
        """
        self.generation += 1
        if self._left_at is None:
            self.session = None
        self._renewed = self._renewed or renewed
        self._channel_id = channel_id
        return self.generation

    def left(self, since: float) -> None:
        """Take note that no worker holds the call, since when, and that another is to take it over."""
        if self._left_at is None:
            self._left_at = since
        self._unnamed = self.members

    def worker_lost(self, reason: VoicePoolError, now: float) -> list[ConnectionEvent]:
        """Tell that no worker holds the call, unless that was told or another can send already."""
        if self._closed or self._left_at is None:
            return []
        return list(self._interrupt(reason, now))

    def roll_call(self, now: float) -> list[ConnectionEvent]:
        """Tell who left while no worker held the call, once that is known."""
        if not self._unnamed or self._left_at is not None or now - self._opened_at < NAMED_WITHIN_S:
            return []
        left, self._unnamed = self._unnamed & self.members, frozenset()
        self.members -= left
        return [MemberLeft(user) for user in sorted(left)]

    def server_gone(self, now: float) -> list[ConnectionEvent]:
        """Take note that Discord took the voice server away."""
        if self._closed:
            return []
        self.session = None
        return list(self._interrupt(ConnectError(_GONE), now))

    def begun_afresh(self) -> list[ConnectionEvent]:
        """Take note that the worker had ended the call before it heard of the newest attempt.

        So for the worker that attempt begins a new call, in which nobody was and nothing was interrupted.
        """
        self._begun_afresh = True
        self._unnamed = frozenset()
        left, self.members = self.members, frozenset()
        return [MemberLeft(user) for user in sorted(left)]

    def close(self, reason: VoicePoolError | None) -> list[ConnectionEvent]:
        """Take note of the end. A second time changes nothing."""
        if self._closed:
            return []
        self._closed = True
        self.session = self.encryption = None
        self.interrupted = False
        self.members = frozenset()
        return [Closed(reason)]

    def take(self, event: CallEvent, now: float) -> list[ConnectionEvent]:
        """Take in what the worker says, unless it is the outcome of an attempt that a newer one overtook.

        That a call was interrupted or restored counts in any case: the worker says it once, and goes on from
        there with the newer attempt.
        """
        if self._closed:
            return []
        if isinstance(event, wire.CallOpened | wire.ServerWanted) and event.generation != self.generation:
            return []
        return list(self._changes(event, now))

    def _changes(self, event: CallEvent, now: float) -> Iterator[ConnectionEvent]:
        match event:
            case wire.CallOpened():
                yield from self._connected(event, now)
            case wire.CallInterrupted():
                yield from self._interrupt(from_info(event.error), now)
            case wire.CallRestored():
                yield from self._restored(event)
            case wire.ServerWanted():
                self.session = None
                reason = None if event.error is None else from_info(event.error)
                yield from self._interrupt(ConnectError(_GONE) if reason is None else reason, now)
                yield ServerWanted(event.rejoin, reason)
            case wire.EncryptionState():
                yield from self._encrypted(event)
            case wire.MembersChanged():
                yield from self._moved(event)
            case wire.Speaking():
                yield MemberSpeaking(event.user, event.ssrc, event.flags)

    def _connected(self, event: wire.CallOpened, now: float) -> Iterator[ConnectionEvent]:
        self.session = VoiceSession(event.mode, event.ssrc)
        self.was_connected = True
        self.interrupted = False
        left_at, self._left_at = self._left_at, None
        if left_at is None or self._renewed:
            yield Connected(self._channel_id, event.mode)
        self._renewed, self._opened_at = False, now
        since, afresh = self._interruption_told_at, self._begun_afresh
        self._begun_afresh = False
        if since is not None and (afresh or left_at is not None):
            # The worker does not know that there was something to restore.
            self._interruption_told_at = None
            since = since if left_at is None else min(since, left_at)
            yield Restored((now - since) * 1_000, resumed=False)

    def _interrupt(self, reason: VoicePoolError, now: float) -> Iterator[ConnectionEvent]:
        # What never was connected cannot be interrupted: whoever waits for `connect` is told.
        if not self.was_connected:
            return
        self.interrupted = True
        if self._interruption_told_at is None:
            self._interruption_told_at = now
            yield Interrupted(reason)

    def _restored(self, event: wire.CallRestored) -> Iterator[ConnectionEvent]:
        self.interrupted = False
        if self.session is not None:
            self.session = VoiceSession(event.mode, event.ssrc)
        if self._interruption_told_at is not None:
            self._interruption_told_at = None
            yield Restored(event.gap_ms, event.resumed)

    def _encrypted(self, event: wire.EncryptionState) -> Iterator[ConnectionEvent]:
        changed = EncryptionChanged(
            protocol_version=event.protocol_version,
            sending=event.sending,
            privacy_code=event.privacy_code,
            members=frozenset(event.members),
        )
        if changed != self.encryption:
            self.encryption = changed
            yield changed

    def _moved(self, event: wire.MembersChanged) -> Iterator[ConnectionEvent]:
        before = self.members
        left = [user for user in dict.fromkeys(event.left) if user in before]
        joined = [user for user in dict.fromkeys(event.joined) if user not in before or user in event.left]
        self.members = (before - set(left)) | set(joined)
        self._unnamed -= {*event.joined, *event.left}
        yield from (MemberLeft(user) for user in left)
        yield from (MemberJoined(user) for user in joined)
