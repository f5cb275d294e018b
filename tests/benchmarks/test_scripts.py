"""A very short run of each benchmark: that it comes to its end with all its figures, whatever these are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks.frame_cost import Round, middle
from benchmarks.machine import Cores
from benchmarks.pacing import calls_for
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Result
from benchmarks.span import Span
from voicepool.ipc.histogram import LatenessHistogram


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
        assert {f"1 guild, {source}", f"2 guilds, {source}"} <= groups
    parts = ("  encoder threads", "  pacing thread", "  control loop and the rest")
    for group in groups:
        costs = {figure.name: figure for figure in result.figures if figure.group == group}
        if "worker, all in all" not in costs:
            continue
        whole = costs["worker, all in all"]
        assert whole.unit == "µs"
        assert whole.ratio is not None
        assert whole.value == pytest.approx(sum(costs[part].value for part in parts))


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


def played(cpu_s: float) -> Span:
    fields: dict[str, Any] = dict.fromkeys(("nulled", "ticks_skipped", "rescues"), 0)
    return Span(
        seconds=1.0,
        frames=1_000,
        cpu_s=cpu_s,
        encode_cpu_s=0.0,
        pacing_cpu_s=0.0,
        lateness=LatenessHistogram(),
        **fields,
    )


class TestMiddle:
    def test_the_ratio_decides_and_not_the_cost(self) -> None:
        rounds = [
            Round(played(cpu_s), {"source": bare_us, "paced": 0.0})
            for cpu_s, bare_us in ((0.1, 10.0), (0.3, 200.0), (0.2, 50.0))
        ]
        assert [each.span.frame_us / each.everything_us for each in rounds] == pytest.approx([10, 1.5, 4])
        assert middle(rounds) is rounds[2]

    def test_all_that_a_worker_does_is_counted(self) -> None:
        assert (
            Round(played(0.1), {"source": 1.0, "opus": 2.0, "paced": 4.0, "hot": 99.0}).everything_us == 7.0
        )


class TestCallsFor:
    @pytest.mark.parametrize(("load", "calls"), [(0.5, 100), (0.8, 160), (0.95, 190)])
    def test_it_is_the_share_of_what_20_ms_have_room_for(self, load: float, calls: int) -> None:
        assert calls_for(load, 100.0, most=500) == calls

    def test_it_never_promises_more_than_the_share(self) -> None:
        assert calls_for(0.5, 150.0, most=500) * 150.0 <= 0.5 * 20_000

    def test_it_is_bounded(self) -> None:
        assert calls_for(0.95, 1.0, most=500) == 500
        assert calls_for(0.5, 1e6, most=500) == 1
