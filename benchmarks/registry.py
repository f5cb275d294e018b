"""[pure] The benchmarks there are, and what each of them is given."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from benchmarks.machine import Cores
from benchmarks.report import Result

__all__ = ["BENCHMARKS", "Benchmark", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is to run.

    Attributes
    ----------
    cores
        Who gets which core.
    quick
        Do everything once and briefly: shows that it runs, its figures mean little.
    minutes
        How long it is to go on, for those that take a time; None for their own choice.
    """

    cores: Cores
    quick: bool = False
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of them.

    Attributes
    ----------
    name
        As it is asked for; the module of that name has ``async def run(options)``.
    question
        What it answers.
    minutes
        How long it goes on unless told otherwise, for those that can be told; None for the others. Those
        run only when they are named.
    """

    name: str
    question: str
    minutes: float | None = None

    def load(self) -> Callable[[Options], Awaitable[Result]]:
        """Import the module and return its ``run``."""
        module = importlib.import_module(f"benchmarks.{self.name}")
        return cast("Callable[[Options], Awaitable[Result]]", module.run)


BENCHMARKS: Final = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "frame_cost", "What CPU time does a worker spend on a frame, and how much of it is overhead?"
        ),
        Benchmark("player", "What does a worker spend on what it plays, and how soon is a change heard?"),
        Benchmark("pacing", "How late do packets leave when a core has nearly all the calls it can encode?"),
        Benchmark("busy_bot", "Does a bot that blocks its own event loop delay a packet?"),
        Benchmark("life_cycle", "What becomes of a call when something goes wrong?"),
        Benchmark(
            "drain", "What do listeners notice when workers are drained, replaced, or change in number?"
        ),
        Benchmark(
            "chaos", "What do listeners notice when workers are killed, hang, or leak memory?", minutes=3.0
        ),
        Benchmark("soak", "Does a bot that runs for long use ever more memory or descriptors?", minutes=30.0),
    )
}
"""In the order they run in when none is named; those that go on for minutes are then left out."""
