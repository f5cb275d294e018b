from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import ManualClock
from voicepool.workers.transport.discovery import IpDiscovery, build_request, parse_response

SSRC = 0x01020304


def response(
    address: bytes = b"203.0.113.9\0",
    port: int = 50_000,
    *,
    kind: int = 2,
    length: int = 70,
    ssrc: int = SSRC,
) -> bytes:
    return struct.pack(">HHI64sH", kind, length, ssrc, address, port)


def test_request_bytes() -> None:
    request = build_request(SSRC)
    assert request == bytes.fromhex("0001 0046 01020304") + bytes(66)


def test_answer_is_read() -> None:
    assert parse_response(response(), SSRC) == ("203.0.113.9", 50_000)
    assert parse_response(response(b"2001:db8::1\0"), SSRC) == ("2001:db8::1", 50_000)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        response()[:-1],
        response() + b"\0",
        response(kind=1),
        response(length=74),
        response(ssrc=SSRC + 1),
        response(port=0),
        response(b"\0"),
        response(b"example.org\0"),
        response(b"999.1.1.1\0"),
        response(b"0.0.0.0\0"),
        response(b"\xff\xfe\0"),
        response(b"1" * 64),
        build_request(SSRC),
    ],
)
def test_anything_else_is_no_answer(datagram: bytes) -> None:
    assert parse_response(datagram, SSRC) is None


@given(st.binary(max_size=100) | st.binary(min_size=64, max_size=64).map(response))
def test_noise_never_raises(datagram: bytes) -> None:
    answer = parse_response(datagram, SSRC)
    assert answer is None or answer.port == 50_000


def test_first_question_at_once_then_with_growing_pauses() -> None:
    clock = ManualClock(100.0)
    discovery = IpDiscovery(SSRC, now=clock.now, timeout_s=5.0, retry_s=(0.25, 0.5, 1.0))
    asked_at = []
    while not discovery.has_failed(clock.now):
        if discovery.outgoing(clock.now) is not None:
            asked_at.append(clock.now - 100.0)
        deadline = discovery.next_deadline()
        assert deadline is not None
        assert deadline > clock.now
        clock.advance(deadline - clock.now)
    assert asked_at == [0.0, 0.25, 0.75, 1.75, 2.75, 3.75, 4.75]
    assert clock.now == 105.0
    assert discovery.asked == 7
    assert discovery.outgoing(clock.now) is None


def test_a_question_is_not_repeated_early() -> None:
    discovery = IpDiscovery(SSRC, now=0.0, timeout_s=5.0)
    assert discovery.outgoing(0.0) == build_request(SSRC)
    assert discovery.outgoing(0.2) is None


def test_noise_is_counted_and_the_answer_ends_it() -> None:
    discovery = IpDiscovery(SSRC, now=0.0, timeout_s=5.0)
    discovery.outgoing(0.0)
    discovery.receive(b"noise")
    discovery.receive(response(ssrc=1))
    assert discovery.answer is None
    discovery.receive(response())
    assert discovery.answer == ("203.0.113.9", 50_000)
    assert discovery.next_deadline() is None
    assert discovery.outgoing(4.0) is None
    assert not discovery.has_failed(9.0)
    discovery.receive(response(b"198.51.100.1\0"))
    assert discovery.answer == ("203.0.113.9", 50_000)
    assert discovery.ignored == 3
