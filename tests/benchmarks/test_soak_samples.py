from __future__ import annotations

import math
import random

import pytest

from benchmarks.soak_samples import slope

MINUTES = [60.0 * number for number in range(60)]


def test_a_line_has_its_slope_and_no_doubt() -> None:
    found = slope(MINUTES, [100.0 + 6.0 * at_s / 3_600 for at_s in MINUTES])
    assert found.an_hour == pytest.approx(6.0)
    assert found.uncertainty == pytest.approx(0.0, abs=1e-6)
    assert found.at_least == pytest.approx(6.0)


def test_noise_alone_does_not_grow() -> None:
    chance = random.Random(3)
    significant = 0
    for _ in range(100):
        found = slope(MINUTES, [100.0 + chance.gauss(0.0, 1.0) for _ in MINUTES])
        significant += abs(found.an_hour) > found.uncertainty
    assert significant <= 15


def test_growth_in_noise_is_found() -> None:
    chance = random.Random(4)
    found = slope(MINUTES, [20.0 * at_s / 3_600 + chance.gauss(0.0, 1.0) for at_s in MINUTES])
    assert found.an_hour == pytest.approx(20.0, abs=3.0)
    assert found.at_least > 10.0


def test_neighbours_that_are_alike_raise_the_doubt() -> None:
    waves = [math.sin(at_s / 900) for at_s in MINUTES]
    apart = waves[::2] + waves[1::2]
    assert (
        slope(MINUTES, waves).uncertainty
        > 1.5 * slope(MINUTES, random.Random(1).sample(apart, 60)).uncertainty
    )


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_samples_say_nothing(count: int) -> None:
    found = slope(MINUTES[:count], [1.0] * count)
    assert math.isinf(found.uncertainty)
    assert found.at_least == -math.inf


def test_what_does_not_change_has_no_slope() -> None:
    found = slope(MINUTES, [5.0] * 60)
    assert (found.an_hour, found.uncertainty) == (0.0, 0.0)
