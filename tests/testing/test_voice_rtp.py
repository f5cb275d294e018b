from __future__ import annotations

import struct

import pytest

from voicepool.testing.voice_rtp import (
    discovery_response,
    opus_samples,
    parse_discovery,
    signed_difference,
    strip_rtp_extras,
    unencrypted_header_bytes,
)


def test_discovery_follows_the_documented_layout() -> None:
    request = struct.pack(">HHI64sH", 1, 70, 9, b"", 0)
    assert len(request) == 74
    assert parse_discovery(request) == (9, None)
    answer = discovery_response(9, "127.0.0.1", 4000)
    assert answer == b"\0\2\0\x46\0\0\0\x09" + b"127.0.0.1".ljust(64, b"\0") + b"\x0f\xa0"


@pytest.mark.parametrize(("kind", "length", "hint"), [(2, 70, "type 2"), (1, 74, "length as 74")])
def test_faulty_discovery_is_explained(kind: int, length: int, hint: str) -> None:
    ssrc, fault = parse_discovery(struct.pack(">HHI64sH", kind, length, 9, b"", 0))
    assert ssrc == 9
    assert fault is not None
    assert hint in fault


def test_clear_header_counts_csrcs_and_extension() -> None:
    assert unencrypted_header_bytes(b"\x80") == 12
    assert unencrypted_header_bytes(b"\x82") == 20
    assert unencrypted_header_bytes(b"\x90") == 16
    assert unencrypted_header_bytes(b"\x91") == 20


def test_extension_and_padding_are_stripped() -> None:
    extension = b"\xbe\xde\x00\x02"
    header = b"\x90" + bytes(11) + extension
    assert strip_rtp_extras(header, b"EEEEeeeeopus", rtpsize=True) == b"opus"
    fixed = b"\x90" + bytes(11)
    assert strip_rtp_extras(fixed, extension + b"EEEEeeeeopus", rtpsize=False) == b"opus"
    assert strip_rtp_extras(b"\xa0", b"opus\0\0\x03", rtpsize=True) == b"opus"
    assert strip_rtp_extras(b"\xa0", b"op\x09", rtpsize=True) is None
    assert strip_rtp_extras(header, b"short", rtpsize=True) is None


@pytest.mark.parametrize(
    ("later", "earlier", "bits", "difference"),
    [
        (5, 3, 16, 2),
        (2, 0xFFFF, 16, 3),
        (0xFFFF, 2, 16, -3),
        (0, 0xFFFF_FFC0, 32, 64),
        (0x8000, 0, 16, -0x8000),
    ],
)
def test_differences_wrap(later: int, earlier: int, bits: int, difference: int) -> None:
    assert signed_difference(later, earlier, bits) == difference


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\xf8\xff\xfe", 960),
        (b"\xfc\x00", 960),
        (b"\xe0", 120),
        (b"\xf9\x00", 1_920),
        (b"\xfa\x00", 1_920),
        (b"\xfb\x03", 2_880),
        (b"\x18", 2_880),
        (b"\x60", 480),
        (b"\xfb\x07", 0),
        (b"\xfb\x00", 0),
        (b"\xfb", 0),
        (b"", 0),
    ],
)
def test_opus_durations(packet: bytes, samples: int) -> None:
    assert opus_samples(packet) == samples
