from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report import Goal
from benchmarks.rounds import Round, maker, means, middle
from benchmarks.span import Span
from voicepool.ipc.histogram import LatenessHistogram


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
        bare = {"source": 1.0, "opus": 2.0, "paced": 4.0, "filters": 8.0, "hot": 99.0}
        assert Round(played(0.1), bare).everything_us == 15.0
        assert Round(played(0.1), {"source": 1.0, "paced": 4.0}).everything_us == 5.0


def test_a_bare_cost_is_the_mean_of_those_around_the_span() -> None:
    assert means({"opus": 100.0, "paced": 8.0}, {"opus": 140.0, "paced": 4.0}) == {
        "opus": 120.0,
        "paced": 6.0,
    }


def test_figures_are_in_microseconds_and_of_their_group() -> None:
    figure = maker("4 guilds")("worker", 12.0, 6.0, "libopus", goal=Goal(1.5, of="ratio"))
    assert (figure.group, figure.unit, figure.ratio, figure.met) == ("4 guilds", "µs", 2.0, False)
