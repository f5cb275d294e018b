"""The bare costs are figures of this machine: only what must hold of them anywhere is asserted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bare
from benchmarks.sources import Sources

BRIEF_S = 0.005


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"), 2.0)


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        yield receiver


def received(receiver: socket.socket) -> list[tuple[bytes, Any]]:
    found = []
    try:
        while True:
            found.append(receiver.recvfrom(2_048))
    except BlockingIOError:
        return found


@pytest.mark.parametrize("streams", [1, 3])
def test_encoding_is_dearer_at_a_higher_complexity(sources: Sources, streams: int) -> None:
    def cost_us(complexity: int) -> float:
        return bare.encode(
            str(sources.wav), seconds=0.05, streams=streams, complexity=complexity, bitrate_bps=128_000
        )

    assert 0 < cost_us(0) < cost_us(10)


@pytest.mark.parametrize("name", ["wav", "mp3", "opus"])
def test_decoding_reads_on_past_the_end(sources: Sources, name: str) -> None:
    file: Path = getattr(sources, name)
    # Far more CPU time than half a second of audio takes.
    assert bare.decode(str(file), seconds=0.01) > 0


@pytest.mark.parametrize("name", ["wav", "mp3"])
def test_decoders_take_turns(sources: Sources, name: str) -> None:
    # Longer than the file, so that they begin again.
    assert bare.decode_in_turn(str(getattr(sources, name)), streams=3, seconds=0.1) > 0


def test_demuxing_is_cheaper_than_decoding(sources: Sources) -> None:
    file = str(sources.opus)
    assert 0 < bare.demux(file, seconds=0.02) < bare.decode(file, seconds=0.02)


def test_filters_cost_something(sources: Sources) -> None:
    file = str(sources.wav)
    plain_us = bare.decode(file, seconds=0.03)
    assert bare.decode(file, seconds=0.03, filters="bass=g=6,acompressor") > plain_us > 0


@pytest.mark.parametrize("streams", [1, 9])
def test_paced_reading_goes_on_past_the_end(sources: Sources, streams: int) -> None:
    costs = bare.demux_paced(str(sources.opus), streams=streams, seconds=0.05)
    assert costs["whole"] > costs["work"] > 0


def test_hot_packets(sources: Sources, target: socket.socket) -> None:
    costs = bare.packets_hot(str(sources.opus), target=target.getsockname(), seconds=BRIEF_S)
    assert set(costs) == {"seal", "send", "both"}
    assert costs["both"] > costs["seal"] > 0
    assert received(target)


def test_packets_of_an_encrypted_call_are_encrypted_twice(sources: Sources, target: socket.socket) -> None:
    file, address = str(sources.opus), target.getsockname()
    costs = bare.packets_hot(file, target=address, seconds=BRIEF_S, end_to_end=True)
    assert costs["both"] > costs["dave"] > 0
    received(target)
    sizes = []
    for end_to_end in (False, True):
        bare.packets_paced(file, target=address, streams=1, seconds=0.06, end_to_end=end_to_end)
        sizes.append([len(packet) for packet, _ in received(target)])
    # At least an eight-byte tag, a nonce, the size and a marker of two bytes.
    assert all(sealed - plain >= 12 for plain, sealed in zip(*sizes, strict=True))


def test_paced_packets_come_from_as_many_sockets_each_once_a_turn(
    sources: Sources, target: socket.socket
) -> None:
    costs = bare.packets_paced(str(sources.opus), target=target.getsockname(), streams=12, seconds=0.06)
    found = received(target)
    per_socket = {address: [packet for packet, sender in found if sender == address] for _, address in found}
    assert {len(packets) for packets in per_socket.values()} == {3}
    assert len(per_socket) == 12
    assert sum(costs["lateness_counts"]) == 3  # type: ignore[call-overload]  # one group, three turns
    assert costs["whole"] > costs["work"] > 0  # type: ignore[operator]


def test_each_packet_is_rtp_with_the_next_number(sources: Sources, target: socket.socket) -> None:
    bare.packets_paced(str(sources.opus), target=target.getsockname(), streams=1, seconds=0.06)
    headers = [packet[:8] for packet, _ in received(target)]
    assert [header[:2] for header in headers] == [b"\x80\x78"] * 3
    assert [int.from_bytes(header[2:4]) for header in headers] == [0, 1, 2]
    assert [int.from_bytes(header[4:8]) for header in headers] == [0, 960, 1_920]
