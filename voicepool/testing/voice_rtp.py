"""[pure] RTP, IP discovery and Opus framing as a voice server sees them.

Written from RFC 3550 §5.1 (header), RFC 6716 §3.1 (table of contents byte) and Discord's "Voice
Connections, IP Discovery"; deliberately not shared with the sending side.
"""

from __future__ import annotations

__all__ = (
    "DISCOVERY_BYTES",
    "FRAME_SAMPLES",
    "KEEPALIVE_BYTES",
    "PAYLOAD_TYPE",
    "RTP_HEADER",
    "RTP_HEADER_BYTES",
    "SAMPLE_RATE_HZ",
    "SILENCE_FRAME",
    "discovery_response",
    "opus_samples",
    "parse_discovery",
    "signed_difference",
    "strip_rtp_extras",
    "unencrypted_header_bytes",
)

import struct

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = 960
"""Samples of one 20 ms frame, per channel."""
SILENCE_FRAME = b"\xf8\xff\xfe"
PAYLOAD_TYPE = 0x78
KEEPALIVE_BYTES = 8

RTP_HEADER = struct.Struct(">BBHII")
"""Version and flags, payload type, sequence, timestamp, SSRC."""
RTP_HEADER_BYTES = RTP_HEADER.size

_CSRC_COUNT = 0x0F
_EXTENSION = 0x10
_PADDING = 0x20
_EXTENSION_HEADER_BYTES = 4

_DISCOVERY = struct.Struct(">HHI64sH")
DISCOVERY_BYTES = _DISCOVERY.size
_DISCOVERY_REQUEST = 1
_DISCOVERY_RESPONSE = 2
_DISCOVERY_LENGTH = 70

_MAX_OPUS_SAMPLES = 5_760
_OPUS_COUNT_MASK = 0x3F


def parse_discovery(datagram: bytes) -> tuple[int, str | None]:
    """Return the SSRC of an IP discovery request and what is wrong with it, if anything.

    Parameters
    ----------
    datagram : bytes
        `DISCOVERY_BYTES` bytes.
    """
    kind, length, ssrc, _address, _port = _DISCOVERY.unpack(datagram)
    if kind != _DISCOVERY_REQUEST:
        return ssrc, f"an IP discovery packet had type {kind}; a request has type 1"
    if length != _DISCOVERY_LENGTH:
        return ssrc, f"an IP discovery request gave its length as {length}; it is 70 without type and length"
    return ssrc, None


def discovery_response(ssrc: int, address: str, port: int) -> bytes:
    """Return the answer that tells a client its own address as the server sees it."""
    return _DISCOVERY.pack(_DISCOVERY_RESPONSE, _DISCOVERY_LENGTH, ssrc, address.encode("ascii"), port)


def unencrypted_header_bytes(packet: bytes) -> int:
    """Return how much of an RTP packet the ``rtpsize`` modes leave in the clear (RFC 3711 §3.1).

    That is the fixed header, the CSRCs and the four bytes that announce an extension, but not its body.
    """
    first = packet[0]
    size = RTP_HEADER_BYTES + 4 * (first & _CSRC_COUNT)
    return size + _EXTENSION_HEADER_BYTES if first & _EXTENSION else size


def strip_rtp_extras(packet: bytes, plaintext: bytes, *, rtpsize: bool) -> bytes | None:
    """Return the Opus packet inside a decrypted payload, without RTP extension and padding.

    Returns
    -------
    bytes | None
        None when extension or padding claim more bytes than there are.
    """
    first = packet[0]
    start, end = 0, len(plaintext)
    if first & _EXTENSION:
        if rtpsize:
            announced = packet[unencrypted_header_bytes(packet) - 2 :][:2]
        else:
            announced = plaintext[2:4]
            start = _EXTENSION_HEADER_BYTES
        start += 4 * int.from_bytes(announced)
    if first & _PADDING and plaintext:
        end -= plaintext[-1]
    return plaintext[start:end] if start <= end else None


def signed_difference(later: int, earlier: int, bits: int) -> int:
    """Return ``later - earlier`` for counters that wrap at ``2**bits``, as a number around zero."""
    half = 1 << (bits - 1)
    return ((later - earlier + half) & ((1 << bits) - 1)) - half


def opus_samples(packet: bytes) -> int:
    """Return the duration of an Opus packet in samples at 48 kHz; 0 if the packet cannot be valid.

    RFC 6716 §3.1 and §3.2; valid durations are 120 (2.5 ms) to 5,760 samples (120 ms).
    """
    if not packet:
        return 0
    toc = packet[0]
    code = toc & 0b11
    if code == 0:
        frames = 1
    elif code != 3:  # noqa: PLR2004 -- the four codes of RFC 6716 table 4
        frames = 2
    elif len(packet) > 1:
        frames = packet[1] & _OPUS_COUNT_MASK
    else:
        return 0
    samples = frames * _SAMPLES_OF_CONFIG[toc >> 3]
    return samples if samples <= _MAX_OPUS_SAMPLES else 0


# RFC 6716 table 2: SILK in three bandwidths, hybrid in two, CELT in four.
_SAMPLES_OF_CONFIG = (480, 960, 1_920, 2_880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
