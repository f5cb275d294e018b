"""When which call sends: the arithmetic of the packet clock.

Pure. A wheel of `SLOTS` slots turns once in 20 ms; each call that sends sits in one slot. The instants are
absolute: slot `i` is due at ``origin + i · 2 ms`` for ever, whatever happened before. A late wake-up
is caught up at once; after a stall longer than `CATCH_UP_CAP_NS` whole turns are given up, because a burst
of old frames sounds worse than the gap they leave.
"""

from __future__ import annotations

from typing import Final

from voicepool.workers.audio.frame import FRAME_NS

__all__ = ["CATCH_UP_CAP_NS", "SLOTS", "SLOT_NS", "Schedule", "emptiest_slot"]

SLOTS: Final = 10
"""Phases of the 20 ms over which calls are spread: few enough that one wake-up serves several calls, many
enough that the last of a slot leaves some 20 µs after the first."""
SLOT_NS: Final = FRAME_NS // SLOTS
CATCH_UP_CAP_NS: Final = 3 * FRAME_NS
"""Longest stall that is caught up by sending at once; koe, JDA and disgo use the same 60 ms."""


class Schedule:
    """Absolute due times of a turning wheel.

    Parameters
    ----------
    origin_ns
        Monotonic time of slot 0 of turn 0, in nanoseconds.
    """

    __slots__ = ("origin_ns",)

    def __init__(self, origin_ns: int) -> None:
        self.origin_ns = origin_ns

    def due_ns(self, index: int) -> int:
        """Return when a slot is due. `index` counts slots since the origin."""
        return self.origin_ns + index * SLOT_NS

    def index_from(self, now_ns: int) -> int:
        """Return the first index that is not yet past at `now_ns`."""
        return max(0, -((self.origin_ns - now_ns) // SLOT_NS))

    def turns_to_skip(self, index: int, now_ns: int) -> int:
        """Return how many whole turns to give up before serving `index`: 0 unless a stall was too long."""
        late_ns = now_ns - self.due_ns(index)
        return late_ns // FRAME_NS if late_ns > CATCH_UP_CAP_NS else 0


def emptiest_slot(loads: list[int], after: int) -> int:
    """Return the slot with the fewest calls; among equals the first after index `after`."""
    least = min(loads)
    return next(slot % SLOTS for slot in range(after + 1, after + 1 + SLOTS) if loads[slot % SLOTS] == least)
