"""How much of a track was missed while its call could not send [pure].

A gap is the time between the loss of a transport and the next one. What a listener misses in it is the part
in which the track should have been heard: a pause of the bot's own is none of it.
"""

from __future__ import annotations

from voicepool.workers.audio.frame import FRAME_NS

__all__ = ["GapMeter"]


class GapMeter:
    """Adds up missed time, and pays it out in whole frames; the rest waits for the next time."""

    __slots__ = ("_missed_ns", "_since_ns")

    def __init__(self) -> None:
        self._missed_ns = 0
        self._since_ns: int | None = None

    def run(self, *, missing: bool, now_ns: int) -> None:
        """Count from now on, or count no more.

        Parameters
        ----------
        missing
            Whether sound is being missed from now on. Saying the same again changes nothing.
        now_ns
            Monotonic time in nanoseconds.
        """
        if self._since_ns is not None:
            self._missed_ns += now_ns - self._since_ns
        self._since_ns = now_ns if missing else None

    def frames(self, now_ns: int) -> int:
        """Return the whole frames of 20 ms missed by `now_ns` and not paid out."""
        running_ns = 0 if self._since_ns is None else now_ns - self._since_ns
        return (self._missed_ns + running_ns) // FRAME_NS

    def take_frames(self, now_ns: int) -> int:
        """Pay out the whole frames of 20 ms missed by `now_ns`."""
        frames = self.frames(now_ns)
        self._missed_ns -= frames * FRAME_NS
        return frames
