"""[pure] Where one track is, between the worker's reports of it.

A report says where in the source what is heard comes from. From there it goes on with the clock, times the
speed, unless something holds it; a part that is repeated begins anew at its end.

Filters change the speed too, and not all of them say by how much. So how fast it really goes is learned from
how far it came between two reports, in how much hearing: the worker counts both, and the time that a report
takes on its way does not matter.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["Hold", "Position"]


class Hold(enum.Flag):
    """Why a track does not move on."""

    UNSTARTED = enum.auto()
    PAUSED = enum.auto()
    STUCK = enum.auto()
    INTERRUPTED = enum.auto()
    OVER = enum.auto()


SLOWEST: Final = 0.25
FASTEST: Final = 4.0
SHORTEST_LESSON_S: Final = 0.25
"""How much has to be heard between two reports to tell the speed: a report is a frame off, 20 ms."""
_SAME: Final = 0.1
"""Speeds that differ by less than this part are the same; reports say as much."""
_JUMP: Final = 2.0
"""What seems to go faster than twice what is possible, or slower than half, has jumped instead."""


class Position:
    """The place of one track in its source. Places are seconds of the source, times seconds of a clock.

    Parameters
    ----------
    start_s, end_s
        The part of the source that is played; without an end it is the source's, if that is known later.
    repeats
        How many more times that part is played after the first; None without end.
    first_s
        Where it begins.
    speed
        Seconds of the source in a second of hearing.
    """

    def __init__(
        self, *, start_s: float, end_s: float | None, repeats: int | None, first_s: float, speed: float
    ) -> None:
        self.start_s = start_s
        self.end_s = end_s
        self.repeats_left = repeats
        self._place_s = first_s
        self._at_s = 0.0
        self._rate = speed
        self._learned = False
        self._doubted: float | None = None
        """What the last two reports said, if it was not what those before them did."""
        self._lesson: tuple[float, float] | None = None
        """Where it was, and how much of it had been heard, at the report that the next is compared with."""
        self._holds = Hold.UNSTARTED

    def at(self, now: float) -> float:
        """Return where it is."""
        place_s, end_s = self._unwrapped(now), self.end_s
        if end_s is None or place_s < end_s:
            return max(place_s, self.start_s)
        length_s = end_s - self.start_s
        if length_s <= 0:
            return end_s
        rounds, over_s = divmod(place_s - self.start_s, length_s)
        if self.repeats_left is not None and rounds > self.repeats_left:
            return end_s
        return self.start_s + over_s

    def left_s(self, now: float) -> float | None:
        """Return how long it can still be heard; None if that is not known, infinity if it has no end."""
        if self.repeats_left is None:
            return float("inf")
        if self.end_s is None:
            return None
        length_s = max(self.end_s - self.start_s, 0.0)
        place_s = self.start_s + length_s * (self.repeats_left + 1)
        return max(place_s - self._unwrapped(now), 0.0) / self._rate

    def start(self, place_s: float, now: float) -> None:
        """Take note that it is heard from now on, and where it begins."""
        self.move(place_s, now)
        self._lesson = (place_s, 0.0)
        self.release(Hold.UNSTARTED, now)

    def report(self, place_s: float, now: float, *, heard_s: float | None = None) -> None:
        """Take in where it is, and how much of it has been heard in all, in seconds of hearing."""
        if heard_s is not None:
            self._learn(place_s, heard_s)
        if self.end_s is not None and (length_s := self.end_s - self.start_s) > 0 and self.repeats_left:
            # A report does not say in which round: the one that fits what was expected.
            rounds = round((self._unwrapped(now) - place_s) / length_s)
            self.repeats_left = max(self.repeats_left - max(rounds, 0), 0)
        self._place_s, self._at_s = place_s, now

    def move(self, place_s: float, now: float) -> None:
        """Go on elsewhere."""
        self._place_s, self._at_s = place_s, now
        self._lesson = None

    def set_speed(self, speed: float, now: float) -> None:
        """Go on faster or slower, or through other filters."""
        self._place_s, self._at_s, self._rate = self._unwrapped(now), now, speed
        self._learned, self._doubted, self._lesson = False, None, None

    def hold(self, why: Hold, now: float, *, since_s: float = 0.0) -> None:
        """Stand still, as of `since_s` ago. A second time for the same reason changes nothing."""
        if why in self._holds:
            return
        held_at = max(now - since_s, self._at_s)
        self._place_s, self._at_s = self._unwrapped(held_at), held_at
        self._holds |= why

    def release(self, why: Hold, now: float, *, heard_s: float = 0.0) -> None:
        """Go on, unless something else holds it.

        Parameters
        ----------
        why, now
            The reason that is no more, and since when.
        heard_s
            How much of the time since the last report it moved on after all.
        """
        if why not in self._holds:
            return
        self._holds &= ~why
        if not self._holds:
            self._place_s += heard_s * self._rate
            self._at_s = now

    def since_s(self, now: float) -> float:
        """Return how long ago the place was last sure: a report, or when it began to be held."""
        return now - self._at_s

    def _unwrapped(self, now: float) -> float:
        if self._holds:
            return self._place_s
        return self._place_s + max(now - self._at_s, 0.0) * self._rate

    def _learn(self, place_s: float, heard_s: float) -> None:
        if self._lesson is None or heard_s < self._lesson[1]:
            self._lesson = (place_s, heard_s)
            return
        before_s, span_s = self._lesson[0], heard_s - self._lesson[1]
        if span_s < SHORTEST_LESSON_S:
            return
        self._lesson = (place_s, heard_s)
        may_begin_anew = self.repeats_left != 0 and (
            self.end_s is None or before_s + span_s * FASTEST >= self.end_s
        )
        rate = (place_s - before_s) / span_s
        if may_begin_anew or not SLOWEST / _JUMP <= rate <= FASTEST * _JUMP:
            return
        rate = min(max(rate, SLOWEST), FASTEST)
        known = (self._rate, self._doubted) if self._doubted is not None else (self._rate,)
        if not self._learned or any(abs(rate - each) <= _SAME * each for each in known):
            self._rate, self._learned, self._doubted = rate, True, None
        else:
            # It may as well have jumped: a seek, or a gap left out. The next report will tell.
            self._doubted = rate
