"""Recoveries are begun again when nobody answers, timed, and not made for ever."""

from __future__ import annotations

from voicepool.workers.dave.recovery import (
    FAILING_COOLDOWN_S,
    RECOVERY_LIMIT,
    RECOVERY_TIMEOUT_S,
    Recovery,
)


def test_one_that_is_not_answered_is_due_again() -> None:
    recovery = Recovery()
    assert not recovery.is_due(1e9)
    assert recovery.begin(6, 100.0)
    assert (recovery.reported_id, recovery.attempts) == (6, 1)
    assert recovery.deadline == 100.0 + RECOVERY_TIMEOUT_S
    assert not recovery.is_due(recovery.deadline - 0.1)
    assert recovery.is_due(recovery.deadline)
    recovery.put_off(200.0)
    assert not recovery.is_due(200.0 + RECOVERY_TIMEOUT_S - 0.1)


def test_it_takes_from_the_first_attempt_to_the_group() -> None:
    recovery = Recovery()
    recovery.begin(6, 100.0)
    recovery.begin(7, 110.0)
    assert recovery.succeed(112.5) == 12.5
    assert (recovery.attempts, recovery.deadline) == (0, None)
    assert recovery.succeed(113.0) is None, "there was none"


def test_one_that_a_new_group_ended_is_not_told_as_a_success() -> None:
    recovery = Recovery()
    recovery.begin(6, 100.0)
    recovery.end()
    assert recovery.succeed(101.0) is None


def test_so_many_in_vain_are_enough() -> None:
    recovery = Recovery()
    assert [recovery.begin(number, 1.0) for number in range(RECOVERY_LIMIT + 2)] == [
        *(True,) * RECOVERY_LIMIT,
        False,
        False,
    ]
    assert recovery.reported_id == RECOVERY_LIMIT - 1, "what was not begun was not reported"
    recovery.succeed(2.0)
    assert recovery.begin(1, 3.0)


def test_frames_that_fail_begin_one_once_a_while() -> None:
    recovery = Recovery()
    assert recovery.may_follow_failures(100.0)
    assert not recovery.may_follow_failures(100.0 + FAILING_COOLDOWN_S - 0.1)
    assert recovery.may_follow_failures(100.0 + FAILING_COOLDOWN_S)
