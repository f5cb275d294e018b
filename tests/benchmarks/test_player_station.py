from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.player_costs import Case, Measured
from benchmarks.player_station import figures_of_station
from benchmarks.rounds import Round
from tests.benchmarks.test_player_costs import BARE
from tests.benchmarks.test_rounds import played


def heard_by(guilds: int, frame_us: float, woken_us: float) -> Measured:
    case = Case(name="one station", file=Path("song.mp3"), guilds=guilds, station=True)
    return Measured(case, Round(played(frame_us / 1_000), {**BARE, "woken": woken_us}))


def test_a_further_guild_costs_what_the_worker_grew_by() -> None:
    # 100 guilds: 2,000 µs in each 20 ms. 500: 5,200. So 400 more took 3,200.
    series = [heard_by(100, 20.0, 10.0), heard_by(500, 10.4, 7.6)]
    further = figures_of_station(series)[-1]
    assert further.group == "one station, from 100 to 500 guilds"
    assert (further.value, further.bare) == pytest.approx((8.0, 7.0))
    assert further.met


def test_only_a_full_worker_is_judged() -> None:
    series = [heard_by(1, 300.0, 100.0), heard_by(10, 50.0, 20.0), heard_by(500, 30.0, 8.0)]
    further = [figure for figure in figures_of_station(series) if figure.name.startswith("a further")]
    assert [figure.met for figure in further] == [None, False]


def test_a_bare_cost_that_did_not_grow_makes_no_ratio() -> None:
    further = figures_of_station([heard_by(1, 100.0, 100.0), heard_by(2, 60.0, 40.0)])[-1]
    assert further.value == pytest.approx(20.0)
    assert further.ratio is None


def test_each_number_of_guilds_has_its_parts() -> None:
    series = [heard_by(1, 300.0, 100.0), heard_by(10, 50.0, 20.0)]
    groups = {figure.group for figure in figures_of_station(series)}
    assert {"1 guild, one station", "10 guilds, one station"} <= groups
