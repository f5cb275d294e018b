from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.transport.rtp import (
    PacketRejectedError,
    RejectReason,
    build_header,
    clear_size,
    parse_packet,
    sequence_distance,
    timestamp_distance,
)

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFF_FFFF)


def rejected(packet: bytes) -> RejectReason:
    with pytest.raises(PacketRejectedError) as caught:
        parse_packet(packet)
    return caught.value.reason


def test_header_bytes_are_those_of_the_documentation() -> None:
    header = build_header(sequence=0x0102, timestamp=0x03040506, ssrc=0x0708090A)
    assert header == bytes.fromhex("80 78 0102 03040506 0708090a")


@given(
    sequence=U16,
    timestamp=U32,
    ssrc=U32,
    marker=st.booleans(),
    csrcs=st.lists(U32, max_size=15),
    profile=st.none() | U16,
    words=st.lists(U32, max_size=20),
    payload=st.binary(max_size=64),
    pad=st.integers(0, 255),
)
def test_what_is_built_is_read_back(
    sequence: int,
    timestamp: int,
    ssrc: int,
    marker: bool,  # noqa: FBT001 - drawn by hypothesis
    csrcs: list[int],
    profile: int | None,
    words: list[int],
    payload: bytes,
    pad: int,
) -> None:
    body = struct.pack(f">{len(words)}I", *words) if profile is not None else b""
    header = build_header(
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        marker=marker,
        padding=pad > 0,
        csrcs=csrcs,
        extension_profile=profile,
        extension_bytes=len(body),
    )
    padding = bytes(pad - 1) + bytes([pad]) if pad else b""
    packet = header + body + payload + padding
    assert clear_size(packet) == len(header)
    parsed, read = parse_packet(packet)
    assert read == payload
    assert (parsed.sequence, parsed.timestamp, parsed.ssrc) == (sequence, timestamp, ssrc)
    assert (parsed.marker, parsed.csrcs) == (marker, tuple(csrcs))
    assert (parsed.extension_profile, parsed.extension) == (profile, body)


@given(st.binary(max_size=200))
def test_noise_gives_a_packet_or_the_one_error(noise: bytes) -> None:
    for packet in (noise, b"\x80\x78" + noise, b"\x9f\x78" + noise, b"\xbf\x78" + noise):
        with contextlib.suppress(PacketRejectedError):
            header, payload = parse_packet(packet)
            assert len(payload) + len(header.extension) <= len(packet) - 12


def test_each_fault_has_its_reason() -> None:
    good = build_header(sequence=1, timestamp=2, ssrc=3)
    assert rejected(good[:11]) is RejectReason.TRUNCATED
    assert rejected(b"\x40" + good[1:]) is RejectReason.VERSION
    assert rejected(b"\x80\x79" + good[2:]) is RejectReason.PAYLOAD_TYPE
    for kind in range(200, 205):
        assert rejected(bytes([0x80, kind]) + good[2:]) is RejectReason.RTCP
    assert rejected(b"\x81\x78" + good[2:]) is RejectReason.TRUNCATED
    assert rejected(b"\x90\x78" + good[2:] + b"\xbe\xde\x00\x02" + bytes(7)) is RejectReason.TRUNCATED
    assert rejected(b"\xa0\x78" + good[2:] + b"\x00") is RejectReason.PADDING
    assert rejected(b"\xa0\x78" + good[2:] + b"\x01\x01\x04") is RejectReason.PADDING


def test_padding_cannot_reach_into_the_header() -> None:
    header = build_header(sequence=1, timestamp=2, ssrc=0x0C, padding=True)
    # With no payload the last byte of the SSRC would be taken for the count.
    assert rejected(header) is RejectReason.PADDING


def test_impossible_headers_are_refused() -> None:
    with pytest.raises(ValueError, match="15 CSRCs"):
        build_header(sequence=0, timestamp=0, ssrc=0, csrcs=range(16))
    with pytest.raises(ValueError, match="multiple of 4"):
        build_header(sequence=0, timestamp=0, ssrc=0, extension_profile=1, extension_bytes=3)


@given(start=U16, step=st.integers(-32768, 32767))
def test_sequence_distance_over_the_wrap(start: int, step: int) -> None:
    assert sequence_distance((start + step) % 65536, start) == step


@given(start=U32, step=st.integers(-(2**31), 2**31 - 1))
def test_timestamp_distance_over_the_wrap(start: int, step: int) -> None:
    assert timestamp_distance((start + step) % 2**32, start) == step
