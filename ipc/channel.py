"""The two ends of a link between a bot and one worker, as typed messages over ZeroMQ.

The bot binds a ROUTER, the worker connects a DEALER. A ROUTER sees who speaks, so that the bot can accept one
peer (the one with the start token) and ignore any other for ever.

Who else might speak: both ends know each other's CURVE key (ZeroMQ RFC 26), and over Unix sockets ZeroMQ asks
the kernel who connects and takes nobody but this user. How much either may say is bounded: a larger frame
ends the connection before it is in memory, and a message of more frames or bytes than allowed is not read.

What happens when a side is slow: ZeroMQ holds `HIGH_WATER_MARK` messages a direction, then each end keeps a
backlog of its own, bounded in messages and in bytes. At that bound `post` raises `LinkFullError` (the
sender decides), and a *lossy* message is dropped as soon as there is any backlog at all.

What is posted in one turn of the event loop is handed to ZeroMQ at its end, and `TURN_MESSAGES` at a time, so
that the loop's other work gets its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import zmq

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
from voicepool.ipc.readiness import Readiness

__all__ = ["BotEnd", "Channel", "ForkedError", "LinkFullError", "MessageTooLargeError", "WorkerEnd"]

HIGH_WATER_MARK: Final = 1_000
BACKLOG_MESSAGES: Final = 4_096
BACKLOG_BYTES: Final = 256 * 1024 * 1024
TURN_MESSAGES: Final = 64
"""How many are sent, or are read and ignored, before the loop's other work gets its turn."""
STUCK_LOOK_S: Final = 0.01
"""How soon a message that ZeroMQ has refused is tried again, if nothing is heard of the socket before."""

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
        socket: zmq.Socket[bytes],
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
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._readable = asyncio.Event()
        self._sending: asyncio.Handle | None = None
        """Of the next attempt to send; None when nothing waits to be sent."""
        self._is_stuck = False
        self.received_bytes = 0
        """Of all messages so far, readable or not."""
        self.dropped = 0
        """Lossy messages given up because of a backlog, or of their size."""
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.MAXMSGSIZE, max(max_incoming_bytes, MAX_MESSAGE_BYTES))
        socket.setsockopt(zmq.LINGER, 0)
        self._readiness = Readiness(socket, self._look)

    @property
    def has_message(self) -> bool:
        """Whether there is something to be read already."""
        events = self._socket.get(zmq.EVENTS)
        assert isinstance(events, int), "as of every option but those that are texts"
        return bool(events & zmq.POLLIN)

    def post(self, message: _OutT, attachments: Sequence[bytes] = (), *, lossy: bool = False) -> None:
        """Send without waiting, in the order of the calls. After `close`, nothing is sent.

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
        if self._socket.closed:
            return
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
        if self._sending is None:
            self._idle.clear()
            self._sending = self._loop.call_soon(self._send_backlog)

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
        """Close the socket. What has not been handed to ZeroMQ by now is not sent.

        Parameters
        ----------
        linger_ms
            How long ZeroMQ may go on delivering what it has taken over.
        """
        self._readiness.close()
        if self._sending is not None:
            self._sending.cancel()
        self._socket.close(linger=linger_ms)
        # Who still waits learns of it by the error that a closed socket gives.
        self._readable.set()

    def _look(self) -> None:
        """Look at the socket, which may have changed, or been changed by what was done with it."""
        if self.has_message:
            self._readable.set()
        if self._is_stuck:
            self._send_soon()

    def _send_backlog(self) -> None:
        """Hand to ZeroMQ what it takes."""
        self._is_stuck = False
        for _ in range(TURN_MESSAGES):
            if not self._backlog:
                break
            try:
                self._send_frames(self._backlog[0])
            except zmq.Again:
                self._is_stuck = True
                break
            except zmq.ZMQError:
                # EHOSTUNREACH: the peer is gone. Who waits for its answer learns of it from the
                # supervision of the process, which sees every kind of death.
                pass
            self._backlog_bytes -= sum(map(len, self._backlog.popleft()))
        if self._is_stuck:
            # A ROUTER tells whether it takes a message for anybody, not for whom. Who only waits to be told
            # may have missed it, or be told again and again.
            self._sending = self._loop.call_later(STUCK_LOOK_S, self._send_backlog)
        elif self._backlog:
            self._sending = self._loop.call_soon(self._send_backlog)
        else:
            self._sending = None
            self._idle.set()
        if self.has_message:
            self._readable.set()

    def _send_soon(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._is_stuck = False
        self._sending = self._loop.call_soon(self._send_backlog)

    def _send_frames(self, frames: list[bytes]) -> None:
        self._socket.send_multipart(frames, zmq.NOBLOCK)

    async def _receive_frames(self) -> list[bytes]:
        while True:
            # Looked at first: having nothing to read is no exception here, but the rule.
            self._readable.clear()
            if self.has_message:
                return self._socket.recv_multipart(zmq.NOBLOCK)
            await self._readable.wait()


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
        context: zmq.Context[Any],
        address: str,
        *,
        max_attachment_bytes: int,
        curve: BotKeys | None = None,
    ) -> None:
        socket = context.socket(zmq.ROUTER, socket_class=zmq.Socket)
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
            self._readiness.close()
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
            for _ in range(TURN_MESSAGES):
                frames = await super()._receive_frames()
                self._heard = frames[0]
                if self._peer is None or self._heard == self._peer:
                    return frames[1:]
            await asyncio.sleep(0)

    def _send_frames(self, frames: list[bytes]) -> None:
        assert self._peer is not None, "nothing is posted before the worker's Hello is accepted"
        self._socket.send_multipart([self._peer, *frames], zmq.NOBLOCK)


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
        context: zmq.Context[Any],
        address: str,
        *,
        curve: CurveKeys | None = None,
        max_attachment_bytes: int = DEFAULT_ATTACHMENT_BYTES,
    ) -> None:
        socket = context.socket(zmq.DEALER, socket_class=zmq.Socket)
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


def _take_only_this_user(socket: zmq.Socket[bytes]) -> None:
    """Have the kernel's word on who connects (``SO_PEERCRED``, unix(7)) before a byte of theirs is read."""
    # Refused by systems that have no such thing; there the mode of the directory and the keys have to do.
    with contextlib.suppress(zmq.ZMQError):
        socket.setsockopt(zmq.IPC_FILTER_UID, os.geteuid())
