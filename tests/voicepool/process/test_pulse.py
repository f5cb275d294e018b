"""Whether a worker lives, with a clock in hand."""

from __future__ import annotations

import pytest

from voicepool._process.pulse import MOST_PARDONS, Pulse

INTERVAL_S = 0.5
TIMEOUT_S = 3.0
STEPS = 6
"""Of the interval, in the timeout."""


def pulse(now: float = 0.0) -> Pulse:
    return Pulse(interval_s=INTERVAL_S, timeout_s=TIMEOUT_S, now=now)


def looks(watch: Pulse, count: int, *, since: float, heard_at: float) -> list[bool]:
    return [watch.look(since + step * INTERVAL_S, heard_at) for step in range(1, count + 1)]


def test_silence_for_the_whole_timeout_is_a_hang_and_not_before() -> None:
    watch = pulse(100.0)
    assert looks(watch, STEPS, since=100.0, heard_at=100.0) == [False] * (STEPS - 1) + [True]
    assert watch.is_hung(103.0, 100.0)
    assert watch.silence_s(103.0) == 3.0


def test_any_sign_of_life_starts_the_allowance_anew() -> None:
    watch = pulse()
    assert not any(looks(watch, STEPS - 1, since=0.0, heard_at=0.0))
    assert not any(looks(watch, STEPS - 1, since=2.5, heard_at=2.4))
    assert watch.look(5.5, 2.4)


def test_what_waited_to_be_read_proves_the_contrary() -> None:
    watch = pulse()
    assert looks(watch, STEPS, since=0.0, heard_at=0.0)[-1]
    assert not watch.is_hung(3.01, 3.005)


@pytest.mark.parametrize("stall_s", [1.5, 60.0, 86_400.0])
def test_a_stall_of_the_bot_or_of_the_machine_does_not_count(stall_s: float) -> None:
    """A blocked loop, SIGSTOP, a suspended machine: the look comes late."""
    watch = pulse()
    assert not any(looks(watch, STEPS - 1, since=0.0, heard_at=0.0))
    awake = 2.5 + stall_s
    assert not watch.look(awake, 0.0)
    assert looks(watch, STEPS, since=awake, heard_at=0.0) == [False] * (STEPS - 1) + [True]


def test_a_look_that_is_a_little_late_counts_in_full() -> None:
    watch = pulse()
    assert [watch.look(now, 0.0) for now in (0.9, 1.8, 2.7, 3.6)] == [False, False, False, True]


def test_a_bot_that_is_always_late_finds_a_dead_worker_all_the_same() -> None:
    watch = pulse()
    verdicts = [watch.look(5.0 * step, 0.0) for step in range(1, MOST_PARDONS + 2)]
    assert verdicts == [False] * MOST_PARDONS + [True]


def test_a_sign_of_life_renews_the_pardons() -> None:
    watch = pulse()
    for step in range(1, 50):
        assert not watch.look(5.0 * step, 5.0 * step - 0.1)


def test_a_look_is_due_when_nothing_was_heard_for_an_interval() -> None:
    watch = pulse(100.0)
    assert watch.rest_s(100.0, 100.0) == INTERVAL_S
    assert not watch.is_quiet(100.4)
    assert watch.is_quiet(100.5)
    # It has said something in between.
    assert watch.rest_s(100.5, 100.3) == pytest.approx(0.3)
    # It has not, and was asked just now.
    assert watch.rest_s(100.9, 100.3) == INTERVAL_S


def test_the_last_look_comes_when_the_allowance_ends_and_not_an_interval_later() -> None:
    watch = pulse()
    assert watch.rest_s(2.8, 0.0) == pytest.approx(0.2)
    assert watch.look(3.0, 0.0)
    # Between two looks: not for ever in the same moment.
    assert watch.rest_s(3.5, 0.0) > 0.0


def test_a_look_that_is_a_little_late_by_a_long_interval_counts_in_full() -> None:
    watch = Pulse(interval_s=1.5, timeout_s=TIMEOUT_S, now=0.0)
    assert watch.rest_s(0.0, 0.0) == 1.5
    assert not watch.look(1.9, 0.0)
    assert watch.rest_s(1.9, 0.0) == pytest.approx(1.1)
    assert watch.look(3.0, 0.0)


def test_a_stall_is_noticed_however_long_the_interval_is() -> None:
    watch = Pulse(interval_s=1.5, timeout_s=TIMEOUT_S, now=0.0)
    assert watch.rest_s(0.0, 0.0) == 1.5
    # Both sides were frozen together, for less than an interval.
    assert not watch.look(2.9, 0.0)
    assert not watch.look(3.1, 0.0)
