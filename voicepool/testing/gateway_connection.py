"""One websocket of the main gateway: reads what the client sends, sends what its session gets.

Two tasks share it: the reader is the request handler itself, the pump follows the session's log and belongs
to the reader. All rules of the protocol are elsewhere (`gateway_protocol`, `gateway_hub`); this file is the
I/O and the order of things.
"""

from __future__ import annotations

__all__ = ["GatewayConnection", "GatewayRules"]

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Protocol

from voicepool.testing.gateway_compression import make_encoder
from voicepool.testing.gateway_protocol import (
    CloseCode,
    Heartbeat,
    Identify,
    Opcode,
    ProtocolError,
    RequestMembers,
    Resume,
    SendBudget,
    UpdateVoiceState,
    decode_client_message,
    encode_message,
    parse_connect_query,
)
from voicepool.testing.gateway_session import ReplayLostError
from voicepool.testing.gateway_web import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicepool.testing.gateway_changes import Changes
    from voicepool.testing.gateway_compression import PayloadEncoder
    from voicepool.testing.gateway_hub import GatewayHub
    from voicepool.testing.gateway_protocol import ClientMessage
    from voicepool.testing.gateway_session import GatewaySession

_LOGGER: Final = logging.getLogger("voicepool.testing.discord")
_MISSED_HEARTBEATS: Final = 2
"""Intervals without a heartbeat before the connection is closed: the documentation promises tolerance."""
_CLOSE_TIMEOUT_S: Final = 2.0
"""How long to wait for a client's close frame before the socket goes."""
_FINAL_CLIENT_CODES: Final = frozenset({1000, 1001})
"""A client that closes with one of these gives its session up (Gateway, Initiating a Disconnect)."""


class GatewayRules(Protocol):
    """What the connection leaves to its owner; every method returns at once."""

    def welcome(self, session: GatewaySession) -> None:
        """Dispatch READY and what follows it to a new session."""

    def resumed(self, session: GatewaySession) -> None:
        """Dispatch RESUMED; the session's time to be resumed in has ended."""

    def update_voice_state(self, session: GatewaySession, message: UpdateVoiceState) -> None:
        """Carry out an op 4."""

    def request_members(self, session: GatewaySession, message: RequestMembers) -> None:
        """Answer an op 8."""

    def detached(self, session: GatewaySession) -> None:
        """Start the time in which a session that has lost its connection may be resumed."""

    def holder_of(self, session: GatewaySession) -> GatewayConnection | None:
        """Find the connection that serves a session now."""


class GatewayConnection:
    """Serves one client until either side closes.

    Parameters
    ----------
    hub, rules
        Sessions, and what the messages mean.
    changes
        Wakes the pump when its session has a new event.
    clock
        Seconds, monotonic.
    heartbeat_interval_s
        Told to the client in HELLO, and held against it.
    """

    def __init__(
        self,
        hub: GatewayHub,
        rules: GatewayRules,
        changes: Changes,
        *,
        clock: Callable[[], float],
        heartbeat_interval_s: float,
    ) -> None:
        self._hub = hub
        self._rules = rules
        self._changes = changes
        self._clock = clock
        self._heartbeat_interval_s = heartbeat_interval_s
        self._socket = web.WebSocketResponse(
            timeout=_CLOSE_TIMEOUT_S, compress=False, max_msg_size=1 << 20, autoping=True
        )
        self._encoder: PayloadEncoder = make_encoder(None)
        self._sending = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None
        self._budget = SendBudget()
        self._client_close_code: int | None = None
        self.session: GatewaySession | None = None
        """Set by IDENTIFY or RESUME."""

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Handle the websocket from its handshake to its end."""
        await self._socket.prepare(request)
        try:
            options = parse_connect_query(request.query)
            self._encoder = make_encoder(options.compress)
            interval_ms = round(self._heartbeat_interval_s * 1000)
            await self._send(encode_message(Opcode.HELLO, {"heartbeat_interval": interval_ms}))
            await self._read()
        except ProtocolError as error:
            bot_id = self.session.bot.id if self.session else None
            self._hub.violation(error.reason, code=error.code, bot_id=bot_id)
            await self.close(error.code, error.reason)
        except ConnectionResetError:
            _LOGGER.debug("gateway client went away without a close frame")
        finally:
            await self._detach()
        return self._socket

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close the websocket; returns when it is closed. Allowed from any task of the loop."""
        if not self._socket.prepared:
            return
        # A close frame carries 123 bytes of reason at most (RFC 6455 §5.5).
        await self._socket.close(code=code, message=reason.encode()[:123])

    async def invalidate(self) -> None:
        """Tell the client, if it is still there, that its session is gone (op 9, not resumable)."""
        with contextlib.suppress(ConnectionResetError):
            await self._send(encode_message(Opcode.INVALID_SESSION, data=False))

    async def _read(self) -> None:
        heartbeat_due_s = self._clock() + self._grace_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, heartbeat_due_s - self._clock())):
                    frame = await self._socket.receive()
            except TimeoutError:
                # UNKNOWN_ERROR and not a timeout code: the client shall be able to resume.
                reason = f"no heartbeat in {self._grace_s:g} s"
                raise ProtocolError(CloseCode.UNKNOWN_ERROR, reason) from None
            if frame.type is WSMsgType.TEXT:
                data = frame.data.encode()
            elif frame.type is WSMsgType.BINARY:
                data = frame.data
            else:
                # CLOSING and CLOSED mean that this side, or nobody, said goodbye: the client's answer to our
                # close frame carries a code of its own that says nothing about the session.
                self._client_close_code = frame.data if frame.type is WSMsgType.CLOSE else None
                return
            self._budget.spend(self._clock())
            message = decode_client_message(data)
            if isinstance(message, Heartbeat):
                heartbeat_due_s = self._clock() + self._grace_s
                await self._send(encode_message(Opcode.HEARTBEAT_ACK))
            else:
                await self._handle(message)

    @property
    def _grace_s(self) -> float:
        return self._heartbeat_interval_s * _MISSED_HEARTBEATS

    async def _handle(self, message: ClientMessage) -> None:
        if isinstance(message, Identify | Resume) and self.session is not None:
            raise ProtocolError(CloseCode.ALREADY_AUTHENTICATED, "identified or resumed twice")
        if isinstance(message, Identify):
            self._encoder.compresses_payloads = message.compress
            session = self._hub.identify(message)
            self._attach(session, cursor=0)
            self._rules.welcome(session)
        elif isinstance(message, Resume):
            await self._resume(message)
        elif self.session is None:
            raise ProtocolError(CloseCode.NOT_AUTHENTICATED, "sent something else before IDENTIFY")
        elif isinstance(message, UpdateVoiceState):
            self._rules.update_voice_state(self.session, message)
        elif isinstance(message, RequestMembers):
            self._rules.request_members(self.session, message)

    def _attach(self, session: GatewaySession, *, cursor: int) -> None:
        self.session = session
        session.connected = True
        self._pump = asyncio.create_task(self._follow(session, cursor), name="fake gateway pump")
        self._hub.changed()

    async def _resume(self, message: Resume) -> None:
        session = self._hub.resume(message)
        if session is None:
            await self.invalidate()
            return
        try:
            session.check_resume(message.seq)
        except ReplayLostError:
            self._hub.end_session(session)
            await self.invalidate()
            return
        # The server may not have noticed yet that the last connection is dead: the newer one wins.
        former = self._rules.holder_of(session)
        if former is not None:
            former.give_up_session()
        self._attach(session, cursor=message.seq)
        self._rules.resumed(session)
        if former is not None:
            await former.close(CloseCode.UNKNOWN_ERROR, "resumed on another connection")

    def give_up_session(self) -> None:
        """Stop serving the session, which goes on elsewhere; `close` comes next."""
        self.session = None
        if self._pump is not None:
            self._pump.cancel()

    async def _follow(self, session: GatewaySession, cursor: int) -> None:
        try:
            while session.alive:
                while (event := session.event_after(cursor)) is not None:
                    await self._send(event)
                    cursor += 1
                await self._changes.next_change()
        except ReplayLostError:
            self._hub.violation("reads its events too slowly", bot_id=session.bot.id)
            self._hub.end_session(session)
            await self.close(CloseCode.UNKNOWN_ERROR, "reads too slowly")
        except ConnectionResetError:
            _LOGGER.debug("gateway client went away while events were sent")

    async def _send(self, payload: bytes) -> None:
        # Compressing and sending must not be torn apart: the pieces of a stream have an order.
        async with self._sending:
            data, binary = self._encoder.encode(payload)
            if binary:
                await self._socket.send_bytes(data)
            else:
                await self._socket.send_str(data.decode())

    async def _detach(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.connected = False
            if self._client_close_code in _FINAL_CLIENT_CODES:
                self._hub.end_session(session)
            elif session.alive:
                self._rules.detached(session)
            self._hub.changed()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})
            if not self._pump.cancelled() and (error := self._pump.exception()) is not None:
                raise error
