"""The UDP socket of one call: discovery, then raw sending from the pacing thread, later receiving.

There is exactly one socket for both directions, because the mapping in the network address translator on the
way belongs to it. It is connected: the kernel drops what other hosts send, and `send` needs no address.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.transport.discovery import RETRY_S, DiscoveredAddress, IpDiscovery

__all__ = ["DATAGRAM_MAX_BYTES", "KEEPALIVE_INTERVAL_S", "VoiceSocket", "keepalive_packet"]

KEEPALIVE_INTERVAL_S: Final = 5.0
"""Even while audio is sent; without it receiving stops after some minutes (observed)."""
DATAGRAM_MAX_BYTES: Final = 2_048
"""Longer than any packet that crosses an Ethernet unfragmented."""

_EXPEDITED_FORWARDING: Final = 46 << 2
"""DSCP EF in the upper six bits of the byte (RFC 3246)."""
_SEND_BUFFER_BYTES: Final = 256 * 1_024
_RECEIVE_BUFFER_BYTES: Final = 1_024 * 1_024
_IDLE_RECEIVE_BUFFER_BYTES: Final = 8 * 1_024
_DATAGRAMS_PER_WAKE: Final = 64
_KEEPALIVE: Final = struct.Struct("<I4x")


def keepalive_packet(count: int) -> bytes:
    """Return the ``count``-th keepalive: 8 bytes that begin with the counter (observed: little endian)."""
    return _KEEPALIVE.pack(count & 0xFFFF_FFFF)


class VoiceSocket:
    """A connected, non-blocking UDP socket. Made, used and closed by the event loop; only `send` may be
    called from elsewhere, and not after `close`.

    Parameters
    ----------
    ip, port
        The voice server's, from READY.
    clock
        Seconds, monotonic.

    Raises
    ------
    CallError
        ``PROTOCOL`` if ``ip`` is no address; ``CONNECT_REFUSED`` if there is no way to it.

    Attributes
    ----------
    send
        The socket's own ``send``: takes one datagram, never blocks. Raises OSError: `BlockingIOError` if
        the send buffer is full, `ConnectionRefusedError` once for an ICMP answer to an earlier datagram.
    ignored_datagrams
        Received during discovery and not the answer.
    marked_expedited
        Whether the kernel took the DSCP mark, which routers of some networks prefer.
    """  # noqa: D205 - the rule of use is part of what it is

    def __init__(self, ip: str, port: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server: Final = f"{ip}:{port}"
        self._clock = clock
        self._socket: Final = _connected_socket(ip, port)
        self.send: Final[Callable[[bytes], int]] = self._socket.send
        self.marked_expedited: Final = _mark_expedited(self._socket)
        self.ignored_datagrams = 0
        self._stop_reading: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<VoiceSocket {self._server}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._socket.fileno() < 0

    async def discover(
        self,
        ssrc: int,
        timeout_s: float,
        *,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> DiscoveredAddress:
        """Return our own address and port as the voice server sees them.

        Parameters
        ----------
        ssrc
            Ours, from READY.
        timeout_s
            For all attempts together.
        retry_s
            Pauses between the questions; the last one repeats.

        Raises
        ------
        CallError
            ``CONNECT_TIMEOUT``, naming the step and what to look at; ``CONNECT_REFUSED`` if the socket was
            closed meanwhile.
        """
        discovery = IpDiscovery(ssrc, now=self._clock(), timeout_s=timeout_s, retry_s=retry_s)
        answered = asyncio.Event()

        def take(datagram: bytes) -> None:
            discovery.receive(datagram)
            if discovery.answer is not None:
                answered.set()

        self.start_reading(take)
        try:
            while (deadline := discovery.next_deadline()) is not None:
                now = self._clock()
                if discovery.has_failed(now) or self.closed:
                    raise self._discovery_error(timeout_s, discovery)
                request = discovery.outgoing(now)
                if request is not None:
                    # A lost question is asked again; the kernel reports refusals of the one before here.
                    with contextlib.suppress(OSError):
                        self.send(request)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(deadline - now):
                        await answered.wait()
        finally:
            self.ignored_datagrams += discovery.ignored
            self.stop_reading()
        assert discovery.answer is not None
        return discovery.answer

    def start_reading(self, callback: Callable[[bytes], None]) -> None:
        """Give each datagram to ``callback``, on the running loop, until `stop_reading` or `close`.

        Raises
        ------
        RuntimeError
            If it is being read already.
        """
        if self._stop_reading is not None:
            raise RuntimeError(f"{self!r} is being read already")
        loop = asyncio.get_running_loop()
        _set_buffer(self._socket, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        descriptor = self._socket.fileno()
        try:
            loop.add_reader(descriptor, self._read_available, callback)
        except NotImplementedError:
            # The proactor loop of Windows has completions instead of readiness.
            task = loop.create_task(self._read_one_by_one(loop, callback), name=f"read {self._server}")

            def stop() -> None:
                task.cancel()
        else:

            def stop() -> None:
                loop.remove_reader(descriptor)

        self._stop_reading = stop

    def stop_reading(self) -> None:
        """End what `start_reading` began; without effect if nothing is read."""
        if self._stop_reading is not None:
            self._stop_reading()
            self._stop_reading = None
            if not self.closed:
                # Nobody empties the buffer now, and hundreds of full ones are a burden on the kernel.
                _set_buffer(self._socket, socket.SO_RCVBUF, _IDLE_RECEIVE_BUFFER_BYTES)

    def close(self) -> None:
        """Stop reading and close the socket; without effect the second time."""
        self.stop_reading()
        self._socket.close()

    def _read_available(self, callback: Callable[[bytes], None]) -> None:
        for _ in range(_DATAGRAMS_PER_WAKE):
            # The callback may stop the reading or close the socket.
            if self._stop_reading is None:
                return
            try:
                datagram = self._socket.recv(DATAGRAM_MAX_BYTES)
            except ConnectionError:
                continue  # the ICMP answer to something we sent; the next call reads on
            except OSError:
                return  # nothing left to read, or closed
            callback(datagram)

    async def _read_one_by_one(
        self,
        loop: asyncio.AbstractEventLoop,
        callback: Callable[[bytes], None],
    ) -> None:
        while not self.closed:
            try:
                datagram = await loop.sock_recv(self._socket, DATAGRAM_MAX_BYTES)
            except ConnectionError:
                await asyncio.sleep(0)
                continue
            except OSError:
                return
            callback(datagram)

    def _discovery_error(self, timeout_s: float, discovery: IpDiscovery) -> CallError:
        if self.closed:
            text = f"the UDP socket to {self._server} was closed during IP discovery"
            return CallError(ErrorCode.CONNECT_REFUSED, text)
        return CallError(
            ErrorCode.CONNECT_TIMEOUT,
            f"IP discovery: the voice server {self._server} answered none of {discovery.asked} UDP requests "
            f"within {timeout_s:g} s. Let the firewall or NAT of this host pass UDP to it and back.",
            step="IP discovery",
            requests=discovery.asked,
            ignored_datagrams=discovery.ignored,
        )


def _connected_socket(ip: str, port: int) -> socket.socket:
    try:
        version = ipaddress.ip_address(ip).version
    except ValueError:
        text = f"the voice server gave {ip[:64]!r} as the address for audio, which is no IP address."
        raise CallError(ErrorCode.PROTOCOL, text) from None
    connected = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)  # noqa: PLR2004 - IP has two versions
    try:
        connected.setblocking(False)
        connected.connect((ip, port))
    except (OSError, OverflowError) as error:
        connected.close()
        text = f"no way to the voice server's UDP port {ip}:{port}: {error}. Check the network of this host."
        raise CallError(ErrorCode.CONNECT_REFUSED, text) from None
    _set_buffer(connected, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    _set_buffer(connected, socket.SO_RCVBUF, _IDLE_RECEIVE_BUFFER_BYTES)
    return connected


def _set_buffer(connected: socket.socket, option: int, size_bytes: int) -> None:
    # A wish: the kernel has limits of its own.
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, option, size_bytes)


def _mark_expedited(connected: socket.socket) -> bool:
    if connected.family == socket.AF_INET:
        level, option = socket.IPPROTO_IP, getattr(socket, "IP_TOS", None)
    else:
        level, option = socket.IPPROTO_IPV6, getattr(socket, "IPV6_TCLASS", None)
    if option is None:
        return False
    try:
        connected.setsockopt(level, option, _EXPEDITED_FORWARDING)
    except OSError:
        return False
    return True
