from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.transport.udp import VoiceSocket, keepalive_packet

SAFETY_S = 20.0
FAST = (0.001, 0.01)
SSRC = 77
Run = Callable[[Coroutine[Any, Any, None]], None]


def answer(ssrc: int = SSRC) -> bytes:
    return struct.pack(">HHI64sH", 2, 70, ssrc, b"203.0.113.9", 4_242)


class ReaderlessLoop(asyncio.SelectorEventLoop):
    """Like the proactor loop of Windows in that it offers no readiness callbacks."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "readerless": ReaderlessLoop,
}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run_with_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(main, SAFETY_S))

    return run_with_loop


class Server(asyncio.DatagramProtocol):
    """Answers the n-th datagram with the n-th list of the script, and records all."""

    def __init__(self, *script: list[bytes]) -> None:
        self.script = list(script)
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.client: tuple[str, int] | None = None
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.client = addr
        self.received.put_nowait(data)
        for reply in self.script.pop(0) if self.script else []:
            self.transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def serving(*script: list[bytes], host: str = "127.0.0.1") -> AsyncIterator[tuple[Server, VoiceSocket]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(*script), (host, 0))
    voice = VoiceSocket(host, transport.get_extra_info("sockname")[1])
    try:
        yield server, voice
    finally:
        voice.close()
        transport.close()


def test_discovery_returns_our_address(run: Run) -> None:
    async def main() -> None:
        async with serving([answer()]) as (server, voice):
            assert await voice.discover(SSRC, SAFETY_S) == ("203.0.113.9", 4_242)
            assert await server.received.get() == struct.pack(">HHI66x", 1, 70, SSRC)

    run(main())


def test_lost_questions_are_repeated_and_strange_datagrams_ignored(run: Run) -> None:
    async def main() -> None:
        script: tuple[list[bytes], ...] = [], [b"noise", answer(SSRC + 1)], [bytes(74), answer()]
        async with serving(*script) as (server, voice):
            assert await voice.discover(SSRC, SAFETY_S, retry_s=FAST) == ("203.0.113.9", 4_242)
            assert server.received.qsize() >= 3
            assert voice.ignored_datagrams == 3

    run(main())


def test_no_answer_ends_with_an_error_that_names_the_step_and_the_fix(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, voice):
            with pytest.raises(CallError, match=r"IP discovery.*firewall") as caught:
                await voice.discover(SSRC, 0.02, retry_s=FAST)
        assert caught.value.code is ErrorCode.CONNECT_TIMEOUT
        assert caught.value.data["step"] == "IP discovery"
        assert caught.value.data["requests"] in range(1, 100)

    run(main())


def test_a_refusing_port_is_a_timeout_too(run: Run) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        voice = VoiceSocket("127.0.0.1", port)
        try:
            with pytest.raises(CallError) as caught:
                await voice.discover(SSRC, 0.03, retry_s=FAST)
        finally:
            voice.close()
        assert caught.value.code is ErrorCode.CONNECT_TIMEOUT

    run(main())


def test_close_ends_a_discovery(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, voice):
            task = asyncio.create_task(voice.discover(SSRC, SAFETY_S, retry_s=FAST))
            await server.received.get()
            voice.close()
            with pytest.raises(CallError, match="closed during IP discovery"):
                await task

    run(main())


def test_cancelling_a_discovery_leaves_the_socket_usable(run: Run) -> None:
    async def main() -> None:
        async with serving([], [answer()]) as (server, voice):
            task = asyncio.create_task(voice.discover(SSRC, SAFETY_S, retry_s=(SAFETY_S,)))
            await server.received.get()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await voice.discover(SSRC, SAFETY_S) == ("203.0.113.9", 4_242)

    run(main())


def test_sends_from_another_thread_use_the_same_port(run: Run) -> None:
    async def main() -> None:
        async with serving([answer()]) as (server, voice):
            await voice.discover(SSRC, SAFETY_S)
            asked_from = server.client
            await server.received.get()
            assert await asyncio.to_thread(voice.send, b"packet") == 6
            assert await server.received.get() == b"packet"
            assert server.client == asked_from

    run(main())


def test_reading_goes_to_the_callback_until_stopped(run: Run) -> None:
    async def main() -> None:
        async with serving([b"one", b"two"], [b"three"], [answer()]) as (_, voice):
            read: asyncio.Queue[bytes] = asyncio.Queue()
            voice.start_reading(read.put_nowait)
            with pytest.raises(RuntimeError, match="read already"):
                voice.start_reading(read.put_nowait)
            voice.send(b"x")
            assert [await read.get(), await read.get()] == [b"one", b"two"]
            voice.stop_reading()
            voice.stop_reading()
            voice.send(b"y")
            # Discovery reads what came meanwhile and passes it over; nothing of it reaches the old callback.
            assert await voice.discover(SSRC, SAFETY_S, retry_s=FAST) == ("203.0.113.9", 4_242)
            assert read.empty()

    run(main())


def test_a_callback_may_close_the_socket(run: Run) -> None:
    async def main() -> None:
        async with serving([b"one", b"two"]) as (_, voice):
            closed = asyncio.Event()
            read = []

            def take(datagram: bytes) -> None:
                read.append(datagram)
                voice.close()
                closed.set()

            voice.start_reading(take)
            voice.send(b"x")
            await closed.wait()
            assert read == [b"one"]
            assert voice.closed

    run(main())


def test_close_is_idempotent_and_ends_sending(run: Run) -> None:
    async def main() -> None:
        async with serving() as (_, voice):
            voice.close()
            voice.close()
            assert voice.closed
            assert "closed" in repr(voice)
            with pytest.raises(OSError, match="file descriptor"):
                voice.send(b"x")

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sets DSCP by policy only")
def test_packets_are_marked_for_expedited_forwarding() -> None:
    voice = VoiceSocket("127.0.0.1", 9)
    try:
        assert voice.marked_expedited
        assert voice._socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8
        assert not voice._socket.getblocking()
    finally:
        voice.close()


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python knows no IPv6")

    async def main() -> None:
        try:
            async with serving([answer()], host="::1") as (_, voice):
                assert await voice.discover(SSRC, SAFETY_S) == ("203.0.113.9", 4_242)
        except OSError:
            pytest.skip("this host has no IPv6 loopback")

    asyncio.run(main())


def test_the_servers_address_must_be_an_address() -> None:
    with pytest.raises(CallError, match=r"'voice\.example'") as caught:
        VoiceSocket("voice.example", 5)
    assert caught.value.code is ErrorCode.PROTOCOL


def test_no_way_to_the_server() -> None:
    with pytest.raises(CallError) as caught:
        VoiceSocket("127.0.0.1", 70_000)
    assert caught.value.code is ErrorCode.CONNECT_REFUSED


def test_keepalives_are_eight_bytes_and_count() -> None:
    assert keepalive_packet(0) == bytes(8)
    assert keepalive_packet(0x01020304) == bytes([4, 3, 2, 1, 0, 0, 0, 0])
    assert keepalive_packet(2**32 + 5) == keepalive_packet(5)
