"""The two ends of a link between a bot and one worker, as typed messages over ZeroMQ.

The bot binds a ROUTER, the worker connects a DEALER. A ROUTER sees who speaks, so that the bot can accept one
peer (the one with the start token) and ignore any other for ever.

What happens when a side is slow: ZeroMQ holds `HIGH_WATER_MARK` messages a direction, then each end keeps a
backlog of its own, bounded in messages and in bytes. At that bound `post` raises `LinkFullError` (the
sender decides), and a *lossy* message is dropped as soon as there is any backlog at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import zmq
import zmq.asyncio

from voicepool.ipc.codec import COMMANDS, EVENTS, MAX_MESSAGE_BYTES, Codec
from voicepool.ipc.commands import Command
from voicepool.ipc.endpoint import CurveKeys
from voicepool.ipc.errors import WireError
from voicepool.ipc.events import Event

__all__ = ["BotEnd", "Channel", "LinkFullError", "WorkerEnd"]

HIGH_WATER_MARK: Final = 1_000
BACKLOG_MESSAGES: Final = 4_096
BACKLOG_BYTES: Final = 256 * 1024 * 1024

_InT = TypeVar("_InT")
_OutT = TypeVar("_OutT")


class LinkFullError(WireError):
    """The other side has stopped reading and the backlog is at its bound."""


class Channel(Generic[_InT, _OutT]):
    """One end of a link. Owned by one event loop.

    Parameters
    ----------
    socket
        Owned from now on, closed by `close`.
    incoming, outgoing
        The codecs of the two directions.
    max_attachment_bytes
        Larger frames end the peer's connection (ZeroMQ's ``MAXMSGSIZE``).
    """

    def __init__(
        self,
        socket: zmq.asyncio.Socket,
        *,
        incoming: Codec[_InT],
        outgoing: Codec[_OutT],
        max_attachment_bytes: int,
    ) -> None:
        self._socket = socket
        self._incoming = incoming
        self._outgoing = outgoing
        self._backlog: deque[list[bytes]] = deque()
        self._backlog_bytes = 0
        self._posted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None
        self.dropped = 0
        """Lossy messages given up because of a backlog."""
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.MAXMSGSIZE, max(max_attachment_bytes, MAX_MESSAGE_BYTES))
        socket.setsockopt(zmq.LINGER, 0)

    def post(self, message: _OutT, attachments: Sequence[bytes] = (), *, lossy: bool = False) -> None:
        """Send without waiting, in the order of the calls.

        Parameters
        ----------
        message
            What to send.
        attachments
            Raw frames that go with it.
        lossy
            Drop it, and count it in `dropped`, when anything is still waiting to be sent.

        Raises
        ------
        LinkFullError
            The backlog is at its bound.
        """
        if lossy and self._backlog:
            self.dropped += 1
            return
        frames = self._outgoing.encode(message, attachments)
        size_bytes = sum(map(len, frames))
        if len(self._backlog) >= BACKLOG_MESSAGES or self._backlog_bytes + size_bytes > BACKLOG_BYTES:
            msg = f"the other side reads nothing: {len(self._backlog)} messages wait to be sent"
            raise LinkFullError(msg)
        self._backlog.append(frames)
        self._backlog_bytes += size_bytes
        self._idle.clear()
        self._posted.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_backlog(), name="voicepool link sender")

    async def receive(self) -> tuple[_InT, list[bytes]]:
        """Wait for the next message.

        Raises
        ------
        UnreadableMessageError
            The peer sent bytes that are no message; the link stays usable.
        """
        return self._incoming.decode(await self._receive_frames())

    async def flush(self) -> None:
        """Wait until ZeroMQ has taken over all that was posted."""
        await self._idle.wait()

    async def close(self, *, linger_ms: int = 0) -> None:
        """End the sender and close the socket.

        Parameters
        ----------
        linger_ms
            How long ZeroMQ may go on delivering what it has taken over.
        """
        sender, self._sender = self._sender, None
        try:
            if sender is not None:
                sender.cancel()
                await asyncio.wait({sender})
        finally:
            self._socket.close(linger=linger_ms)

    async def _send_backlog(self) -> None:
        while True:
            await self._posted.wait()
            self._posted.clear()
            while self._backlog:
                frames = self._backlog[0]
                with contextlib.suppress(zmq.ZMQError):
                    # EHOSTUNREACH: the peer is gone. Who waits for its answer learns of it from the
                    # supervision of the process, which sees every kind of death.
                    await self._send_frames(frames)
                self._backlog.popleft()
                self._backlog_bytes -= sum(map(len, frames))
            self._idle.set()

    async def _send_frames(self, frames: list[bytes]) -> None:
        await self._socket.send_multipart(frames)

    async def _receive_frames(self) -> list[bytes]:
        frames: list[bytes] = await self._socket.recv_multipart()
        return frames


class BotEnd(Channel[Event, Command]):
    """The bot's end: binds, and speaks with the one peer it has accepted.

    Parameters
    ----------
    context
        The pool's ZeroMQ context.
    address
        ``ipc://…`` or ``tcp://127.0.0.1:*``; `address` then tells the port.
    max_attachment_bytes
        Bound on one attachment.
    curve_secret, curve_public
        The pool's key pair (Z85); given, the socket speaks nothing but CURVE.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        *,
        max_attachment_bytes: int,
        curve_public: bytes | None = None,
        curve_secret: bytes | None = None,
    ) -> None:
        socket = context.socket(zmq.ROUTER)
        super().__init__(
            socket, incoming=EVENTS, outgoing=COMMANDS, max_attachment_bytes=max_attachment_bytes
        )
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if curve_secret is not None and curve_public is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, curve_public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, curve_secret)
            socket.setsockopt(zmq.ZAP_DOMAIN, b"voicepool")
        try:
            socket.bind(address)
        except zmq.ZMQError:
            socket.close(linger=0)
            raise
        self.address: str = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._heard: bytes = b""
        self._peer: bytes | None = None

    def accept_peer(self) -> None:
        """Speak with the sender of the message received last, and with nobody else from now on."""
        self._peer = self._heard

    async def _receive_frames(self) -> list[bytes]:
        while True:
            frames: list[bytes] = await self._socket.recv_multipart()
            self._heard = frames[0]
            if self._peer is None or self._heard == self._peer:
                return frames[1:]

    async def _send_frames(self, frames: list[bytes]) -> None:
        assert self._peer is not None, "nothing is posted before the worker's Hello is accepted"
        await self._socket.send_multipart([self._peer, *frames])


class WorkerEnd(Channel[Command, Event]):
    """The worker's end: connects.

    Parameters
    ----------
    context
        The worker's ZeroMQ context.
    address
        From `Bootstrap`.
    curve
        From `Bootstrap`; given, the link is encrypted and the bot proves who it is.
    max_attachment_bytes
        Bound on one attachment.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        *,
        curve: CurveKeys | None = None,
        max_attachment_bytes: int = BACKLOG_BYTES,
    ) -> None:
        socket = context.socket(zmq.DEALER)
        super().__init__(
            socket, incoming=COMMANDS, outgoing=EVENTS, max_attachment_bytes=max_attachment_bytes
        )
        if curve is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server_public.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.client_public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, curve.client_secret.encode())
        socket.connect(address)
