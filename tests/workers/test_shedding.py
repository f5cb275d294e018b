"""From figures to the encoders' ceiling, and what the log says of it."""

from __future__ import annotations

import logging

import pytest

from voicepool.workers.audio.opus_encoder import Ceiling, Encoder
from voicepool.workers.governor import FIRST_CALM_S, LOOK_S
from voicepool.workers.sampling import SampledTime
from voicepool.workers.shedding import Shedding

STEP_NS = round(LOOK_S * 1e9)


class Threads:
    """Stands for encoder and pacing threads of a worker that makes `made` of 100 frames that are due."""

    role = "normal"

    def __init__(self) -> None:
        self.now_ns = 1_000 * STEP_NS
        self.worked = 0.0
        self.cpu_s = 1.0
        self.late_ns = 0
        self.packets = 0
        self.nulled = 0
        self.nulled_by_source = 0

    def worked_s(self, now_ns: int) -> float:
        assert now_ns == self.now_ns
        return self.worked

    def lag_ns(self, now_ns: int) -> int:
        assert now_ns == self.now_ns
        return self.late_ns


class Bench:
    def __init__(self, configured: int = 10) -> None:
        self.threads = Threads()
        self.ceiling = Ceiling()
        self.encoding = SampledTime(lambda: 1)
        self.encoder = Encoder(complexity=configured, ceiling=self.ceiling)
        self.shedding = Shedding(
            self.ceiling,
            self.threads,
            self.threads,
            configured=configured,
            ring_frames=8,
            encoding=self.encoding,
        )
        self.look()

    def look(self) -> None:
        self.shedding.look(self.threads.now_ns)

    def run(self, seconds: float, *, share: float, missing: int = 0, starving: int = 0) -> None:
        threads = self.threads
        for _ in range(round(seconds / LOOK_S)):
            threads.now_ns += STEP_NS
            threads.worked += share * LOOK_S
            threads.cpu_s += share * LOOK_S
            threads.packets += 100
            threads.nulled += missing + starving
            threads.nulled_by_source += starving
            for _ in range(90):
                self.encoding.begin()
            self.look()


def test_the_ceiling_comes_down_and_goes_up_again_and_each_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    with caplog.at_level(logging.INFO):
        bench.run(0.7, share=1.0, missing=3)
        assert (bench.shedding.complexity, bench.ceiling.complexity) == (5, 5)
        bench.run(2.0, share=1.0)
        assert (bench.shedding.complexity, bench.shedding.sheds) == (0, 3)
        bench.run(4 * FIRST_CALM_S, share=0.2)
    assert (bench.shedding.complexity, bench.ceiling.complexity) == (10, 10)
    assert bench.shedding.sheds == 3
    warning, info = caplog.records
    assert warning.levelno == logging.WARNING
    assert "Opus complexity is 5 at most" in warning.getMessage()
    assert "at work 100% of the time" in warning.getMessage()
    assert info.levelno == logging.INFO
    assert "as configured again after" in info.getMessage()
    assert "at work 20% of the time" in info.getMessage()


def test_what_a_source_owes_is_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.run(30.0, share=0.3, starving=50)
    assert bench.shedding.sheds == 0
    assert not caplog.records


def test_a_configured_complexity_below_the_ceiling_is_the_one_in_force() -> None:
    bench = Bench(configured=2)
    assert bench.shedding.complexity == 2
    bench.run(0.7, share=1.0)
    assert (bench.shedding.complexity, bench.ceiling.complexity) == (0, 0)
