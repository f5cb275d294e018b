from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ear import Heard
from benchmarks.player_latency import figures_of_delays, first_change_ms
from benchmarks.rig import BenchmarkError

MS = 1_000_000


def heard(*loudness: float) -> list[Heard]:
    """A frame each 20 ms, the first at 0."""
    return [
        Heard(number * 20 * MS, np.full(960, each), is_silence=False) for number, each in enumerate(loudness)
    ]


def is_loud(frame: Heard) -> bool:
    return bool(frame.samples[0] > 0.5)


class TestFirstChange:
    def test_it_is_counted_to_the_first_packet_that_differs(self) -> None:
        assert first_change_ms(heard(0, 0, 0, 0, 1, 1), 35 * MS, is_loud) == 45.0

    def test_a_change_that_is_never_heard_is_an_error(self) -> None:
        with pytest.raises(BenchmarkError, match="not heard in the 3 packets"):
            first_change_ms(heard(0, 0, 0), 10 * MS, is_loud)

    def test_what_was_there_before_is_no_change(self) -> None:
        with pytest.raises(BenchmarkError, match="cannot be told"):
            first_change_ms(heard(0, 1, 1), 30 * MS, is_loud)


def test_the_goal_is_about_the_slowest() -> None:
    middle, slowest = figures_of_delays("how soon", "seek", [30.0, 61.0, 50.0], 60.0)
    assert (middle.name, middle.value, middle.met) == ("seek, p50", 50.0, None)
    assert (slowest.name, slowest.value, slowest.met) == ("seek, max", 61.0, False)
