"""The UDP socket of the voice server: many clients, one port, arrival times from the kernel."""

from __future__ import annotations

__all__ = ("VoiceUdp",)

import asyncio
import errno
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from voicepool.testing.voice_rtp import DISCOVERY_BYTES
from voicepool.testing.voice_session import VoiceSession

Address = tuple[str, int]

RECEIVE_BUFFER_BYTES: Final = 8 * 1_048_576
_MAX_DATAGRAM_BYTES: Final = 2_048
_MAX_BATCH: Final = 256
_MAX_BATCHES: Final = 128
# Values of Linux' asm-generic/socket.h, which Python does not export.
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_SO_RCVBUFFORCE: Final = 33
_GENERIC_LINUX: Final = frozenset(
    {"x86_64", "i386", "i586", "i686", "aarch64", "armv6l", "armv7l", "riscv64"}
)
_TIMESPEC = struct.Struct("@ll")
_DROP_COUNT = struct.Struct("=I")
_NS: Final = 1_000_000_000


class VoiceUdp:
    """Receives datagrams and gives each to the session of its source address.

    Parameters
    ----------
    host : str
        IPv4 address to listen on; the port is chosen by the system.
    on_stray : Callable[[bytes, Address], None]
        Takes datagrams that are not RTP of a known client: IP discovery, and noise.

    Attributes
    ----------
    kernel_timestamps : bool
        Whether arrival times come from the kernel; otherwise they are taken when the datagram is read.
    kernel_drops : int
        Datagrams lost because this server was too slow (Linux; else 0).
    dead : bool
        Whether every datagram is lost, either way, because a test has the server down.
    """

    def __init__(self, host: str, on_stray: Callable[[bytes, Address], None]) -> None:
        self._routes: dict[Address, VoiceSession] = {}
        self._on_stray = on_stray
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            _enlarge_buffer(self._socket)
            self.kernel_timestamps = _ask_for_timestamps(self._socket)
            self.kernel_drops = 0
            self.dead = False
            self._socket.bind((host, 0))
        except BaseException:
            self._socket.close()
            raise
        name = self._socket.getsockname()
        self.address: Address = (name[0], name[1])
        self._ancillary_bytes = (
            socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_DROP_COUNT.size)
            if self.kernel_timestamps
            else 0
        )

    async def start(self) -> None:
        """Begin to receive."""
        try:
            self._loop.add_reader(self._socket.fileno(), self.drain)
        except NotImplementedError:
            # Windows' proactor loop watches no file descriptors.
            self._transport, _ = await self._loop.create_datagram_endpoint(
                lambda: _Datagrams(self._dispatch), sock=self._socket
            )

    def close(self) -> None:
        """Stop and close the socket."""
        if self._transport is not None:
            self._transport.close()
            return
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def route(self, session: VoiceSession, address: Address) -> None:
        """Give datagrams from `address` to `session`, which may have one address at a time."""
        if session.udp_address is not None and self._routes.get(session.udp_address) is session:
            del self._routes[session.udp_address]
        session.udp_address = address
        self._routes[address] = session

    def unroute(self, session: VoiceSession) -> None:
        """Forget the session's address."""
        if session.udp_address is not None and self._routes.get(session.udp_address) is session:
            del self._routes[session.udp_address]

    def find(self, address: Address) -> VoiceSession | None:
        """Return the session whose datagrams come from `address`."""
        return self._routes.get(address)

    def send(self, datagram: bytes, address: Address) -> None:
        """Send, or lose the datagram if the socket is full, as UDP may."""
        if self.dead:
            return
        if self._transport is not None:
            self._transport.sendto(datagram, address)
            return
        try:
            self._socket.sendto(datagram, address)
        except OSError as error:
            if error.errno not in _LOST:
                raise

    def drain(self) -> bool:
        """Take in what has arrived, a bounded number of datagrams; return whether there may be more."""
        if self.dead:
            return self._transport is None and self._discard()
        if self.kernel_timestamps:
            return self._drain_with_timestamps()
        return self._transport is None and self._drain_plainly()

    def drain_all(self) -> None:
        """Take in what had arrived when called, as far as the receive buffer can hold it."""
        for _ in range(_MAX_BATCHES):
            if not self.drain():
                return

    def _discard(self) -> bool:
        for _ in range(_MAX_BATCH):
            try:
                self._socket.recv(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _LOST:
                    raise
        return True

    def _drain_with_timestamps(self) -> bool:
        receive = self._socket.recvmsg
        routes, on_stray, unpack = self._routes, self._on_stray, _TIMESPEC.unpack
        ancillary_bytes = self._ancillary_bytes
        # The kernel stamps wall-clock time. One offset a batch keeps steps of that clock out.
        offset_ns = time.monotonic_ns() - time.time_ns()
        for _ in range(_MAX_BATCH):
            try:
                datagram, ancillary, _, address = receive(_MAX_DATAGRAM_BYTES, ancillary_bytes)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _LOST:
                    continue
                raise
            arrival_ns = 0
            for _level, kind, value in ancillary:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = unpack(value)
                    arrival_ns = seconds * _NS + nanoseconds + offset_ns
                elif kind == _SO_RXQ_OVFL:
                    self.kernel_drops = _DROP_COUNT.unpack(value)[0]
            session = routes.get(address)
            if session is None or (len(datagram) == DISCOVERY_BYTES and datagram[0] < _RTP_FROM):
                on_stray(datagram, address)
            elif session.media.receive(datagram, arrival_ns or time.monotonic_ns()):
                session.attend()
        return True

    def _drain_plainly(self) -> bool:
        for _ in range(_MAX_BATCH):
            try:
                datagram, address = self._socket.recvfrom(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _LOST:
                    continue
                raise
            self._dispatch(datagram, address)
        return True

    def _dispatch(self, datagram: bytes, address: Address) -> None:
        if self.dead:
            return
        session = self._routes.get(address)
        if session is None or (len(datagram) == DISCOVERY_BYTES and datagram[0] < _RTP_FROM):
            self._on_stray(datagram, address)
        elif session.media.receive(datagram, time.monotonic_ns()):
            session.attend()


class _Datagrams(asyncio.DatagramProtocol):
    """For event loops that cannot watch a socket themselves."""

    def __init__(self, dispatch: Callable[[bytes, Address], None]) -> None:
        self._dispatch = dispatch

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._dispatch(data, addr[:2])


# A keepalive may begin with any bytes and RTP may be of any size; only both together tell IP discovery.
_RTP_FROM: Final = 0x80
# What an unreachable client or a full queue reports on a socket that serves others as well.
_LOST: Final = frozenset(
    {errno.EAGAIN, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOBUFS}
)


def _enlarge_buffer(udp: socket.socket) -> None:
    """Make room for a benchmark's burst: with the privilege past the system's limit, else up to it."""
    if sys.platform == "linux":
        try:
            udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except PermissionError:
            pass
        else:
            return
    size = RECEIVE_BUFFER_BYTES
    while size > 65_536:  # noqa: PLR2004 -- less than that every system gives by default
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        except OSError:
            size //= 2
        else:
            return


def _ask_for_timestamps(udp: socket.socket) -> bool:
    if sys.platform != "linux" or platform.machine() not in _GENERIC_LINUX:
        return False
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        udp.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    except OSError:
        return False
    return True
