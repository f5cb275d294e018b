"""The client side of the voice gateway, version 8, without I/O [pure].

The caller owns the websocket and the clock. It calls one method per thing that happened, passing ``now``
(seconds, monotonic); after *each* such call it asks, in this order: `events` for what to tell the session,
`outgoing` for what to send, `closing` for whether the websocket is to be closed, and `next_deadline` for
when to call `tick`. `connection` does so; tests do it with no socket at all.

One object is one websocket. To resume, make a new one with ``resume=True`` and the old one's `last_seq`.

What the server sends is never fatal by itself: messages out of order are kept for the state that wants them,
what is of no use is counted (`incoming`). Only when the handshake cannot go on (an unreadable READY, a step
without an answer) it ends with a `GatewayFailed`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import (
    GatewayClosed,
    GatewayEvent,
    GatewayFailed,
    HeartbeatLost,
    Ready,
    Resumed,
    SessionDescription,
    VoiceIdentity,
)
from voicepool.workers.gateway.failures import stopped_reading, unanswered, unreadable
from voicepool.workers.gateway.heartbeat import Heartbeat
from voicepool.workers.gateway.incoming import Incoming
from voicepool.workers.gateway.messages import (
    heartbeat_message,
    identify_message,
    resume_message,
    select_protocol_message,
    speaking_message,
)
from voicepool.workers.gateway.opcodes import OurCloseCode, VoiceOpcode
from voicepool.workers.gateway.payloads import (
    ACK_DECODER,
    HELLO_DECODER,
    READY_DECODER,
    SESSION_DESCRIPTION_DECODER,
)
from voicepool.workers.gateway.skipped import SkippedMessages
from voicepool.workers.gateway.states import (
    AWAITED,
    GatewayInput,
    GatewayMachine,
    GatewayState,
    IllegalMoveError,
)

__all__ = ["OUTGOING_LIMIT", "VoiceGatewayProtocol"]

OUTGOING_LIMIT: Final = 64
"""Messages that may wait for the caller to send them; one more means the server has stopped reading."""


class VoiceGatewayProtocol:
    """One voice websocket's worth of protocol.

    Parameters
    ----------
    identity
        Who we are; sent, never shown.
    resume
        Whether to open with RESUME instead of IDENTIFY.
    seq_ack
        With ``resume``: `last_seq` of the websocket before. Otherwise -1.
    max_dave_protocol_version
        Highest version of end-to-end encryption we speak; 0 is none.
    step_timeout_s
        How long each step of the handshake may take the server: HELLO, READY or RESUMED, SESSION_DESCRIPTION.
    unanswered_limit
        Heartbeats that may be without an ACK when the next one is due; so many mean the connection is dead.
    server
        Host and port, for texts.
    jitter
        Returns a number in [0, 1): the part of the interval to wait before the first heartbeat, so that
        calls which began together do not beat together.
    """

    def __init__(
        self,
        identity: VoiceIdentity,
        *,
        resume: bool = False,
        seq_ack: int = -1,
        max_dave_protocol_version: int = 0,
        step_timeout_s: float = 10.0,
        unanswered_limit: int = 3,
        server: str = "the voice server",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._identity = identity
        self._resume = resume
        self._max_dave_protocol_version = max_dave_protocol_version
        self._step_timeout_s = step_timeout_s
        self._server = server

        self._machine = GatewayMachine()
        self._events: list[GatewayEvent] = []
        self._incoming = Incoming(self._events, last_seq=seq_ack)
        self._outgoing: list[str | bytes] = []
        self._closing: int | None = None
        self._held: dict[VoiceOpcode, bytes] = {}
        self._speaking: str | None = None

        self._now = 0.0
        self._hello_by: float | None = None
        self._step_by: float | None = None
        self._heartbeat = Heartbeat(unanswered_limit=unanswered_limit, jitter=jitter)

    def __repr__(self) -> str:
        return f"<VoiceGatewayProtocol {self._machine.state.value} server={self._server!r}>"

    # What the caller may look at.

    @property
    def state(self) -> GatewayState:
        """Where the handshake stands."""
        return self._machine.state

    @property
    def server(self) -> str:
        """Host and port, for texts."""
        return self._server

    @property
    def last_seq(self) -> int:
        """Number of the last numbered message, 0 to 65535; -1 before the first."""
        return self._incoming.last_seq

    @property
    def skipped(self) -> SkippedMessages:
        """What was of no use."""
        return self._incoming.skipped

    @property
    def rtt_s(self) -> float | None:
        """Seconds from the last answered heartbeat to its ACK; None before the first."""
        return self._heartbeat.rtt_s

    # The network happened.

    def connection_opened(self, now: float) -> None:
        """Note that the websocket is open: say who we are at once, without waiting for HELLO."""
        self._now = now
        self._hello_by = self._step_by = now + self._step_timeout_s
        if self._resume:
            self._machine.move(GatewayInput.OPENED_TO_RESUME)
            self._enqueue(resume_message(self._identity, self._incoming.last_seq))
        else:
            self._machine.move(GatewayInput.OPENED_TO_IDENTIFY)
            self._enqueue(identify_message(self._identity, self._max_dave_protocol_version))

    def connection_lost(self, close_code: int, reason: str, now: float, *, by_us: bool = False) -> None:
        """Note that the websocket is gone; a second call changes nothing.

        Parameters
        ----------
        close_code
            1006 if there was no close frame.
        reason
            Text of the close frame.
        now
            Seconds, monotonic.
        by_us
            Whether we began the closing.
        """
        self._now = now
        if self._machine.state is GatewayState.CLOSED:
            return
        self._machine.move(GatewayInput.LOST)
        self._forget_deadlines()
        self._outgoing.clear()
        self._held.clear()
        self._events.append(GatewayClosed(code=close_code, reason=reason, by_us=by_us, server=self._server))

    def receive_text(self, data: str | bytes, now: float) -> None:
        """Take a text frame."""
        self._now = now
        step = self._incoming.take_text(data) if self._reading else None
        if step is not None:
            self._take_step(*step)

    def receive_binary(self, data: bytes, now: float) -> None:
        """Take a binary frame."""
        self._now = now
        if self._reading:
            self._incoming.take_binary(data)

    def tick(self, now: float) -> None:
        """Do what is due: a heartbeat, or giving up on a step."""
        self._now = now
        if self._hello_by is not None and now >= self._hello_by:
            self._fail(unanswered(self._server, "HELLO", self._step_timeout_s))
        elif self._step_by is not None and now >= self._step_by:
            self._fail(unanswered(self._server, AWAITED[self._machine.state], self._step_timeout_s))
        elif self._heartbeat.due is not None and now >= self._heartbeat.due:
            self._beat()

    # The session wants something.

    def select_protocol(self, address: str, port: int, mode: str, now: float) -> None:
        """Answer READY with our address as seen from outside, and the encryption mode we chose.

        Raises
        ------
        IllegalMoveError
            If READY has not come, or was answered before.
        """
        self._now = now
        self._machine.move(GatewayInput.SELECT_PROTOCOL)
        self._step_by = now + self._step_timeout_s
        self._enqueue(select_protocol_message(address, port, mode))
        self._release(VoiceOpcode.SESSION_DESCRIPTION)

    def set_speaking(self, flags: int, ssrc: int) -> None:
        """Send SPEAKING; it must not be 0 for audio to pass (Voice Connections, Speaking).

        Before the call is established the newest one waits, and is sent as soon as it is.

        Raises
        ------
        IllegalMoveError
            If the websocket is closed or closing.
        """
        state = self._machine.state
        if state in {GatewayState.CLOSING, GatewayState.CLOSED}:
            raise IllegalMoveError(state, "set_speaking", self._machine.recent)
        self._speaking = speaking_message(flags, ssrc)
        self._send_speaking()

    def send_dave(self, frame: str | bytes) -> None:
        """Send a message of opcodes 23 to 31, text or binary as it is; nothing once closing."""
        if self._machine.state not in {GatewayState.CLOSING, GatewayState.CLOSED}:
            self._enqueue(frame)

    def close(self, code: int = OurCloseCode.NORMAL) -> None:
        """Ask for the websocket to be closed after what is still to be sent; without effect once closing."""
        if self._machine.accepts(GatewayInput.GIVE_UP):
            self._give_up(code)

    # What the caller asks after each call.

    def events(self) -> list[GatewayEvent]:
        """Return what has happened since the last call."""
        events = self._events.copy()
        self._events.clear()
        return events

    def outgoing(self) -> list[str | bytes]:
        """Return the frames to send, text as str and binary as bytes, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def closing(self) -> int | None:
        """Return the code to close the websocket with, or None to keep it open."""
        return self._closing

    def next_deadline(self) -> float | None:
        """Return the time at which to call `tick`, or None for never."""
        deadlines = (self._hello_by, self._step_by, self._heartbeat.due)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Inside.

    @property
    def _reading(self) -> bool:
        return self._machine.state not in {GatewayState.NEW, GatewayState.CLOSING, GatewayState.CLOSED}

    def _take_step(self, opcode: VoiceOpcode, body: bytes) -> None:
        match opcode:
            case VoiceOpcode.HELLO:
                self._on_hello(body)
            case VoiceOpcode.READY:
                self._on_ready(body)
            case VoiceOpcode.SESSION_DESCRIPTION:
                self._on_session_description(body)
            case VoiceOpcode.RESUMED:
                self._on_resumed(body)
            case VoiceOpcode.HEARTBEAT_ACK:
                self._on_ack(body)

    def _is_timely(self, opcode: VoiceOpcode, received: GatewayInput, body: bytes) -> bool:
        """Whether the present state takes the message; keep it if a later one does."""
        if self._machine.accepts(received):
            return True
        if self._machine.will_accept(received):
            # One slot an opcode: the newer of two keys is the valid one, so the bound loses nothing.
            self._held[opcode] = body
        else:
            self._incoming.skip_unexpected(opcode)
        return False

    def _release(self, opcode: VoiceOpcode) -> None:
        body = self._held.pop(opcode, None)
        if body is not None:
            self._take_step(opcode, body)

    def _on_hello(self, body: bytes) -> None:
        hello = self._incoming.read(VoiceOpcode.HELLO, HELLO_DECODER, body)
        if hello is None:
            if not self._heartbeat.started:
                self._fail(unreadable(self._server, VoiceOpcode.HELLO))
            return
        self._hello_by = None
        self._heartbeat.start(hello.heartbeat_interval / 1_000, self._now)

    def _on_ready(self, body: bytes) -> None:
        if not self._is_timely(VoiceOpcode.READY, GatewayInput.READY, body):
            return
        ready = self._incoming.read(VoiceOpcode.READY, READY_DECODER, body)
        if ready is None:
            self._fail(unreadable(self._server, VoiceOpcode.READY))
            return
        self._machine.move(GatewayInput.READY)
        # What comes next takes us as long as it takes; the server's time starts again with SELECT_PROTOCOL.
        self._step_by = None
        self._events.append(Ready(ssrc=ready.ssrc, ip=ready.ip, port=ready.port, modes=ready.modes))

    def _on_session_description(self, body: bytes) -> None:
        opcode = VoiceOpcode.SESSION_DESCRIPTION
        if not self._is_timely(opcode, GatewayInput.SESSION_DESCRIPTION, body):
            return
        description = self._incoming.read(opcode, SESSION_DESCRIPTION_DECODER, body)
        if description is None:
            # A call that has its key plays on.
            if self._machine.state is not GatewayState.ESTABLISHED:
                self._fail(unreadable(self._server, opcode))
            return
        self._machine.move(GatewayInput.SESSION_DESCRIPTION)
        self._step_by = None
        self._events.append(
            SessionDescription(
                mode=description.mode,
                secret_key=bytes(description.secret_key),
                dave_protocol_version=description.dave_protocol_version,
            ),
        )
        self._send_speaking()

    def _on_resumed(self, body: bytes) -> None:
        if not self._is_timely(VoiceOpcode.RESUMED, GatewayInput.RESUMED, body):
            return
        self._machine.move(GatewayInput.RESUMED)
        self._step_by = None
        self._events.append(Resumed())
        self._send_speaking()
        self._release(VoiceOpcode.SESSION_DESCRIPTION)

    def _on_ack(self, body: bytes) -> None:
        ack = self._incoming.read(VoiceOpcode.HEARTBEAT_ACK, ACK_DECODER, body)
        if ack is not None:
            self._heartbeat.answered(ack.t, self._now)

    def _beat(self) -> None:
        heartbeat = self._heartbeat
        if heartbeat.is_dead:
            silent_s = heartbeat.silent_s(self._now)
            self._events.append(HeartbeatLost(unanswered=heartbeat.unanswered, silent_s=silent_s))
            self._outgoing.clear()
            self._give_up(OurCloseCode.KEEP_SESSION)
            return
        nonce = heartbeat.beat(self._now)
        self._enqueue(heartbeat_message(nonce, self._incoming.last_seq))

    def _send_speaking(self) -> None:
        if self._speaking is not None and self._machine.state is GatewayState.ESTABLISHED:
            self._enqueue(self._speaking)
            self._speaking = None

    def _enqueue(self, frame: str | bytes) -> None:
        if len(self._outgoing) < OUTGOING_LIMIT:
            self._outgoing.append(frame)
        elif self._machine.accepts(GatewayInput.GIVE_UP):
            self._fail(stopped_reading(self._server, OUTGOING_LIMIT), OurCloseCode.KEEP_SESSION)

    def _fail(self, error: CallError, code: OurCloseCode = OurCloseCode.NORMAL) -> None:
        self._outgoing.clear()
        self._events.append(GatewayFailed(error=error))
        self._give_up(code)

    def _give_up(self, code: int) -> None:
        self._machine.move(GatewayInput.GIVE_UP)
        self._closing = code
        self._forget_deadlines()

    def _forget_deadlines(self) -> None:
        self._hello_by = self._step_by = None
        self._heartbeat.stop()
