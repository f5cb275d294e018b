"""When which call sends: the arithmetic of the packet clock.

Pure. A wheel of `SLOTS` slots turns once in 20 ms; each call that sends sits in one slot. The instants are
absolute: slot `i` is due at ``origin + i · 2 ms`` for ever, whatever happened before. A late wake-up
is caught up at once; after a stall longer than `CATCH_UP_CAP_NS` whole turns are given up, because a burst
of old frames sounds worse than the gap they leave.
"""

from __future__ import annotations

from typing import Final

from voicepool.workers.audio.frame import FRAME_NS

__all__ = ["CATCH_UP_CAP_NS", "FULL_GROUP", "SLOTS", "SLOT_NS", "Schedule", "choose_slot"]

SLOTS: Final = 10
"""Phases of the 20 ms that calls can be in."""
SLOT_NS: Final = FRAME_NS // SLOTS
FULL_GROUP: Final = 16
"""Calls that share a slot before another is opened. A wake-up with cold caches costs as much as five packets,
so few full groups are cheaper than many small ones. The last of a full one leaves 0.1 to 0.2 ms late."""
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


def choose_slot(loads: list[int], after: int) -> int:
    """Return the slot that a new call joins.

    Groups are filled one after the other, the fullest first, and opened as far as possible from the others;
    when all slots have a full group, calls are spread evenly.

    Parameters
    ----------
    loads
        Calls in each slot.
    after
        Among equals the first slot after this index is taken.
    """
    order = [slot % SLOTS for slot in range(after + 1, after + 1 + SLOTS)]
    if filling := [slot for slot in order if 0 < loads[slot] < FULL_GROUP]:
        return max(filling, key=loads.__getitem__)
    taken = [slot for slot in range(SLOTS) if loads[slot]]
    if len(taken) == SLOTS:
        return min(order, key=loads.__getitem__)
    free = [slot for slot in order if not loads[slot]]
    return max(free, key=lambda slot: min((_distance(slot, other) for other in taken), default=0))


def _distance(slot: int, other: int) -> int:
    """Return how far apart two slots are on the wheel."""
    apart = abs(slot - other)
    return min(apart, SLOTS - apart)
