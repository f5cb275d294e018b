"""A very short run of each benchmark: that it comes to its end with all its figures, whatever these are."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import player_idle
from benchmarks.machine import Cores
from benchmarks.pacing import calls_for
from benchmarks.player_costs import FILTERS
from benchmarks.player_idle import NOT_COUNTED
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Result


def run(name: str) -> Result:
    async def scenario() -> Result:
        return await BENCHMARKS[name].load()(Options(cores=Cores.plan(), quick=True))

    result = asyncio.run(scenario())
    assert result.name == name
    lost = [figure for figure in result.figures if figure.name in {"packets lost", "rules broken"}]
    assert lost
    assert [figure.value for figure in lost] == [0] * len(lost)
    return result


def test_frame_cost() -> None:
    result = run("frame_cost")
    groups = {figure.group for figure in result.figures}
    for source in ("encoding a WAV", "encoding an MP3", "passing Ogg/Opus through"):
        assert f"2 guilds, {source}" in groups
    parts = ("  encoder threads", "  pacing thread", "  control loop and the rest")
    for group in groups:
        costs = {figure.name: figure for figure in result.figures if figure.group == group}
        if "worker, all in all" not in costs:
            continue
        whole = costs["worker, all in all"]
        assert whole.unit == "µs"
        assert whole.ratio is not None
        assert whole.value == pytest.approx(sum(costs[part].value for part in parts))


def test_player(monkeypatch: pytest.MonkeyPatch) -> None:
    # What its figures need to mean something, and a test of its coming to an end does not.
    monkeypatch.setattr(player_idle, "_SETTLE_S", 0.1)
    monkeypatch.setattr(player_idle, "_PAUSED_S", 0.1)
    result = run("player")
    values = {(figure.group, figure.name): figure.value for figure in result.figures}
    for name in ("passing Ogg/Opus through", "a single track"):
        assert values[f"2 guilds, {name}", "worker, all in all"] > 0
    for name in ("4 tracks mixed", f"filters: {FILTERS}", "one station"):
        assert values[f"1 guild, {name}", "worker, all in all"] > 0
    assert ("one station, from 1 to 3 guilds", "a further guild, each frame") in values
    first = "from the method to the first packet"
    delays = {name: value for (group, name), value in values.items() if group.startswith(first)}
    for what in ("play a WAV", "play an MP3", "play Ogg/Opus", "volume", "seek", "skip"):
        assert 0 < delays[f"{what}, p50"] <= delays[f"{what}, max"]
    if NOT_COUNTED not in result.notes:
        assert values["2 calls, wake-ups of the pacing and encoder threads", "playing, encoding"] > 0


def test_pacing() -> None:
    result = run("pacing")
    groups = [figure.group for figure in result.figures if figure.name == "lateness p99.9"]
    assert len(groups) == 6
    assert set(result.histograms) == set(groups)
    for group in groups:
        assert sum(count for _, count in result.histograms[group]) > 0


def test_busy_bot() -> None:
    result = run("busy_bot")
    (figure,) = [figure for figure in result.figures if figure.name == "lateness p99, bot busy"]
    assert figure.ratio is not None
    assert figure.goal is not None
    assert set(result.histograms) == {"calm", "busy"}


class TestCallsFor:
    @pytest.mark.parametrize(("load", "calls"), [(0.5, 100), (0.8, 160), (0.95, 190)])
    def test_it_is_the_share_of_what_20_ms_have_room_for(self, load: float, calls: int) -> None:
        assert calls_for(load, 100.0, most=500) == calls

    def test_it_never_promises_more_than_the_share(self) -> None:
        assert calls_for(0.5, 150.0, most=500) * 150.0 <= 0.5 * 20_000

    def test_it_is_bounded(self) -> None:
        assert calls_for(0.95, 1.0, most=500) == 500
        assert calls_for(0.5, 1e6, most=500) == 1
