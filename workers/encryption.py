"""Joins the DAVE machine of a call with its websocket, its clock and its frames.

`DaveProtocol` decides; what is here calls it for each thing that happens, sends what it wants sent, and sets
one timer. While there is no key for our frames, silence goes out in their place: the clock runs on, nothing
leaves unencrypted, and a listener hears a pause instead of a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.contract import GroupError
from voicepool.workers.dave.events import DaveEvent, EncryptionChanged
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.group import MAX_VERSION, DaveyGroup
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.dave.protocol import DaveProtocol
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import ClientDisconnected, ClientsConnected, DaveMessage
from voicepool.workers.nobody import tell_nobody

__all__ = ["MAX_DAVE_VERSION", "CallEncryption", "Seal"]

Seal = Callable[[bytes, bytes], bytes]
"""RTP header and Opus frame to a whole packet."""

MAX_DAVE_VERSION: Final = MAX_VERSION
_LOGGER: Final = logging.getLogger("voicepool.worker.dave")


class CallEncryption:
    """One voice session's end-to-end encryption.

    Parameters
    ----------
    user_id, channel_id
        Ours; the channel is the MLS group id.
    send
        Puts a message of ours on the websocket.
    on_event
        Takes what the bot may want to know.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        user_id: int,
        channel_id: int,
        *,
        send: Callable[[DaveReply], object],
        on_event: Callable[[DaveEvent], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frames = FrameSealer()
        self.protocol = DaveProtocol(DaveyGroup(user_id, channel_id), self.frames)
        self._send = send
        self._on_event = on_event
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()
        self._closed = False

    # What happens.

    def described(self, dave_protocol_version: int) -> None:
        """Take the version that the session description names; 0 is none."""
        self.protocol.session_description(dave_protocol_version, self._clock())
        self._carry_out()

    def received(self, event: DaveMessage | ClientsConnected | ClientDisconnected) -> None:
        """Take an opcode from 21 to 31, or a change among the members of the call."""
        match event:
            case DaveMessage():
                self.protocol.receive(event, self._clock())
            case ClientsConnected(user_ids):
                self.protocol.members_changed(joined=user_ids)
            case ClientDisconnected(user_id):
                self.protocol.members_changed(left=(user_id,))
        self._carry_out()

    def resumed(self) -> None:
        """Note that another websocket carries the session on."""
        self.protocol.resumed()
        self._carry_out()

    def close(self) -> None:
        """End it: no timer, no more frames."""
        self._closed = True
        self.frames.withhold()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send = self._on_event = tell_nobody

    # What the call asks.

    async def wait_until_settled(self, timeout_s: float) -> None:
        """Wait until frames may leave, but no longer than that: who is alone in a call has no key."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()

    def around(self, transport: Seal) -> Seal:
        """Return what seals a frame end to end, then for the transport. Called on the pacing thread."""
        return self.frames.around(transport)

    def verification(self, user_id: int) -> VerificationPair | str:
        """Return what a member's verification code is made from; the code itself where only the library can.

        Raises
        ------
        CallError
            There is no group, or the user is not in it.
        """
        membership = self.protocol.membership
        # After a downgrade the old group may linger.
        if membership.epoch is None or not self.protocol.protocol_version:
            raise _unverifiable(
                "this call has no end-to-end encrypted group now, so nobody in it can be verified. "
                "There is one while others are in the call; `encryption` tells when that changes.",
                user_id,
            )
        if user_id == membership.user_id or user_id not in membership.user_ids:
            raise _unverifiable(
                f"user {user_id} is not among the others in the encrypted group of this call. "
                "Ask for one of `encryption.members`, without the bot itself.",
                user_id,
            )
        try:
            return membership.verification_pair(user_id) or membership.verification_code(user_id)
        except GroupError as error:
            raise _unverifiable(f"user {user_id} cannot be verified: {error}.", user_id) from None

    # How it is done.

    def _carry_out(self) -> None:
        if self._closed:
            return
        for reply in self.protocol.outgoing():
            self._send(reply)
        for event in self.protocol.events():
            _LOGGER.debug("%s", type(event).__name__)
            if isinstance(event, EncryptionChanged):
                if event.is_sending:
                    self._settled.set()
                else:
                    self._settled.clear()
            self._on_event(event)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.protocol.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_later(max(0.0, deadline - self._clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.protocol.tick(self._clock())
        self._carry_out()


def _unverifiable(text: str, user_id: int) -> CallError:
    return CallError(ErrorCode.UNVERIFIABLE, text, user=user_id)
