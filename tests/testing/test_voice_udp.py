from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import cast

import pytest

from tests.testing.voice_client import run
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_udp import VoiceUdp

DISCOVERY = b"\0\1\0\x46" + bytes(70)
KEEPALIVE_256 = (256).to_bytes(8, "little")


class Recorder:
    """Stands in for a session: notes what its stream is given."""

    def __init__(self) -> None:
        self.udp_address: tuple[str, int] | None = None
        self.media = self
        self.received: list[tuple[bytes, int]] = []
        self.attended = 0

    def receive(self, packet: bytes, arrival_ns: int) -> bool:
        self.received.append((packet, arrival_ns))
        return packet == b"wake"

    def attend(self) -> None:
        self.attended += 1


def as_session(recorder: Recorder) -> VoiceSession:
    return cast("VoiceSession", recorder)


class Client:
    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.socket.getsockname()


@pytest.mark.parametrize("path", ["kernel", "plain", "transport"])
def test_datagrams_reach_their_session_with_a_time_of_arrival(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "kernel" and sys.platform != "linux":
        pytest.skip("kernel timestamps are used on Linux")
    if path != "kernel":
        monkeypatch.setattr("voicepool.testing.voice_udp._ask_for_timestamps", lambda _: False)

    @run
    async def scenario() -> None:
        if path == "transport":

            def no_readers(*_: object) -> None:
                raise NotImplementedError

            # The datagram transport adds its reader by a private method, which stays.
            monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", no_readers, raising=False)
        strays: list[tuple[bytes, tuple[str, int]]] = []
        arrived = asyncio.Event()

        def stray(datagram: bytes, address: tuple[str, int]) -> None:
            strays.append((datagram, address))
            arrived.set()

        udp = VoiceUdp("127.0.0.1", stray)
        await udp.start()
        assert udp.kernel_timestamps is (path == "kernel")
        client, session = Client(), Recorder()
        udp.route(as_session(session), client.address)
        assert udp.find(client.address) is as_session(session)
        before_ns = time.monotonic_ns()
        for datagram in (b"one", KEEPALIVE_256, b"wake", DISCOVERY):
            client.socket.sendto(datagram, udp.address)
        await arrived.wait()
        after_ns = time.monotonic_ns()
        assert [datagram for datagram, _ in session.received] == [b"one", KEEPALIVE_256, b"wake"]
        times_ns = [arrival_ns for _, arrival_ns in session.received]
        # Half a millisecond for the two clocks not being read at once.
        assert before_ns - 500_000 <= times_ns[0] <= times_ns[-1] + 500_000 <= after_ns + 1_000_000
        assert session.attended == 1
        assert strays == [(DISCOVERY, client.address)]

        udp.send(b"answer", client.address)
        client.socket.settimeout(5)
        assert await asyncio.to_thread(client.socket.recv, 100) == b"answer"

        arrived.clear()
        udp.unroute(as_session(session))
        client.socket.sendto(b"late", udp.address)
        await arrived.wait()
        assert strays[-1] == (b"late", client.address)
        udp.close()
        udp.close()
        client.socket.close()
        await asyncio.sleep(0)

    scenario()


@run
async def test_a_session_has_one_address_and_an_address_one_session() -> None:
    udp = VoiceUdp("127.0.0.1", lambda *_: None)
    first, second = Recorder(), Recorder()
    udp.route(as_session(first), ("127.0.0.1", 1))
    udp.route(as_session(first), ("127.0.0.1", 2))
    assert udp.find(("127.0.0.1", 1)) is None
    udp.route(as_session(second), ("127.0.0.1", 2))
    udp.unroute(as_session(first))
    assert udp.find(("127.0.0.1", 2)) is as_session(second)
    udp.close()


@run
async def test_what_waits_in_the_socket_can_be_taken_in_at_once() -> None:
    udp = VoiceUdp("127.0.0.1", lambda *_: None)
    client, session = Client(), Recorder()
    udp.route(as_session(session), client.address)
    for index in range(600):
        client.socket.sendto(index.to_bytes(2), udp.address)
    udp.drain_all()
    assert len(session.received) == 600
    assert not udp.drain()
    udp.close()
    client.socket.close()


@run
async def test_a_client_that_is_gone_does_not_disturb_the_others() -> None:
    udp = VoiceUdp("127.0.0.1", lambda *_: None)
    await udp.start()
    gone, client, session = Client(), Client(), Recorder()
    udp.route(as_session(session), client.address)
    gone.socket.close()
    for _ in range(3):
        udp.send(b"anyone?", gone.address)
    client.socket.sendto(b"here", udp.address)
    udp.drain_all()
    assert [datagram for datagram, _ in session.received] == [b"here"]
    udp.close()
    client.socket.close()


@run
async def test_while_it_is_dead_datagrams_are_lost_either_way() -> None:
    udp = VoiceUdp("127.0.0.1", lambda *_: None)
    client, session = Client(), Recorder()
    udp.route(as_session(session), client.address)
    udp.dead = True
    client.socket.sendto(b"lost", udp.address)
    udp.drain_all()
    udp.send(b"lost", client.address)
    udp.dead = False
    client.socket.sendto(b"heard", udp.address)
    udp.drain_all()
    udp.send(b"heard", client.address)
    client.socket.settimeout(5)
    assert await asyncio.to_thread(client.socket.recv, 100) == b"heard"
    assert [datagram for datagram, _ in session.received] == [b"heard"]
    udp.close()
    client.socket.close()
