"""Datagrams: RTP, its encryption, and IP discovery, against anybody who can reach the socket."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import FUZZ, attempt, largest_container, mutants, random_damage
from voicepool.workers.transport.aead import make_opener, make_sealer
from voicepool.workers.transport.discovery import (
    DISCOVERY_BYTES,
    DiscoveredAddress,
    IpDiscovery,
    build_request,
    parse_response,
)
from voicepool.workers.transport.modes import MODES, TransportMode
from voicepool.workers.transport.rtp import PacketRejectedError, RejectReason, build_header, parse_packet

KEY = bytes(range(32))
OPUS = b"\xfc" + bytes(range(60))
SSRC = 0x0102_0304

HEADERS = [
    build_header(sequence=1, timestamp=960, ssrc=SSRC),
    build_header(sequence=65_535, timestamp=2**32 - 1, ssrc=SSRC, csrcs=range(15), marker=True),
    build_header(sequence=2, timestamp=1_920, ssrc=SSRC, extension_profile=0xBEDE, extension_bytes=8),
    build_header(sequence=3, timestamp=2_880, ssrc=SSRC, padding=True, csrcs=(1, 2)),
]
BODIES = [OPUS, OPUS, bytes(8) + OPUS, OPUS + b"\0\0\0\4"]
PLAIN = [header[12:] + body for header, body in zip(HEADERS, BODIES, strict=True)]
CLEAR = [header + body for header, body in zip(HEADERS, BODIES, strict=True)]


def sealed(mode: TransportMode) -> list[bytes]:
    seals = (make_sealer(mode, KEY, first_counter=5 + index) for index in range(len(HEADERS)))
    return [sealer.seal(header, body) for sealer, header, body in zip(seals, HEADERS, BODIES, strict=True)]


SEALED = {mode: sealed(mode) for mode in MODES}


def response(ssrc: int = SSRC, address: bytes = b"192.0.2.1", port: int = 50_000) -> bytes:
    return b"\x00\x02\x00\x46" + ssrc.to_bytes(4) + address.ljust(64, b"\0")[:64] + port.to_bytes(2)


@FUZZ
@given(packet=mutants(CLEAR))
def test_a_packet_is_read_or_rejected_with_a_reason(packet: bytes) -> None:
    found = attempt(PacketRejectedError, parse_packet, packet)
    if isinstance(found, PacketRejectedError):
        assert found.reason in set(RejectReason) - {RejectReason.AUTHENTICATION}
    else:
        header, payload = found
        assert len(payload) + len(header.extension) + 4 * len(header.csrcs) + 12 <= len(packet)
        assert payload in packet


@pytest.mark.parametrize("mode", MODES)
@FUZZ
@given(data=st.data())
def test_no_damaged_packet_opens(mode: TransportMode, data: st.DataObject) -> None:
    packet = data.draw(mutants(SEALED[mode]))
    found = attempt(PacketRejectedError, make_opener(mode, KEY).open, packet)
    if isinstance(found, PacketRejectedError):
        assert found.reason in set(RejectReason)
    elif MODES[mode].cipher.authenticates_header:
        assert packet in SEALED[mode]
    else:
        # Secretbox leaves the header unauthenticated: a damaged one may cut the true payload elsewhere.
        assert any(found[1] in body for body in PLAIN)


@pytest.mark.parametrize("mode", MODES)
def test_the_seeds_themselves_open(mode: TransportMode) -> None:
    opener = make_opener(mode, KEY)
    assert [opener.open(packet)[1] for packet in SEALED[mode]] == [OPUS] * len(HEADERS)


@FUZZ
@given(datagram=mutants([response(), response(SSRC + 1), build_request(SSRC), response(address=b"::1")]))
def test_only_a_whole_answer_to_our_question_counts(datagram: bytes) -> None:
    answer = parse_response(datagram, SSRC)
    if answer is not None:
        assert len(datagram) == DISCOVERY_BYTES
        assert datagram[:8] == response()[:8]
        assert 0 < answer.port < 65_536
        assert parse_response(datagram, SSRC + 1) is None


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        response()[:-1],
        response() + b"\0",
        response(SSRC ^ 1),
        response(port=0),
        response(address=b"0.0.0.0"),
        response(address=b"1" * 64),
        response(address=b"\xff\xfe"),
        response(address="\u0661.\u0661.\u0661.\u0661".encode()),
        build_request(SSRC),
    ],
)
def test_a_wrong_answer_is_ignored_and_the_right_one_still_counts(datagram: bytes) -> None:
    discovery = IpDiscovery(SSRC, now=10.0, timeout_s=5.0)
    discovery.receive(datagram)
    assert (discovery.answer, discovery.ignored) == (None, 1)
    discovery.receive(response())
    assert discovery.answer == DiscoveredAddress("192.0.2.1", 50_000)


def test_ten_thousand_wrong_answers_are_only_counted() -> None:
    number = random.Random(7)
    discovery = IpDiscovery(SSRC, now=10.0, timeout_s=5.0)
    for _ in range(10_000):
        discovery.receive(random_damage([response(SSRC + 1)], number))
    assert (discovery.answer, discovery.ignored) == (None, 10_000)
    assert largest_container(discovery)[0] <= 3
    discovery.receive(response())
    discovery.receive(response(port=1))
    assert discovery.answer == DiscoveredAddress("192.0.2.1", 50_000)
    assert discovery.ignored == 10_001
