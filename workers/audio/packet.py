"""[pure] What the first bytes of an Opus packet tell (RFC 6716 §3.1), without decoding it."""

from __future__ import annotations

from typing import Final

from voicepool.workers.audio.frame import FRAME_SAMPLES, SAMPLE_RATE_HZ

__all__ = ["MAX_PACKET_SAMPLES", "PREROLL_PACKETS", "is_one_tick", "packet_samples"]

MAX_PACKET_SAMPLES: Final = SAMPLE_RATE_HZ * 120 // 1_000
"""A packet holds at most 120 ms (RFC 6716 §3.2.5, requirement R5), in samples of one channel at 48 kHz."""

PREROLL_PACKETS: Final = 4
"""A decoder that starts in mid-stream needs 80 ms to converge (RFC 7845 §4.6)."""

_MS_TO_SAMPLES: Final = SAMPLE_RATE_HZ // 1_000


def _frame_samples(config: int) -> int:
    """Return the samples of one frame for one of the 32 configurations (RFC 6716 §3.1, table 2)."""
    step = config & 3
    if config < 12:  # noqa: PLR2004 - SILK: configurations 0 to 11
        return (10, 20, 40, 60)[step] * _MS_TO_SAMPLES
    if config < 16:  # noqa: PLR2004 - hybrid: 12 to 15
        return (10, 20)[step & 1] * _MS_TO_SAMPLES
    return (120, 240, 480, 960)[step]


_FRAME_SAMPLES: Final = tuple(_frame_samples(toc >> 3) for toc in range(256))
_FRAME_COUNT: Final = tuple((1, 2, 2, 0)[toc & 3] for toc in range(256))
_PLAIN_SAMPLES: Final = tuple(_FRAME_SAMPLES[toc] * _FRAME_COUNT[toc] for toc in range(256))
"""Samples of a packet by its first byte; 0 where a second byte holds the number of frames (code 3)."""


def packet_samples(packet: bytes) -> int:
    """Return how long a packet plays, in samples of one channel at 48 kHz.

    Returns
    -------
    int
        1 to `MAX_PACKET_SAMPLES`; 0 for an empty packet and for one whose header breaks RFC 6716 §3.4.
    """
    if not packet:
        return 0
    toc = packet[0]
    plain = _PLAIN_SAMPLES[toc]
    if plain:
        return plain
    if len(packet) == 1:
        return 0
    samples = _FRAME_SAMPLES[toc] * (packet[1] & 0x3F)
    return samples if samples <= MAX_PACKET_SAMPLES else 0


def is_one_tick(packet: bytes) -> bool:
    """Tell whether a packet plays for exactly the 20 ms that Discord wants (960 samples)."""
    return packet_samples(packet) == FRAME_SAMPLES
