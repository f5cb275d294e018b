from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.player_costs import FILTERS, GOAL_GUILDS, Case, Lengths, Measured, cases, figures_of
from benchmarks.report import Figure
from benchmarks.rounds import Round
from benchmarks.sources import Sources
from tests.benchmarks.test_rounds import played
from voicepool.station import Station

FILE = Path("song.wav")
BARE = {
    "source": 8.0,
    "opus": 120.0,
    "paced": 9.0,
    "woken": 14.0,
    "hot": 6.0,
    "dave": 2.0,
    "seal": 1.0,
    "send": 3.0,
}


def measured(case: Case, **changed: float) -> dict[str, Figure]:
    """The figures of a case whose frames took 150 µs each."""
    return {
        figure.name: figure for figure in figures_of(Measured(case, Round(played(0.15), {**BARE, **changed})))
    }


class TestCase:
    def test_tracks_that_are_mixed_do_not_clip(self) -> None:
        case = Case(name="mixed", file=FILE, guilds=1, tracks=4)
        assert case.options == {"volume": 0.25}

    def test_what_is_alone_is_played_as_it_is(self) -> None:
        assert Case(name="alone", file=FILE, guilds=1).options == {}
        assert Case(name="filtered", file=FILE, guilds=1, filters=FILTERS).options == {"filters": FILTERS}

    def test_a_station_is_shared_by_all(self) -> None:
        case = Case(name="one station", file=FILE, guilds=100, station=True)
        assert case.sharing == 100
        assert case.source == Station("benchmark", FILE, repeats=True)
        assert Case(name="alone", file=FILE, guilds=100).sharing == 1

    def test_the_group_counts_its_guilds(self) -> None:
        assert [Case(name="x", file=FILE, guilds=count).group for count in (1, 2)] == [
            "1 guild, x",
            "2 guilds, x",
        ]

    def test_the_dear_ones_are_played_in_half_of_the_guilds(self) -> None:
        found = cases(Sources(wav=FILE, mp3=Path("song.mp3"), opus=Path("song.ogg")), 64)
        assert [case.guilds for case in found] == [64, 64, 32, 32]
        assert [case.tracks for case in found] == [1, 1, 4, 1]
        assert [case.passes for case in found] == [True, False, False, False]


class TestFigures:
    def test_the_goal_of_a_single_track_is_about_what_is_left_without_the_decoding(self) -> None:
        figures = measured(Case(name="a single track", file=FILE, guilds=GOAL_GUILDS))
        own = figures["worker, without the decoding"]
        assert (own.value, own.ratio) == pytest.approx((142.0, 142 / 120))
        assert own.met is False
        assert figures["worker, all in all"].bare == pytest.approx(137.0)
        assert figures["worker, all in all"].goal is None

    def test_the_goal_of_passing_through_is_about_the_whole(self) -> None:
        case = Case(name="passing", file=FILE, guilds=GOAL_GUILDS, passes=True)
        whole = {
            figure.name: figure
            for figure in figures_of(
                Measured(case, Round(played(0.009), {key: BARE[key] for key in BARE if key != "opus"}))
            )
        }["worker, all in all"]
        assert (whole.value, whole.bare) == pytest.approx((9.0, 17.0))
        assert whole.met

    @pytest.mark.parametrize("passes", [True, False])
    def test_few_guilds_are_not_judged(self, *, passes: bool) -> None:
        figures = measured(Case(name="x", file=FILE, guilds=GOAL_GUILDS - 1, passes=passes), opus=1.0)
        assert [figure.goal for figure in figures.values()] == [None] * len(figures)

    def test_filters_are_compared_with_libavfilter_too(self) -> None:
        figures = measured(Case(name="x", file=FILE, guilds=2, filters=FILTERS), filters=20.0)
        assert figures["worker, without the decoding"].bare == pytest.approx(140.0)
        assert figures["worker, all in all"].bare == pytest.approx(157.0)
        assert figures["libavfilter"].value == 20.0


def test_sources_outlast_what_is_played() -> None:
    lengths = Lengths(rounds=3, span_s=4.0, settle_s=1.5, bare_s=0.3, paced_s=1.0, start_s=20.0)
    assert lengths.source_s == 25.5
