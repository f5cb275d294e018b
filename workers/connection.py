"""One connection to a voice server: websocket and UDP socket, from credentials to a sealed way out.

The order is that of "Connecting to Voice": identify, READY, IP discovery, select protocol, session
description. What is opened here is closed here, whichever step fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from voicepool.ipc.commands import Credentials, WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.events import DaveEvent, DaveFailed
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.encryption import MAX_DAVE_VERSION, CallEncryption
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.connection import VoiceGateway
from voicepool.workers.gateway.endpoint import parse_endpoint
from voicepool.workers.gateway.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveMessage,
    GatewayClosed,
    GatewayEvent,
    GatewayFailed,
    HeartbeatLost,
    Ready,
    Resumed,
    SessionDescription,
    SpeakingUpdate,
    VoiceIdentity,
)
from voicepool.workers.gateway.opcodes import SpeakingFlag, close_error
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol
from voicepool.workers.gateway.states import IllegalMoveError
from voicepool.workers.nobody import tell_nobody
from voicepool.workers.settling import settle
from voicepool.workers.transport.aead import make_sealer
from voicepool.workers.transport.modes import TransportMode, choose_mode
from voicepool.workers.transport.udp import KEEPALIVE_INTERVAL_S, VoiceSocket, keepalive_packet

__all__ = ["MemberEvent", "Transport", "VoiceServerConnection"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")

GROUP_WAIT_S: Final = 1.0
"""How long a call may take from the session description to its first sender key before it counts as set up
all the same. With others in the call that takes some round trips; who is alone needs no key."""
UNSENT_MAX: Final = 64
"""Messages of the end-to-end encryption that wait for a resume; beyond it the oldest goes. What the server
must know is said again after the resume in any case."""
_ABNORMAL: Final = 1006

MemberEvent = ClientsConnected | ClientDisconnected | SpeakingUpdate
"""What the voice server says about others in the call."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Transport:
    """The way out that a connection gives: seal an RTP packet, send it."""

    mode: TransportMode
    ssrc: int
    seal: Callable[[bytes, bytes], bytes]
    send: Callable[[bytes], object]

    def __repr__(self) -> str:
        return f"Transport(mode={self.mode.value}, ssrc={self.ssrc})"


class VoiceServerConnection:
    """A connection from `open` to `close`, or to the one call of `on_lost`.

    Parameters
    ----------
    credentials
        What the main gateway handed out.
    settings
        Timeouts and allowed modes.
    ssl_context
        For the server's certificate.
    on_lost
        Called once, with the reason, if the connection ends by itself after `open` or `resume` has returned.
    on_broken
        Called with the reason if the voice session is of no use any more after `open` has returned, though
        its websocket may stand: nothing but a new session helps.
    on_dave
        Takes what happens to the end-to-end encryption.
    on_member
        Takes who comes, goes and speaks, from the handshake on.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        settings: WorkerSettings,
        ssl_context: ssl.SSLContext,
        on_lost: Callable[[CallError], object],
        on_broken: Callable[[CallError], object],
        on_dave: Callable[[DaveEvent], object],
        on_member: Callable[[MemberEvent], object],
    ) -> None:
        self._settings = settings
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._tell_dave = on_dave
        self._on_member = on_member
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._described: asyncio.Future[SessionDescription] = self._loop.create_future()
        self._resumed: asyncio.Future[None] = self._loop.create_future()
        self._failing: asyncio.Future[None] = self._loop.create_future()
        self._failure: CallError | None = None
        self._is_open = False
        self._is_resuming = False
        self._is_closing = False
        self._step = "the websocket"
        self._socket: VoiceSocket | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._keepalives = 0
        self._encryption = CallEncryption(
            credentials.user_id,
            credentials.channel_id,
            send=self._send_dave,
            on_event=self._on_dave,
        )
        self._unsent: deque[DaveReply] = deque(maxlen=UNSENT_MAX)
        self._description: SessionDescription | None = None
        self._ssrc = 0
        self._identity = VoiceIdentity(
            server_id=credentials.guild_id,
            user_id=credentials.user_id,
            session_id=credentials.session_id,
            token=credentials.token,
        )
        self._server = parse_endpoint(credentials.endpoint).server
        self._endpoint = credentials.endpoint
        self._ssl_context = ssl_context
        self._gateway = self._make_gateway()

    @property
    def rtt_ms(self) -> float | None:
        """Milliseconds a heartbeat's ACK last took; None before the first."""
        rtt_s = self._gateway.protocol.rtt_s
        return None if rtt_s is None else rtt_s * 1_000

    @property
    def messages_skipped(self) -> int:
        """Messages of the server on the present websocket that were malformed, unknown or out of place."""
        return self._gateway.protocol.skipped.total

    async def open(self) -> Transport:
        """Go through the whole handshake.

        Raises
        ------
        CallError
            With the step that failed; everything is closed again then.
        """
        limit_s = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                transport = await self._unless_failing(self._handshake(), name=f"handshake {self._server}")
        except TimeoutError:
            await self.close()
            msg = (
                f"{self._server} left {self._step} unanswered: the call was not set up within {limit_s:g} s. "
                "Join again, or raise connect_timeout_s."
            )
            raise CallError(ErrorCode.CONNECT_TIMEOUT, msg, step=self._step) from None
        except BaseException:
            await self.close()
            raise
        self._is_open = True
        self._keep_alive()
        return transport

    async def resume(self) -> None:
        """Take the voice session up again over a new websocket; UDP, keys and encryption stay as they are.

        Raises
        ------
        CallError
            The server did not have us back; `close` is then up to the caller.
        """
        limit_s = self._settings.connect_timeout_s
        self._is_open, self._is_resuming = False, True
        self._failure = None
        self._resumed = self._loop.create_future()
        self._failing = self._loop.create_future()
        self._gateway = self._make_gateway(seq_ack=self._gateway.protocol.last_seq)
        try:
            async with asyncio.timeout(limit_s):
                await self._unless_failing(self._take_up(), name=f"resume {self._server}")
        except TimeoutError:
            msg = f"{self._server} did not answer RESUME within {limit_s:g} s. Join the call again."
            raise CallError(ErrorCode.CONNECT_TIMEOUT, msg, step="RESUME") from None
        self._is_open = True

    @property
    def frames_failed(self) -> int:
        """Frames that could not be encrypted end to end."""
        return self._encryption.frames.failures

    def verification(self, user_id: int) -> VerificationPair | str:
        """Return what a member's verification code is made from; see `CallEncryption.verification`."""
        return self._encryption.verification(user_id)

    async def close(self) -> None:
        """Close websocket and socket; no callback is called any more."""
        self._is_closing = True
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None
        for future in (self._ready, self._described, self._resumed, self._failing):
            future.cancel()
        self._encryption.close()
        try:
            await self._gateway.close()
        finally:
            if self._socket is not None:
                self._socket.close()
            self._on_lost = self._on_broken = self._tell_dave = self._on_member = tell_nobody

    async def wait_until_left(self) -> None:
        """Return when the server can know that we leave: after `close` was begun, and before it is done."""
        await self._gateway.wait_until_leaving()

    async def _unless_failing(self, work: Coroutine[Any, Any, _T], *, name: str) -> _T:
        """Return what comes of the work, and raise at once if the connection ends meanwhile."""
        working = asyncio.create_task(work, name=name)
        either: set[asyncio.Future[Any]] = {working, self._failing}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._failing.done():
                # The first reason is the news, and not what became of the step that it came upon.
                self._failing.result()
            return working.result()
        except IllegalMoveError:
            # Our message came upon a websocket that has begun to close, and not said why yet.
            raise close_error(_ABNORMAL, server=self._server) from None
        finally:
            # Without a pause on the good way, in which the connection could end and nobody would notice.
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
            if not working.cancelled():
                working.exception()

    async def _handshake(self) -> Transport:
        await self._gateway.open()
        self._step = "IDENTIFY (no READY came)"
        ready = await self._ready
        mode = choose_mode(ready.modes, [TransportMode(name) for name in self._settings.modes])
        self._step = "IP discovery over UDP"
        self._socket = VoiceSocket(ready.ip, ready.port)
        address, port = await self._socket.discover(ready.ssrc, self._settings.connect_timeout_s)
        self._step = "SELECT PROTOCOL (no SESSION DESCRIPTION came)"
        self._gateway.select_protocol(address, port, mode.value)
        description = await self._described
        if description.mode != mode.value:
            msg = f"{self._server} was asked for {mode.value} and answered with {description.mode}."
            raise CallError(ErrorCode.PROTOCOL, msg)
        self._ssrc = ready.ssrc
        sealer = make_sealer(mode, description.secret_key)
        # Once, and before any packet: the server ends a call whose audio comes from a silent SSRC. Clients
        # show who speaks by the packets, so nothing is lost by saying it early, and no packet overtakes it.
        self._gateway.set_speaking(SpeakingFlag.MICROPHONE, ready.ssrc)
        self._step = "the set-up of end-to-end encryption"
        await self._encryption.wait_until_settled(GROUP_WAIT_S)
        return Transport(mode, ready.ssrc, self._encryption.around(sealer.seal), self._socket.send)

    async def _take_up(self) -> None:
        await self._gateway.open()
        await self._resumed
        # Clients that lost sight of us meanwhile learn our SSRC anew.
        self._gateway.set_speaking(SpeakingFlag.MICROPHONE, self._ssrc)
        self._is_resuming = False
        while self._unsent:
            self._send_dave(self._unsent.popleft())
        self._encryption.resumed()

    def _make_gateway(self, *, seq_ack: int | None = None) -> VoiceGateway:
        """Return a websocket to be opened: with RESUME from `seq_ack` on, or with IDENTIFY."""
        settings = self._settings
        return VoiceGateway(
            endpoint=self._endpoint,
            protocol=VoiceGatewayProtocol(
                self._identity,
                resume=seq_ack is not None,
                seq_ack=-1 if seq_ack is None else seq_ack,
                max_dave_protocol_version=MAX_DAVE_VERSION if settings.dave else 0,
                step_timeout_s=settings.connect_timeout_s,
                server=self._server,
            ),
            ssl_context=self._ssl_context,
            on_event=self._on_event,
            open_timeout_s=settings.connect_timeout_s,
        )

    def _on_event(self, event: GatewayEvent) -> None:  # noqa: C901  # one case an event
        if self._is_closing:
            return
        match event:
            case Ready():
                settle(self._ready, event)
            case SessionDescription():
                self._on_description(event)
            case Resumed():
                settle(self._resumed, None)
            case DaveMessage():
                self._encryption.received(event)
            case ClientsConnected() | ClientDisconnected():
                self._encryption.received(event)
                self._on_member(event)
            case SpeakingUpdate():
                self._on_member(event)
            case GatewayFailed(error):
                self._failure = error
            case GatewayClosed():
                self._ended(self._failure or event.to_error(), self._on_lost)
            case HeartbeatLost():
                _LOGGER.info("%s: %d heartbeats unanswered", self._server, event.unanswered)

    def _on_description(self, event: SessionDescription) -> None:
        if event == self._description:
            # Delivered again after a resume: the nonces, and the group, go on.
            return
        if self._description is not None:
            text = f"{self._server} changed the keys of a running voice session. Join the call again."
            self._ended(CallError(ErrorCode.PROTOCOL, text), self._on_broken)
            return
        self._description = event
        self._encryption.described(event.dave_protocol_version)
        settle(self._described, event)

    def _on_dave(self, event: DaveEvent) -> None:
        self._tell_dave(event)
        if isinstance(event, DaveFailed):
            text = f"end-to-end encryption could not be kept up: {event.reason}. Join the call again."
            self._ended(CallError(ErrorCode.PROTOCOL, text), self._on_broken)

    def _send_dave(self, reply: DaveReply) -> None:
        if self._is_resuming:
            # Before RESUMED the server would take it for a breach of the protocol.
            self._unsent.append(reply)
        else:
            self._gateway.send_dave(reply.data)

    def _ended(self, error: CallError, tell: Callable[[CallError], object]) -> None:
        """Take note that the connection is over: for who waits for a handshake, or by the callback."""
        if self._is_closing:
            # Of a timer of the encryption that was due already.
            return
        if self._is_open:
            tell(error)
        elif not self._failing.done():
            self._failing.set_exception(error)
            # Nobody may be waiting any more.
            self._failing.exception()

    def _keep_alive(self) -> None:
        if self._socket is None or self._is_closing:
            return
        with contextlib.suppress(OSError):
            # An unreachable server shows on the websocket, with a reason.
            self._socket.send(keepalive_packet(self._keepalives))
            self._keepalives += 1
        self._keepalive = self._loop.call_later(KEEPALIVE_INTERVAL_S, self._keep_alive)
