"""The one audio format inside a worker, each number derived from the last.

Discord takes Opus at 48 kHz, stereo, in 20 ms frames (Voice Connections, Transport Encryption and Sending
Voice; RFC 7587 §4.1 fixes the RTP clock at 48 kHz). PCM inside the worker is interleaved float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = [
    "CHANNELS",
    "FRAMES_PER_S",
    "FRAME_MS",
    "FRAME_NS",
    "FRAME_SAMPLES",
    "PCM_FRAME_BYTES",
    "SAMPLE_BYTES",
    "SAMPLE_RATE_HZ",
    "SILENCE",
    "SILENCE_FRAMES_AT_END",
    "Mark",
    "Note",
]

SAMPLE_RATE_HZ: Final = 48_000
CHANNELS: Final = 2
FRAME_MS: Final = 20
FRAME_NS: Final = FRAME_MS * 1_000_000
FRAMES_PER_S: Final = 1_000 // FRAME_MS
FRAME_SAMPLES: Final = SAMPLE_RATE_HZ * FRAME_MS // 1_000
"""Samples of one channel in a frame (960), and so the step of the RTP timestamp."""
SAMPLE_BYTES: Final = 4
"""One float32 sample of one channel."""
PCM_FRAME_BYTES: Final = FRAME_SAMPLES * CHANNELS * SAMPLE_BYTES

SILENCE: Final = b"\xf8\xff\xfe"
"""One 20 ms Opus frame of silence (Voice Connections, Voice Data Interpolation)."""
SILENCE_FRAMES_AT_END: Final = 5
"""How many of them follow the last frame before a pause or an end (same heading)."""


class Mark:
    """Something in a queue of frames that is no frame: an end or a halt."""

    __slots__ = ()


class Note(Mark):
    """A mark that takes no time: whoever sends calls it and goes on to the next frame.

    Parameters
    ----------
    report
        Called on the pacing thread with no argument; it must only hand over to another thread.
    stays
        Whether it is to be put into the queue again when it was taken out unsent.
    """

    __slots__ = ("report", "stays")

    def __init__(self, report: Callable[[], object], *, stays: bool = False) -> None:
        self.report = report
        self.stays = stays
