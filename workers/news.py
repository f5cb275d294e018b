"""What the bot hears of one call: each change once, in an order that makes sense.

An interruption is reported once, however many attempts at mending it fail, and is followed by `CallRestored`
or by the end of the call. Where a new connection answers an `OpenCall`, `CallOpened` comes first, because it
names the connection that was restored. Who is in the call is told while it is up: what has changed during a
gap comes right after its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from voicepool.ipc.commands import OpenCall
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    CallStats,
    EncryptionState,
    Event,
    ServerWanted,
)
from voicepool.ipc.ids import CallId
from voicepool.workers.connection import MemberEvent, Transport
from voicepool.workers.dave.events import (
    DaveEvent,
    DaveFailed,
    DaveRecovering,
    EncryptionChanged,
    GroupChanged,
)
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import ClientDisconnected, ClientsConnected, SpeakingUpdate
from voicepool.workers.membernews import MemberNews
from voicepool.workers.members import Members

__all__ = ["CallNews"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")


class CallNews:
    """Reports on one call.

    Parameters
    ----------
    call
        Its name.
    report
        Takes events for the bot.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, call: CallId, *, report: Callable[[Event], object], clock: Callable[[], float]
    ) -> None:
        self._call = call
        self._report = report
        self._clock = clock
        self.generation = 0
        """Of the command that is being carried out; what is told carries it."""
        self._is_up = False
        self._is_interrupted = False
        self._silent_since: float | None = None
        self._group: GroupChanged | None = None
        self._version, self._is_sending = 0, False
        self._encryption: EncryptionState | None = None
        self.members = Members()
        """Who is in the call."""
        self._member_news = MemberNews(call, self.members, report)
        self.tell_members_at: float | None = None
        """When to call `tell_members` again, in seconds of the clock; None if nothing is held back."""
        self.reconnects = 0
        """Times that a connection was lost and made again, or resumed."""
        self.epochs = 0
        """Times that the end-to-end encrypted group changed its keys."""
        self.failures = 0
        """Messages of that group that could not be followed."""

    def counted(self, stats: CallStats, *, frames_failed: int) -> CallStats:
        """Return figures with what is counted here, and the frames that could not be encrypted."""
        return msgspec.structs.replace(
            stats,
            reconnects=self.reconnects,
            dave_version=self._version,
            dave_epochs=self.epochs,
            dave_failures=self.failures + frames_failed,
        )

    # How the call fares.

    def begins(self, command: OpenCall) -> None:
        """Note that a voice session is about to begin, by this command."""
        credentials = command.credentials
        self._group, self._version, self._is_sending = None, 0, False
        self.members.begin(credentials.user_id, credentials.channel_id)
        self._member_news.begin()

    def up(self, transport: Transport, *, answers: OpenCall | None, resumed: bool) -> None:
        """Tell that sound can be sent, as the answer to a command or of the call's own accord."""
        mode, ssrc = transport.mode.value, transport.ssrc
        gap_s = 0.0 if self._silent_since is None else self._clock() - self._silent_since
        was_interrupted, self._is_interrupted = self._is_interrupted, False
        self._silent_since, self._is_up = None, True
        if answers is not None:
            self._report(
                CallOpened(
                    request=answers.request,
                    call=self._call,
                    generation=answers.generation,
                    mode=mode,
                    ssrc=ssrc,
                )
            )
        if answers is None or was_interrupted:
            self.reconnects += 1
            self._report(
                CallRestored(
                    call=self._call,
                    generation=self.generation,
                    gap_ms=gap_s * 1_000,
                    resumed=resumed,
                    mode=mode,
                    ssrc=ssrc,
                )
            )
        self.tell_members()

    def down(self) -> None:
        """Note that no sound can be sent from now on."""
        self._is_up = False
        if self._silent_since is None:
            self._silent_since = self._clock()

    def interrupted(self, error: CallError | None) -> None:
        """Tell that the call is being mended; with None, the bot has said so itself."""
        self._is_up = False
        if not self._is_interrupted and error is not None:
            _LOGGER.info("call %s was interrupted: %s", self._call, error)
            self._report(CallInterrupted(call=self._call, generation=self.generation, error=error.info))
        self._is_interrupted = True

    def wants_server(self, error: CallError | None, *, rejoin: bool) -> None:
        """Tell that only other credentials help."""
        info = None if error is None else error.info
        self._report(ServerWanted(call=self._call, generation=self.generation, rejoin=rejoin, error=info))

    def closed(self, error: CallError) -> None:
        """Tell that the call is over."""
        _LOGGER.info("call %s has ended: %s", self._call, error)
        self._report(CallClosed(call=self._call, generation=self.generation, error=error.info))

    # What happens in it.

    def dave(self, event: DaveEvent) -> None:
        """Take what happened to the end-to-end encryption."""
        match event:
            case EncryptionChanged(protocol_version=version, is_sending=is_sending):
                self._version, self._is_sending = version, is_sending
            case GroupChanged():
                self.epochs += event.epoch is not None
                self._group = event
            case _:
                self.failures += isinstance(event, DaveRecovering | DaveFailed)
                _LOGGER.info("call %s: %s", self._call, event)
                return
        # A call without end-to-end encryption has no group that matters, whatever may be left of one.
        group = self._group if self._version else None
        state = EncryptionState(
            call=self._call,
            protocol_version=self._version,
            sending=self._is_sending,
            epoch=None if group is None else group.epoch,
            privacy_code=None if group is None else group.privacy_code,
            members=[] if group is None else sorted(group.user_ids),
        )
        if state != self._encryption:
            self._encryption = state
            self._report(state)

    def member(self, event: MemberEvent) -> None:
        """Take who came, went or speaks."""
        match event:
            case ClientsConnected(user_ids):
                self.members.connected(user_ids)
            case ClientDisconnected(user_id):
                self.members.disconnected(user_id)
            case SpeakingUpdate(user_id, ssrc, flags):
                self.members.speaks(user_id, ssrc, int(flags))
        self.tell_members()

    def tell_members(self) -> None:
        """Tell how the members have changed, if they have, the call is up and not too much was told."""
        if self._is_up:
            self.tell_members_at = self._member_news.tell(self._clock())
