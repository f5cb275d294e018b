"""One connection to a voice server: websocket and UDP socket, from credentials to a sealed way out.

The order is that of "Connecting to Voice": identify, READY, IP discovery, select protocol, session
description. What is opened here is closed here, whichever step fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from voicepool.ipc.commands import Credentials, WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.dave.events import DaveEvent
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
    Ready,
    Resumed,
    SessionDescription,
    VoiceIdentity,
)
from voicepool.workers.gateway.opcodes import SpeakingFlag
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol
from voicepool.workers.gateway.states import IllegalMoveError
from voicepool.workers.transport.aead import TransportMode, choose_mode, make_sealer
from voicepool.workers.transport.discovery import DiscoveredAddress
from voicepool.workers.transport.udp import KEEPALIVE_INTERVAL_S, VoiceSocket, keepalive_packet

__all__ = ["Transport", "VoiceServerConnection"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")

GROUP_WAIT_S: Final = 1.0
"""How long a call may take from the session description to its first sender key before it counts as set up
all the same. With others in the call that takes some round trips; who is alone needs no key."""


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
        Called once, with the reason, if the connection ends by itself after `open` has returned.
    on_dave
        Takes what happens to the end-to-end encryption.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        settings: WorkerSettings,
        ssl_context: ssl.SSLContext,
        on_lost: Callable[[CallError], object],
        on_dave: Callable[[DaveEvent], object] | None = None,
    ) -> None:
        self._settings = settings
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._described: asyncio.Future[SessionDescription] = self._loop.create_future()
        self._resumed: asyncio.Future[None] = self._loop.create_future()
        self._failure: CallError | None = None
        self._closed_by: CallError | None = None
        self._is_open = False
        self._is_closing = False
        self._step = "the websocket"
        self._socket: VoiceSocket | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._keepalives = 0
        self._encryption = CallEncryption(
            credentials.user_id,
            credentials.channel_id,
            send=lambda reply: self._gateway.send_dave(reply.data),
            on_event=on_dave or _ignore,
        )
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
                transport = await self._handshake()
        except TimeoutError:
            await self.close()
            msg = (
                f"{self._server} left {self._step} unanswered: the call was not set up within {limit_s:g} s. "
                "Join again, or raise connect_timeout_s."
            )
            raise CallError(ErrorCode.CONNECT_TIMEOUT, msg, step=self._step) from None
        except IllegalMoveError as error:
            # The websocket closed just before our next message: the reason for that is the news.
            await self.close()
            raise self._failure or self._closed_by or error from None
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
        self._is_open = False
        self._failure = self._closed_by = None
        self._resumed = self._loop.create_future()
        self._gateway = self._make_gateway(seq_ack=self._gateway.protocol.last_seq)
        try:
            async with asyncio.timeout(limit_s):
                await self._gateway.open()
                await self._resumed
        except TimeoutError:
            msg = f"{self._server} did not answer RESUME within {limit_s:g} s. Join the call again."
            raise CallError(ErrorCode.CONNECT_TIMEOUT, msg, step="RESUME") from None
        self._is_open = True
        # Clients that lost sight of us meanwhile learn our SSRC anew.
        self._gateway.set_speaking(SpeakingFlag.MICROPHONE, self._ssrc)
        self._encryption.resumed()

    async def close(self) -> None:
        """Close websocket and socket; `on_lost` is not called any more."""
        self._is_closing = True
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None
        for future in (self._ready, self._described, self._resumed):
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()
        self._encryption.close()
        try:
            await self._gateway.close()
        finally:
            if self._socket is not None:
                self._socket.close()

    async def _handshake(self) -> Transport:
        await self._gateway.open()
        self._step = "IDENTIFY (no READY came)"
        ready = await self._ready
        mode = choose_mode(ready.modes, [TransportMode(name) for name in self._settings.modes])
        self._step = "IP discovery over UDP"
        self._socket = VoiceSocket(ready.ip, ready.port)
        address, port = await self._discover(self._socket, ready.ssrc)
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

    async def _discover(self, udp: VoiceSocket, ssrc: int) -> DiscoveredAddress:
        discovering = asyncio.create_task(
            udp.discover(ssrc, self._settings.connect_timeout_s), name=f"IP discovery {self._server}"
        )
        try:
            # A server that closes the websocket meanwhile has said why, and will not answer here either.
            either: set[asyncio.Future[Any]] = {discovering, self._described}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not discovering.done():
                self._described.result()
            return await discovering
        finally:
            if not discovering.done():
                discovering.cancel()
                await asyncio.wait({discovering})

    def _on_event(self, event: GatewayEvent) -> None:
        match event:
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(event)
            case SessionDescription():
                self._encryption.described(event.dave_protocol_version)
                if not self._described.done():
                    self._described.set_result(event)
            case Resumed():
                if not self._resumed.done():
                    self._resumed.set_result(None)
            case DaveMessage() | ClientsConnected() | ClientDisconnected():
                self._encryption.received(event)
            case GatewayFailed(error):
                self._failure = error
            case GatewayClosed():
                self._on_closed(self._failure or event.to_error())
            case _:
                # Who speaks: the receiving side will want it.
                pass

    def _on_closed(self, error: CallError) -> None:
        if self._is_closing:
            return
        if self._is_open:
            self._on_lost(error)
            return
        self._closed_by = error
        for future in (self._ready, self._described, self._resumed):
            if not future.done():
                future.set_exception(error)
                # Only one of the three is awaited when it breaks here.
                future.exception()

    def _keep_alive(self) -> None:
        if self._socket is None or self._is_closing:
            return
        with contextlib.suppress(OSError):
            # An unreachable server shows on the websocket, with a reason.
            self._socket.send(keepalive_packet(self._keepalives))
            self._keepalives += 1
        self._keepalive = self._loop.call_later(KEEPALIVE_INTERVAL_S, self._keep_alive)


def _ignore(_: DaveEvent) -> None:
    """Take no notice."""
