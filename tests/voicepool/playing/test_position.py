"""Where a track is between two reports."""

from __future__ import annotations

import math

import pytest

from voicepool._playing.position import Hold, Position


def make(
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    repeats: int | None = 0,
    first_s: float | None = None,
    speed: float = 1.0,
    started: bool = True,
) -> Position:
    """A track that began at 100 s of the clock."""
    first_s = start_s if first_s is None else first_s
    position = Position(start_s=start_s, end_s=end_s, repeats=repeats, first_s=first_s, speed=speed)
    if started:
        position.move(first_s, 100.0)
        position.release(Hold.UNSTARTED, 100.0)
    return position


def test_it_stands_where_it_is_to_begin_until_it_is_heard() -> None:
    position = make(first_s=7.0, started=False)
    assert position.at(100.0) == position.at(900.0) == 7.0


def test_it_goes_on_with_the_clock_times_the_speed() -> None:
    position = make(first_s=10.0, speed=1.5)
    assert position.at(104.0) == 16.0
    position.set_speed(0.5, 104.0)
    assert position.at(108.0) == 18.0


def test_a_report_counts_from_when_it_comes() -> None:
    position = make()
    position.report(3.9, 104.0)
    assert position.at(105.0) == pytest.approx(4.9)


def test_a_clock_that_is_behind_the_report_does_not_go_back() -> None:
    position = make(first_s=5.0)
    assert position.at(99.0) == 5.0


@pytest.mark.parametrize("why", [Hold.PAUSED, Hold.STUCK, Hold.INTERRUPTED])
def test_it_stands_still_while_something_holds_it(why: Hold) -> None:
    position = make()
    position.hold(why, 110.0)
    position.hold(why, 115.0)
    assert position.at(120.0) == 10.0
    position.release(why, 120.0)
    position.release(why, 121.0)
    assert position.at(125.0) == 15.0


def test_it_goes_on_when_nothing_holds_it_any_more() -> None:
    position = make()
    position.hold(Hold.PAUSED, 110.0)
    position.hold(Hold.STUCK, 112.0)
    position.release(Hold.PAUSED, 120.0)
    assert position.at(130.0) == 10.0
    position.release(Hold.STUCK, 130.0)
    assert position.at(131.0) == 11.0


def test_what_was_stuck_already_is_set_back() -> None:
    position = make()
    position.hold(Hold.STUCK, 110.0, since_s=0.4)
    assert position.at(115.0) == pytest.approx(9.6)


def test_it_is_not_set_back_before_a_report() -> None:
    position = make()
    position.report(9.9, 110.0)
    position.hold(Hold.STUCK, 110.1, since_s=5.0)
    assert position.at(120.0) == pytest.approx(9.9)


def test_what_was_heard_during_an_interruption_counts_afterwards() -> None:
    position = make(speed=2.0)
    position.hold(Hold.INTERRUPTED, 110.0)
    assert position.since_s(113.0) == 3.0
    position.release(Hold.INTERRUPTED, 113.0, heard_s=2.0)
    assert position.at(113.0) == 24.0


def test_it_does_not_pass_the_end() -> None:
    position = make(end_s=20.0)
    assert position.at(119.0) == 19.0
    assert position.at(150.0) == 20.0


def test_an_endless_loop_begins_anew() -> None:
    position = make(start_s=10.0, end_s=14.0, repeats=None)
    assert position.at(103.0) == 13.0
    assert position.at(105.0) == 11.0
    assert position.at(100.0 + 4 * 1_000 + 1) == 11.0
    assert position.left_s(105.0) == math.inf


def test_a_loop_that_is_counted_ends_at_the_end() -> None:
    position = make(start_s=10.0, end_s=14.0, repeats=2)
    assert position.at(109.0) == 11.0
    assert position.left_s(109.0) == 3.0
    assert position.at(113.0) == 14.0
    assert position.left_s(113.0) == 0.0


@pytest.mark.parametrize(("end_s", "reports", "left"), [(14.0, 3, 1), (10.5, 2, 0), (14.0, 9, 0)])
def test_reports_tell_how_many_rounds_are_left(end_s: float, reports: int, left: int) -> None:
    position = make(start_s=10.0, end_s=end_s, repeats=2)
    for each in range(1, reports + 1):
        # A second of hearing, and a report that is a little off.
        position.report(10.0 + (each * 1.98) % (end_s - 10.0), 100.0 + each * 2)
    assert position.repeats_left == left


def test_a_seek_back_is_no_round() -> None:
    position = make(start_s=0.0, end_s=100.0, repeats=3)
    position.report(80.0, 180.0)
    position.move(1.0, 181.0)
    position.report(2.0, 182.0)
    assert position.repeats_left == 3


def test_what_is_left_is_in_seconds_of_hearing() -> None:
    position = make(end_s=100.0, speed=2.0)
    assert position.left_s(110.0) == 40.0
    assert make().left_s(110.0) is None


def test_a_part_without_length_is_at_its_end() -> None:
    assert make(start_s=5.0, end_s=5.0, repeats=None).at(107.0) == 5.0


# How fast it really goes.


def test_a_filter_that_changes_the_tempo_is_noticed_at_the_first_report() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(1.25, 101.0, heard_s=1.0)
    assert position.at(102.0) == pytest.approx(2.5)
    # However late a report arrives, the speed is right.
    position.report(2.5, 102.4, heard_s=2.0)
    assert position.at(103.4) == pytest.approx(3.75)


@pytest.mark.parametrize(("rate", "learned"), [(0.2, 0.25), (0.8, 0.8), (1.0, 1.0), (3.0, 3.0), (5.0, 4.0)])
def test_it_is_learned_within_what_is_possible(rate: float, learned: float) -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(rate, 101.0, heard_s=1.0)
    assert position.at(102.0) - position.at(101.0) == pytest.approx(learned)


def test_frequent_reports_are_compared_with_one_that_is_far_enough_back() -> None:
    position = make()
    position.start(0.0, 100.0)
    for tick in range(1, 41):
        # Reports count whole frames of 20 ms, so each is a little off.
        heard_s = tick * 0.05 // 0.02 * 0.02
        position.report(heard_s * 1.25, 100.0 + tick * 0.05, heard_s=heard_s)
    assert position.at(103.0) - position.at(102.0) == pytest.approx(1.25, rel=0.02)


@pytest.mark.parametrize("place_s", [90.0, 3.5])
def test_a_jump_is_no_speed(place_s: float) -> None:
    position = make(first_s=40.0)
    position.start(40.0, 100.0)
    position.report(41.0, 101.0, heard_s=1.0)
    position.report(place_s, 102.0, heard_s=2.0)
    assert position.at(103.0) == pytest.approx(place_s + 1.0)


def test_a_small_jump_is_no_speed_either_unless_it_goes_on_like_that() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(1.0, 101.0, heard_s=1.0)
    position.report(4.0, 102.0, heard_s=2.0)
    assert position.at(103.0) == pytest.approx(5.0)
    position.report(5.0, 103.0, heard_s=3.0)
    assert position.at(104.0) == pytest.approx(6.0)
    position.report(6.5, 104.0, heard_s=4.0)
    position.report(8.0, 105.0, heard_s=5.0)
    assert position.at(106.0) == pytest.approx(9.5)


def test_a_wish_for_another_speed_counts_before_what_was_learned() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(1.25, 101.0, heard_s=1.0)
    position.set_speed(2.0, 101.0)
    assert position.at(102.0) == pytest.approx(3.25)
    # Heard half before and half after the wish: it tells nothing.
    position.report(3.1, 102.0, heard_s=2.0)
    assert position.at(103.0) == pytest.approx(5.1)
    position.report(5.6, 103.0, heard_s=3.0)
    assert position.at(104.0) == pytest.approx(8.1)


def test_what_is_learned_outlives_a_seek() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(1.25, 101.0, heard_s=1.0)
    position.move(50.0, 101.5)
    assert position.at(102.5) == pytest.approx(51.25)
    position.report(51.25, 102.5, heard_s=2.5)
    assert position.at(103.5) == pytest.approx(52.5)


def test_a_seek_is_no_speed_however_short() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.move(2.5, 100.5)
    position.report(3.0, 101.0, heard_s=1.0)
    assert position.at(102.0) == pytest.approx(4.0)


def test_rounds_of_a_short_part_are_no_speed() -> None:
    position = make(start_s=10.0, end_s=10.8, repeats=None)
    position.start(10.0, 100.0)
    for second in range(1, 9):
        position.report(10.0 + second % 0.8, 100.0 + second, heard_s=float(second))
    assert position.at(108.5) == pytest.approx(10.5)


def test_pauses_and_stalls_do_not_count_as_hearing() -> None:
    position = make()
    position.start(0.0, 100.0)
    position.report(1.25, 101.0, heard_s=1.0)
    position.hold(Hold.PAUSED, 101.5)
    position.report(1.875, 102.0, heard_s=1.5)
    position.report(1.875, 110.0, heard_s=1.5)
    position.release(Hold.PAUSED, 110.0)
    position.report(2.5, 110.5, heard_s=2.0)
    assert position.at(111.5) == pytest.approx(3.75)


def test_reports_without_hearing_teach_nothing() -> None:
    position = make()
    position.report(2.0, 101.0)
    position.report(4.0, 102.0)
    assert position.at(103.0) == pytest.approx(5.0)
