"""The two ends of a link between a bot and one worker, as typed messages over ZeroMQ.

The bot binds a ROUTER, the worker connects a DEALER. A ROUTER sees who speaks, so that the bot can accept one
peer (the one with the start token) and ignore any other for ever.

Who else might speak: both ends know each other's CURVE key (ZeroMQ RFC 26), and over Unix sockets ZeroMQ asks
the kernel who connects and takes nobody but this user. How much either may say is bounded: a larger frame
ends the connection before it is in memory, and a message of more frames or bytes than allowed is not read.

What happens when a side is slow: ZeroMQ holds `HIGH_WATER_MARK` messages a direction, then each end keeps a
backlog of its own, bounded in messages and in bytes. At that bound `post` raises `LinkFullError` (the
sender decides), and a *lossy* message is dropped as soon as there is any backlog at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import zmq
import zmq.asyncio

from voicepool.ipc.codec import (
    COMMANDS,
    DEFAULT_ATTACHMENT_BYTES,
    EVENT_ATTACHMENT_BYTES,
    EVENTS,
    MAX_MESSAGE_BYTES,
    Codec,
    MessageTooLargeError,
    excess,
)
from voicepool.ipc.commands import Command
from voicepool.ipc.endpoint import BotKeys, CurveKeys
from voicepool.ipc.errors import WireError
from voicepool.ipc.events import Event

__all__ = ["BotEnd", "Channel", "ForkedError", "LinkFullError", "MessageTooLargeError", "WorkerEnd"]

HIGH_WATER_MARK: Final = 1_000
BACKLOG_MESSAGES: Final = 4_096
BACKLOG_BYTES: Final = 256 * 1024 * 1024

_InT = TypeVar("_InT")
_OutT = TypeVar("_OutT")


class LinkFullError(WireError):
    """The other side has stopped reading and the backlog is at its bound."""


class ForkedError(WireError):
    """The link belongs to the process that this one was forked from; ZeroMQ does not survive a fork."""


class Channel(Generic[_InT, _OutT]):
    """One end of a link. Owned by one event loop.

    Parameters
    ----------
    socket
        Owned from now on, closed by `close`.
    incoming, outgoing
        The codecs of the two directions.
    max_incoming_bytes, max_outgoing_bytes
        The most that the attachments of one message may come to. A larger frame ends the peer's connection
        (ZeroMQ's ``MAXMSGSIZE``).
    """

    def __init__(
        self,
        socket: zmq.asyncio.Socket,
        *,
        incoming: Codec[_InT],
        outgoing: Codec[_OutT],
        max_incoming_bytes: int,
        max_outgoing_bytes: int,
    ) -> None:
        self._socket = socket
        self._incoming = incoming
        self._outgoing = outgoing
        self._max_incoming_bytes = max_incoming_bytes
        self._max_outgoing_bytes = max_outgoing_bytes
        self._pid = os.getpid()
        self._backlog: deque[list[bytes]] = deque()
        self._backlog_bytes = 0
        self._posted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None
        self.received_bytes = 0
        """Of all messages so far, readable or not."""
        self.dropped = 0
        """Lossy messages given up because of a backlog, or of their size."""
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.MAXMSGSIZE, max(max_incoming_bytes, MAX_MESSAGE_BYTES))
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
        MessageTooLargeError
            The other side would not read it.
        ForkedError
            This is another process than the one that made the link.
        """
        if os.getpid() != self._pid:
            msg = f"the link was made in process {self._pid}, and this is {os.getpid()}, a fork of it"
            raise ForkedError(msg)
        if lossy and self._backlog:
            self.dropped += 1
            return
        frames = self._outgoing.encode(message, attachments)
        if too_large := excess(frames, self._max_outgoing_bytes):
            if lossy:
                self.dropped += 1
                return
            raise MessageTooLargeError(too_large)
        size_bytes = sum(map(len, frames))
        # One message is let in however large: its own size has a bound.
        full = self._backlog and self._backlog_bytes + size_bytes > BACKLOG_BYTES
        if full or len(self._backlog) >= BACKLOG_MESSAGES:
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
            The peer sent bytes that are no message, or too many; the link stays usable.
        """
        frames = await self._receive_frames()
        self.received_bytes += sum(map(len, frames))
        return self._incoming.decode(frames, max_attachment_bytes=self._max_incoming_bytes)

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
        The most that the attachments of one command may come to.
    curve
        Given, the socket speaks nothing but CURVE, and only with whom the context's doorman lets in.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        *,
        max_attachment_bytes: int,
        curve: BotKeys | None = None,
    ) -> None:
        socket = context.socket(zmq.ROUTER)
        super().__init__(
            socket,
            incoming=EVENTS,
            outgoing=COMMANDS,
            max_incoming_bytes=EVENT_ATTACHMENT_BYTES,
            max_outgoing_bytes=max_attachment_bytes,
        )
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if address.startswith("ipc:"):
            _take_only_this_user(socket)
        if curve is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret.encode())
            socket.setsockopt(zmq.ZAP_DOMAIN, curve.domain.encode())
            # Without a doorman, ZeroMQ would let any key in.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
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
        From `Bootstrap`: the most that the attachments of one command may come to.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        *,
        curve: CurveKeys | None = None,
        max_attachment_bytes: int = DEFAULT_ATTACHMENT_BYTES,
    ) -> None:
        socket = context.socket(zmq.DEALER)
        super().__init__(
            socket,
            incoming=COMMANDS,
            outgoing=EVENTS,
            max_incoming_bytes=max_attachment_bytes,
            max_outgoing_bytes=EVENT_ATTACHMENT_BYTES,
        )
        if curve is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server_public.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.client_public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, curve.client_secret.encode())
        socket.connect(address)


def _take_only_this_user(socket: zmq.asyncio.Socket) -> None:
    """Have the kernel's word on who connects (``SO_PEERCRED``, unix(7)) before a byte of theirs is read."""
    # Refused by systems that have no such thing; there the mode of the directory and the keys have to do.
    with contextlib.suppress(zmq.ZMQError):
        socket.setsockopt(zmq.IPC_FILTER_UID, os.geteuid())
