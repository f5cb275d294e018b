"""RTP packets (RFC 3550 §5.1): build, read, count [pure].

A packet is read in one piece, as it is after decryption; how much of it was in the clear is a question for
`clear_size`, because the encryption has to know that before it can decrypt. `build_header` returns exactly
that clear part, so the body of a header extension goes in front of the payload.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = [
    "FIXED_HEADER_BYTES",
    "OPUS_PAYLOAD_TYPE",
    "SEQUENCE_MODULUS",
    "TIMESTAMP_MODULUS",
    "PacketRejectedError",
    "RejectReason",
    "RtpHeader",
    "build_header",
    "clear_size",
    "parse_packet",
    "sequence_distance",
    "timestamp_distance",
]

RTP_VERSION: Final = 2
OPUS_PAYLOAD_TYPE: Final = 0x78
"""Voice Connections, Voice Packet Structure."""
FIXED_HEADER_BYTES: Final = 12
SEQUENCE_MODULUS: Final = 1 << 16
TIMESTAMP_MODULUS: Final = 1 << 32

_FIXED: Final = struct.Struct(">BBHII")
_EXTENSION_PREAMBLE: Final = struct.Struct(">HH")
_WORD_BYTES: Final = 4
_VERSION_SHIFT: Final = 6
_PADDING_BIT: Final = 0x20
_EXTENSION_BIT: Final = 0x10
_CSRC_COUNT: Final = 0x0F
_MARKER_BIT: Final = 0x80
_PAYLOAD_TYPE: Final = 0x7F
_RTCP_TYPES: Final = range(200, 205)


class RejectReason(enum.Enum):
    """Why a datagram is no audio packet of the call."""

    TRUNCATED = "truncated"
    """Shorter than its own header says."""
    VERSION = "version"
    """Not RTP version 2: a keepalive, an answer to a discovery, noise."""
    RTCP = "rtcp"
    """A control packet (RFC 3550 §6), told from RTP by its type (RFC 5761 §4)."""
    PAYLOAD_TYPE = "payload_type"
    """RTP, but not Opus."""
    PADDING = "padding"
    """The padding count is zero or larger than the packet."""
    AUTHENTICATION = "authentication"
    """Not sealed with this key, or changed on its way."""


class PacketRejectedError(Exception):
    """A received datagram cannot be used; the only exception that reading one raises.

    Parameters
    ----------
    reason
        For counting.
    """

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(f"packet rejected: {reason.value}")
        self.reason = reason


class RtpHeader(msgspec.Struct, frozen=True):
    """The header of a received packet.

    Attributes
    ----------
    sequence
        Packet number, modulo 2**16.
    timestamp
        Samples at 48 kHz, modulo 2**32.
    ssrc
        Who sent it.
    payload_type
        7 bits.
    marker
        Set on the first packet after silence (RFC 3551 §4.1).
    csrcs
        Contributing sources.
    extension_profile
        16 bits that tell the form of the extension; None if there is none.
    extension
        Its body, a multiple of 4 bytes.
    """

    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int = OPUS_PAYLOAD_TYPE
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension_profile: int | None = None
    extension: bytes = b""


def build_header(
    *,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload_type: int = OPUS_PAYLOAD_TYPE,
    marker: bool = False,
    padding: bool = False,
    csrcs: Sequence[int] = (),
    extension_profile: int | None = None,
    extension_bytes: int = 0,
) -> bytes:
    """Return fixed header, CSRCs and extension preamble; the extension's body goes in front of the payload.

    The pacing thread packs the fixed header itself, which is faster.

    Raises
    ------
    ValueError
        If there are more than 15 CSRCs, or the extension is not a multiple of 4 bytes.
    """
    if len(csrcs) > _CSRC_COUNT:
        raise ValueError(f"RTP has room for 15 CSRCs, not {len(csrcs)}")
    if extension_bytes % _WORD_BYTES:
        raise ValueError(f"an RTP extension is a multiple of 4 bytes, not {extension_bytes}")
    first = RTP_VERSION << _VERSION_SHIFT | len(csrcs)
    first |= (_PADDING_BIT if padding else 0) | (_EXTENSION_BIT if extension_profile is not None else 0)
    second = (_MARKER_BIT if marker else 0) | payload_type
    header = _FIXED.pack(first, second, sequence, timestamp, ssrc)
    if csrcs:
        header += struct.pack(f">{len(csrcs)}I", *csrcs)
    if extension_profile is not None:
        header += _EXTENSION_PREAMBLE.pack(extension_profile, extension_bytes // _WORD_BYTES)
    return header


def clear_size(packet: bytes) -> int:
    """Return how many bytes the "rtpsize" modes leave in the clear: up to and with the extension preamble.

    The same rule as SRTP's (RFC 3711 §3.1), save that there the extension's body is clear as well.

    Raises
    ------
    PacketRejectedError
        ``TRUNCATED``, ``VERSION``, ``RTCP`` or ``PAYLOAD_TYPE``.
    """
    if len(packet) < FIXED_HEADER_BYTES:
        raise PacketRejectedError(RejectReason.TRUNCATED)
    first, second = packet[0], packet[1]
    if first >> _VERSION_SHIFT != RTP_VERSION:
        raise PacketRejectedError(RejectReason.VERSION)
    if second in _RTCP_TYPES:
        raise PacketRejectedError(RejectReason.RTCP)
    if second & _PAYLOAD_TYPE != OPUS_PAYLOAD_TYPE:
        raise PacketRejectedError(RejectReason.PAYLOAD_TYPE)
    preamble = _EXTENSION_PREAMBLE.size if first & _EXTENSION_BIT else 0
    size = FIXED_HEADER_BYTES + _WORD_BYTES * (first & _CSRC_COUNT) + preamble
    if len(packet) < size:
        raise PacketRejectedError(RejectReason.TRUNCATED)
    return size


def parse_packet(packet: bytes) -> tuple[RtpHeader, bytes]:
    """Return header and payload of a packet in the clear, without extension and padding.

    Raises
    ------
    PacketRejectedError
        Any reason but ``AUTHENTICATION``.
    """
    position = clear_size(packet)
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(packet)
    csrcs = struct.unpack_from(f">{first & _CSRC_COUNT}I", packet, FIXED_HEADER_BYTES)
    profile: int | None = None
    extension = b""
    if first & _EXTENSION_BIT:
        profile, words = _EXTENSION_PREAMBLE.unpack_from(packet, position - _EXTENSION_PREAMBLE.size)
        extension = packet[position : position + words * _WORD_BYTES]
        if len(extension) < words * _WORD_BYTES:
            raise PacketRejectedError(RejectReason.TRUNCATED)
        position += len(extension)
    end = len(packet)
    if first & _PADDING_BIT:
        # "The last octet of the padding contains a count of how many padding octets should be ignored,
        # including itself" (RFC 3550 §5.1).
        end -= packet[-1]
        if end == len(packet) or end < position:
            raise PacketRejectedError(RejectReason.PADDING)
    header = RtpHeader(
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        payload_type=second & _PAYLOAD_TYPE,
        marker=bool(second & _MARKER_BIT),
        csrcs=csrcs,
        extension_profile=profile,
        extension=extension,
    )
    return header, packet[position:end]


def sequence_distance(later: int, earlier: int) -> int:
    """Return the packets from ``earlier`` to ``later``, the shorter way round: -32768 to 32767."""
    return (later - earlier + SEQUENCE_MODULUS // 2) % SEQUENCE_MODULUS - SEQUENCE_MODULUS // 2


def timestamp_distance(later: int, earlier: int) -> int:
    """Return the samples from ``earlier`` to ``later``, the shorter way round: -2**31 to 2**31 - 1."""
    return (later - earlier + TIMESTAMP_MODULUS // 2) % TIMESTAMP_MODULUS - TIMESTAMP_MODULUS // 2
