"""Due times are absolute, and a long stall is given up in whole turns."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.pacing.schedule import (
    CATCH_UP_CAP_NS,
    FULL_GROUP,
    SLOT_NS,
    SLOTS,
    Schedule,
    choose_slot,
)

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


def joined(calls: int) -> list[int]:
    """Return the loads of the slots after so many calls have joined."""
    loads = [0] * SLOTS
    for number in range(calls):
        loads[choose_slot(loads, after=number)] += 1
    return loads


def test_few_calls_share_a_slot() -> None:
    assert sorted(joined(FULL_GROUP)) == [0] * (SLOTS - 1) + [FULL_GROUP]


def test_groups_are_opened_far_from_each_other() -> None:
    first, second = (slot for slot, load in enumerate(joined(FULL_GROUP + 1)) if load)
    assert second - first == SLOTS // 2


@pytest.mark.parametrize("groups", range(1, SLOTS + 1))
def test_groups_are_filled_before_another_is_opened(groups: int) -> None:
    loads = joined(groups * FULL_GROUP)
    assert sorted(loads) == [0] * (SLOTS - groups) + [FULL_GROUP] * groups


def test_many_calls_are_spread_evenly() -> None:
    assert joined(3 * FULL_GROUP * SLOTS) == [3 * FULL_GROUP] * SLOTS


def test_who_leaves_makes_room_in_the_fullest_group_that_has_some() -> None:
    loads = [0] * SLOTS
    loads[2], loads[5], loads[7] = FULL_GROUP, FULL_GROUP - 1, 1
    assert choose_slot(loads, after=0) == 5


def test_among_equals_the_next_slot_wins() -> None:
    assert choose_slot([0] * SLOTS, after=3) == 4
    assert choose_slot([0] * SLOTS, after=SLOTS * 7 + SLOTS - 1) == 0
    full = [FULL_GROUP] * SLOTS
    assert choose_slot(full, after=3) == 4
    full[SLOTS - 1] -= 1
    assert choose_slot(full, after=3) == SLOTS - 1
