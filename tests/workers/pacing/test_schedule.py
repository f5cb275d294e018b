"""Due times are absolute, and a long stall is given up in whole turns."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.pacing.schedule import CATCH_UP_CAP_NS, SLOT_NS, SLOTS, Schedule, emptiest_slot

ORIGIN = 123_456_789


def test_a_turn_of_the_wheel_is_one_frame() -> None:
    schedule = Schedule(ORIGIN)
    assert schedule.due_ns(0) == ORIGIN
    assert schedule.due_ns(SLOTS) - schedule.due_ns(0) == FRAME_NS
    assert SLOT_NS * SLOTS == FRAME_NS


def test_due_times_do_not_drift_over_a_day() -> None:
    schedule = Schedule(ORIGIN)
    turns = 24 * 3_600 * 50
    assert schedule.due_ns(turns * SLOTS) == ORIGIN + turns * FRAME_NS


@pytest.mark.parametrize(
    ("after_origin_ns", "index"),
    [(-1, 0), (0, 0), (1, 1), (SLOT_NS - 1, 1), (SLOT_NS, 1), (SLOT_NS + 1, 2), (FRAME_NS, SLOTS)],
)
def test_index_from_is_the_first_not_yet_past(after_origin_ns: int, index: int) -> None:
    schedule = Schedule(ORIGIN)
    found = schedule.index_from(ORIGIN + after_origin_ns)
    assert found == index
    assert schedule.due_ns(found) >= ORIGIN + after_origin_ns


def test_a_short_stall_is_caught_up() -> None:
    schedule = Schedule(ORIGIN)
    assert schedule.turns_to_skip(7, schedule.due_ns(7) + CATCH_UP_CAP_NS) == 0
    assert schedule.turns_to_skip(7, schedule.due_ns(7) - 1) == 0


def test_a_long_stall_is_given_up_and_the_phase_kept() -> None:
    schedule = Schedule(ORIGIN)
    now_ns = schedule.due_ns(7) + 501_000_000
    skipped = schedule.turns_to_skip(7, now_ns)
    assert skipped == 25
    late_ns = now_ns - schedule.due_ns(7 + skipped * SLOTS)
    assert 0 <= late_ns < FRAME_NS


def test_calls_are_spread_over_the_slots() -> None:
    loads = [0] * SLOTS
    for _ in range(3 * SLOTS):
        loads[emptiest_slot(loads, after=4)] += 1
    assert loads == [3] * SLOTS


def test_among_equals_the_next_slot_wins() -> None:
    assert emptiest_slot([0] * SLOTS, after=3) == 4
    assert emptiest_slot([0] * SLOTS, after=SLOTS * 7 + SLOTS - 1) == 0
    assert emptiest_slot([1] * (SLOTS - 1) + [0], after=3) == SLOTS - 1
