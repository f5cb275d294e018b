"""What the parts of the hot paths cost, estimated: every 61st turn is timed and stands for the others.

A reading of a thread's CPU clock costs 0.2 µs and more, which is too much for each of thousands of packets a
second. The number is a prime, so that it falls in step neither with the slots of the packet clock nor with
bursts of frames.

The three accounts are those of this process, as `time.process_time` is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["DECODING", "ENCODING", "EVERY", "SEALING", "SampledTime"]

EVERY: Final = 61
"""One in so many is timed."""


class SampledTime:
    """CPU time of one kind of work, in whatever thread it is done.

    Where several threads do it at once a turn may go uncounted, which an estimate can bear.

    Parameters
    ----------
    clock_ns
        CPU time of the calling thread, in nanoseconds.
    """

    __slots__ = ("_clock_ns", "_left", "_timed", "_timed_ns")

    def __init__(self, clock_ns: Callable[[], int] = time.thread_time_ns) -> None:
        self._clock_ns = clock_ns
        self._left = EVERY
        self._timed = 0
        self._timed_ns = 0

    @property
    def seconds(self) -> float:
        """Time spent so far, in seconds."""
        return self._timed_ns * EVERY / 1e9

    @property
    def turns(self) -> int:
        """How often it was begun so far."""
        return self._timed * EVERY + EVERY - self._left

    def begin(self) -> int:
        """Begin a turn; return what `end` wants if it is one to be timed, else 0."""
        self._left -= 1
        if self._left > 0:
            return 0
        self._left = EVERY
        self._timed += 1
        return self._clock_ns()

    def end(self, begun_ns: int) -> None:
        """End a turn that is timed."""
        self._timed_ns += self._clock_ns() - begun_ns


DECODING: Final = SampledTime()
"""Sources to PCM, by FFmpeg."""
ENCODING: Final = SampledTime()
"""PCM to packets, by libopus."""
SEALING: Final = SampledTime()
"""Slots of the packet clock: RTP headers, both encryptions, sending."""
