from __future__ import annotations

import pytest

from voicepool.workers.sampling import EVERY, SampledTime


class Clock:
    def __init__(self) -> None:
        self.time_ns = 1
        self.readings = 0

    def __call__(self) -> int:
        self.readings += 1
        return self.time_ns


def work(account: SampledTime, clock: Clock, turns: int, turn_ns: int) -> None:
    for _ in range(turns):
        begun_ns = account.begin()
        clock.time_ns += turn_ns
        if begun_ns:
            account.end(begun_ns)


def test_one_turn_in_61_stands_for_all() -> None:
    clock = Clock()
    account = SampledTime(clock)
    work(account, clock, 10 * EVERY, 1_000)
    assert account.seconds == pytest.approx(10 * EVERY * 1e-6)
    assert clock.readings == 20
    assert account.turns == 10 * EVERY


def test_turns_are_counted_one_by_one() -> None:
    clock = Clock()
    account = SampledTime(clock)
    for turn in range(3 * EVERY):
        assert account.turns == turn
        work(account, clock, 1, 5)


def test_a_turn_that_breaks_off_costs_one_sample_and_no_more() -> None:
    clock = Clock()
    account = SampledTime(clock)
    for _ in range(EVERY):
        account.begin()
    work(account, clock, EVERY, 1_000)
    assert account.seconds == pytest.approx(EVERY * 1e-6)


def test_it_goes_on_though_two_threads_have_counted_at_once() -> None:
    clock = Clock()
    account = SampledTime(clock)
    account._left = 0
    assert account.begin()
    work(account, clock, EVERY, 1_000)
    assert account.seconds > 0.0


def test_the_interval_falls_in_step_with_no_number_of_slots() -> None:
    assert all(EVERY % number for number in range(2, EVERY))
