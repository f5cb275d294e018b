"""[pure] How late packets arrive, measured without knowing the sender's clock."""

from __future__ import annotations

__all__ = ("LatenessRecorder",)

from array import array
from itertools import pairwise

import numpy as np

from voicepool.testing.voice_report import LatenessFigures

_INT32_MAX = 2**31 - 1


class LatenessRecorder:
    """Deviation of each arrival from the grid that the RTP timestamps span, spurt by spurt.

    Kept as one 32-bit number of microseconds a frame. At `capacity` frames the older half is dropped, its
    worst lateness excepted.

    Parameters
    ----------
    capacity : int
        Frames to remember; 30,000 are 10 minutes.
    """

    __slots__ = (
        "_anchor_ns",
        "_anchor_timestamp",
        "_capacity",
        "_deviations_us",
        "_spurt_starts",
        "_worst_forgotten_us",
        "samples",
    )

    def __init__(self, capacity: int = 30_000) -> None:
        self._capacity = max(2, capacity)
        self._deviations_us = array("i")
        self._spurt_starts: list[int] = []
        self._anchor_ns = 0
        self._anchor_timestamp = 0
        self._worst_forgotten_us = 0
        self.samples = 0

    def begin(self, arrival_ns: int, timestamp: int) -> None:
        """Start a spurt with the frame that `add` will be called with next.

        Parameters
        ----------
        arrival_ns : int
            Monotonic time of arrival.
        timestamp : int
            Extended (not wrapping) RTP timestamp in samples.
        """
        self._spurt_starts.append(len(self._deviations_us))
        self._anchor_ns = arrival_ns
        self._anchor_timestamp = timestamp

    def add(self, arrival_ns: int, timestamp: int) -> None:
        """Note one frame; same units as `begin`."""
        # One sample at 48 kHz lasts 62,500 / 3 ns.
        due_ns = (timestamp - self._anchor_timestamp) * 62_500 // 3
        deviation_us = (arrival_ns - self._anchor_ns - due_ns) // 1_000
        if not -_INT32_MAX <= deviation_us <= _INT32_MAX:
            deviation_us = _INT32_MAX if deviation_us > 0 else -_INT32_MAX
        self._deviations_us.append(deviation_us)
        self.samples += 1
        if len(self._deviations_us) > self._capacity:
            self._forget(self._capacity // 2)

    def figures(self) -> LatenessFigures:
        """Return percentiles over what is remembered, and the worst of all."""
        late_us = self._relative(len(self._deviations_us))
        if not late_us.size:
            return LatenessFigures(0, 0.0, 0.0, 0.0, 0.0)
        p50, p99, p999 = np.quantile(late_us, (0.5, 0.99, 0.999), method="higher")
        worst = max(int(late_us.max()), self._worst_forgotten_us)
        return LatenessFigures(
            self.samples, float(p50) / 1e3, float(p99) / 1e3, float(p999) / 1e3, worst / 1e3
        )

    def _relative(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        # frombuffer would pin the array and make its next append fail.
        late = np.array(self._deviations_us[:count], dtype=np.int64)
        bounds = [start for start in self._spurt_starts if start < count] + [count]
        for start, end in pairwise(bounds):
            late[start:end] -= late[start:end].min()
        return late

    def _forget(self, count: int) -> None:
        self._worst_forgotten_us = max(self._worst_forgotten_us, int(self._relative(count).max()))
        del self._deviations_us[:count]
        starts = [start - count for start in self._spurt_starts]
        self._spurt_starts = [0, *(start for start in starts if start > 0)]
