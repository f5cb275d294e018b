"""How late do packets leave when a core has nearly all the calls it can encode?

One worker plays a WAV in as many calls as take 50 %, 80 % and 95 % of its core at Opus complexity 10, once
with its encoder thread in the idle scheduling class and once in the normal one. Each packet's lateness,
against the instant it was due, is counted by the worker's pacing thread; the percentiles are over the
measured span only. Underruns are ticks at which a call had no frame ready.

How many calls a core takes is found on the way: a first span gives the worker's CPU time per frame, all
included, and each later one corrects it, because frames become cheaper as a core gets busier. The share that
was really used is shown with each load, and the number of calls beside what libopus alone would take: of
that no worker can reach 95 %, since something has to decode, seal and send as well.

A span in which other processes used the machine is measured anew, up to three times; the one that was
disturbed least is shown, whatever its figures are.

The bare figure beside a lateness is that of a thread which sends on as many sockets with nothing to encode,
on the same core in the same run: what timer, kernel and hypervisor allow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import Rig, open_rig, open_sources
from benchmarks.span import TAINTED_SHARE, Span, buckets_us, doubts, lateness_ms
from voicepool.ipc.histogram import LatenessHistogram

__all__ = ["run"]

LOADS: Final = (0.50, 0.80, 0.95)
P99_GOAL_MS: Final = 0.3
P999_GOAL_MS: Final = 1.0
LATENESS_GOAL_LOAD: Final = 0.80
UNDERRUN_GOAL_LOAD: Final = 0.95
_FRAME_US: Final = 20_000.0
_PERCENTS: Final = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))

EncoderClass = Literal["idle", "normal"]
_CLASSES: Final[tuple[EncoderClass, ...]] = ("idle", "normal")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    first_calls: int
    most_calls: int
    span_s: float
    settle_s: float
    bare_s: float
    tries: int
    start_s: float
    """How long opening all sources may take, during which the first play already."""

    @property
    def source_s(self) -> float:
        return self.start_s + self.settle_s + self.span_s


_THOROUGH: Final = _Plan(
    first_calls=64, most_calls=450, span_s=20.0, settle_s=3.0, bare_s=3.0, tries=3, start_s=40.0
)
_QUICK: Final = _Plan(
    first_calls=2, most_calls=3, span_s=0.2, settle_s=0.05, bare_s=0.05, tries=1, start_s=8.0
)


async def run(options: Options) -> Result:
    """Measure."""
    plan = _QUICK if options.quick else _THOROUGH
    began_s = time.monotonic()
    figures: list[Figure] = []
    histograms: dict[str, list[tuple[int, int]]] = {}
    notes = [note for note in (options.cores.note,) if note]
    async with open_sources(plan.source_s) as sources:
        for encoder_class in _CLASSES:
            async with open_rig(options.cores, encoder_class=encoder_class) as rig:
                got = rig.pool.workers[0].encoder_class
                if got != encoder_class:
                    notes.append(f"this platform gave the encoder the class {got}, not {encoder_class}")
                series = _Series(rig, plan, encoder_class, wav=sources.wav, opus=sources.opus)
                await series.run()
                figures += series.figures
                histograms |= series.histograms
                notes += series.notes
    return Result(
        name="pacing",
        question=BENCHMARKS["pacing"].question,
        seconds=time.monotonic() - began_s,
        figures=figures,
        histograms=histograms,
        notes=notes,
    )


class _Series:
    """All loads with one scheduling class."""

    def __init__(self, rig: Rig, plan: _Plan, encoder_class: EncoderClass, *, wav: Path, opus: Path) -> None:
        self._rig = rig
        self._plan = plan
        self._class = encoder_class
        self._wav = wav
        self._opus = opus
        self.figures: list[Figure] = []
        self.histograms: dict[str, list[tuple[int, int]]] = {}
        self.notes: list[str] = []

    async def run(self) -> None:
        """Measure them."""
        config = self._rig.pool.config
        bare_us = await self._rig.bare(
            "encode",
            self._wav,
            seconds=self._plan.bare_s,
            streams=self._plan.first_calls,
            complexity=config.complexity,
            bitrate_bps=config.bitrate_bps,
        )
        frame_us = (await self._measure(self._plan.first_calls)).frame_us
        for load in LOADS:
            calls = calls_for(load, frame_us, self._plan.most_calls)
            bare = await self._rig.bare(
                "packets_paced",
                self._opus,
                target=list(self._rig.sink),
                streams=calls,
                seconds=self._plan.bare_s,
            )
            spans = [await self._measure(calls)]
            while spans[-1].disturbance > TAINTED_SHARE and len(spans) < self._plan.tries:
                spans.append(await self._measure(calls))
            span = min(spans, key=lambda each: each.disturbance)
            self._add(load, calls, span, bare, bare_us)
            frame_us = span.frame_us
        self.figures += self._rig.figures_of_loss(await self._rig.totals())

    async def _measure(self, calls: int) -> Span:
        await self._rig.play(self._wav, calls, settle_s=self._plan.settle_s)
        span = await self._rig.measure(self._plan.span_s)
        await self._rig.stop()
        return span

    def _add(self, load: float, calls: int, span: Span, bare: dict[str, Any], bare_us: float) -> None:
        group = f"encoder {self._class}, {load:.0%} of a core: {calls} calls"
        alone = LatenessHistogram(bare["lateness_counts"], bare["lateness_max_us"])
        judged = self._class == "idle"
        goals = {"p99": P99_GOAL_MS, "p99.9": P999_GOAL_MS} if judged and load == LATENESS_GOAL_LOAD else {}
        for name, percent in _PERCENTS:
            self.figures.append(
                Figure(
                    group=group,
                    name=f"lateness {name}",
                    value=lateness_ms(span.lateness, percent),
                    unit="ms",
                    bare=lateness_ms(alone, percent),
                    bare_name="sending alone",
                    goal=Goal(goals[name]) if name in goals else None,
                )
            )
        self.figures += [
            Figure(
                group=group,
                name="lateness max",
                value=span.lateness.max_us / 1_000,
                unit="ms",
                bare=alone.max_us / 1_000,
                bare_name="sending alone",
            ),
            Figure(
                group=group,
                name="underruns",
                value=span.nulled,
                unit="ticks",
                goal=Goal(0) if judged and load == UNDERRUN_GOAL_LOAD else None,
            ),
            Figure(group=group, name="packets", value=span.frames, unit="packets"),
            Figure(group=group, name="share of the core used", value=100 * span.cpu_share, unit="%"),
            Figure(
                group=group,
                name="calls",
                value=calls,
                unit="calls",
                bare=_FRAME_US / bare_us,
                bare_name="libopus alone, whole core",
            ),
        ]
        self.histograms[group] = buckets_us(span.lateness)
        self.notes += doubts(group, [span])


def calls_for(load: float, frame_us: float, most: int) -> int:
    """Return how many calls take `load` of a core, at this CPU time per frame; at least 1, at most `most`."""
    return max(1, min(most, int(load * _FRAME_US / frame_us)))
