"""Which frame lies where in the source."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.stretches import Stretches


def at_fifty_a_second(number: int) -> float:
    return number / 50


def test_at_first_all_frames_are_the_feeds() -> None:
    stretches = Stretches(at_fifty_a_second)
    assert [stretches.source_position_s(number) for number in (0, 1, 100)] == [0.0, 0.02, 2.0]


def test_the_feeds_frames_keep_their_places_under_other_numbers() -> None:
    stretches = Stretches(at_fifty_a_second)
    stretches.go_on_with_feed(10, 60)
    assert stretches.source_position_s(9) == pytest.approx(0.18)
    assert stretches.source_position_s(10) == pytest.approx(1.2)
    assert stretches.source_position_s(15) == pytest.approx(1.3)


def test_a_lines_frames_go_at_its_speed() -> None:
    stretches = Stretches(at_fifty_a_second)
    stretches.go_on_with_line(50, 1.0, 2.0, first_kept=0)
    assert stretches.source_position_s(49) == pytest.approx(0.98)
    assert stretches.source_position_s(50) == pytest.approx(1.0)
    assert stretches.source_position_s(100) == pytest.approx(3.0)


def test_only_what_is_not_expected_is_noted() -> None:
    stretches = Stretches(at_fifty_a_second)
    for number in range(50, 100):
        stretches.go_on_with_line(number, number / 50 + 0.0005, 1.0, first_kept=0)
    assert len(stretches) == 2
    stretches.go_on_with_line(100, 2.1, 1.0, first_kept=0)
    assert len(stretches) == 3
    assert stretches.source_position_s(101) == pytest.approx(2.12)


def test_another_speed_at_the_same_place_is_noted() -> None:
    stretches = Stretches(at_fifty_a_second)
    stretches.go_on_with_line(0, 0.0, 1.0, first_kept=0)
    stretches.go_on_with_line(50, 1.0, 0.5, first_kept=0)
    assert stretches.source_position_s(60) == pytest.approx(1.1)


def test_a_position_before_the_start_is_the_start() -> None:
    stretches = Stretches(at_fifty_a_second)
    stretches.go_on_with_line(0, -0.01, 1.0, first_kept=0)
    assert stretches.source_position_s(0) == 0.0


def test_made_anew_frames_take_the_place_of_those_before() -> None:
    stretches = Stretches(at_fifty_a_second)
    stretches.go_on_with_line(10, 0.2, 2.0, first_kept=0)
    stretches.go_on_with_line(20, 0.6, 4.0, first_kept=0)
    stretches.go_on_with_feed(15, 20)
    assert stretches.source_position_s(14) == pytest.approx(0.36)
    assert stretches.source_position_s(20) == pytest.approx(0.5)


def test_what_is_not_kept_is_forgotten() -> None:
    stretches = Stretches(at_fifty_a_second)
    for number in range(0, 1_000, 10):
        stretches.go_on_with_line(number, 100.0 - number, 1.0, first_kept=max(0, number - 20))
        assert len(stretches) <= 4
        assert stretches.source_position_s(number) == pytest.approx(max(0.0, 100.0 - number))
