"""Does a bot that blocks its own event loop delay a packet?

This process is the bot: the pool is its, and it plays an MP3 in eight guilds. Spans in which it does nothing
alternate with spans in which it computes in pure Python, three times for a second, on its event loop's own
thread, so that nothing else of the bot runs. All busy spans together are compared with all calm ones; their
lateness stands beside each other as a figure beside its bare cost.

The spans alternate because a shared machine changes from one minute to the next. Packets are counted by the
stand-in, in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import Rig, open_rig, open_sources
from benchmarks.span import Span, buckets_us, doubts, lateness_ms, merged

__all__ = ["run"]

P99_RATIO_GOAL: Final = 1.20
_PERCENTS: Final = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))
_BLOCKS: Final = 3


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    guilds: int
    rounds: int
    block_s: float
    pause_s: float
    settle_s: float

    @property
    def span_s(self) -> float:
        return _BLOCKS * (self.block_s + self.pause_s)

    @property
    def source_s(self) -> float:
        return 2 * self.rounds * self.span_s + self.settle_s + 15.0


_THOROUGH: Final = _Plan(guilds=8, rounds=6, block_s=1.0, pause_s=0.3, settle_s=2.0)
_QUICK: Final = _Plan(guilds=2, rounds=1, block_s=0.1, pause_s=0.05, settle_s=0.1)


async def run(options: Options) -> Result:
    """Measure."""
    plan = _QUICK if options.quick else _THOROUGH
    began_s = time.monotonic()
    calm: list[Span] = []
    busy: list[Span] = []
    async with open_sources(plan.source_s) as sources, open_rig(options.cores) as rig:
        await rig.play(sources.mp3, plan.guilds, settle_s=plan.settle_s)
        for _ in range(plan.rounds):
            calm.append(await rig.measure(plan.span_s))
            busy.append(await _measure_busy(rig, plan))
        await rig.stop()
        loss = rig.figures_of_loss(await rig.totals())
    notes = [note for note in (options.cores.note,) if note]
    notes += doubts("calm", calm) + doubts("busy", busy)
    return Result(
        name="busy_bot",
        question=BENCHMARKS["busy_bot"].question,
        seconds=time.monotonic() - began_s,
        figures=[*_figures(plan, calm, busy), *loss],
        histograms={"calm": buckets_us(merged(calm)), "busy": buckets_us(merged(busy))},
        notes=notes,
    )


async def _measure_busy(rig: Rig, plan: _Plan) -> Span:
    before = await rig.look()
    for _ in range(_BLOCKS):
        _compute(plan.block_s)
        await asyncio.sleep(plan.pause_s)
    return await rig.span_since(before)


def _compute(seconds: float) -> int:
    """Keep this thread busy in pure Python, as a careless command of a bot does."""
    total, until_s = 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        total += sum(number * number for number in range(1_000))
    return total


def _figures(plan: _Plan, calm: list[Span], busy: list[Span]) -> list[Figure]:
    blocked = plan.block_s / (plan.block_s + plan.pause_s)
    group = f"{plan.guilds} guilds, the bot's event loop blocked {blocked:.0%} of the time"
    late, calm_late = merged(busy), merged(calm)
    figures = [
        Figure(
            group=group,
            name=f"lateness {name}, bot busy",
            value=lateness_ms(late, percent),
            unit="ms",
            bare=lateness_ms(calm_late, percent),
            bare_name="bot calm",
            goal=Goal(P99_RATIO_GOAL, of="ratio") if name == "p99" else None,
        )
        for name, percent in _PERCENTS
    ]
    return [
        *figures,
        Figure(
            group=group,
            name="lateness max, bot busy",
            value=late.max_us / 1_000,
            unit="ms",
            bare=calm_late.max_us / 1_000,
            bare_name="bot calm",
        ),
        *(
            Figure(group=group, name=name, value=value, unit=unit, goal=goal)
            for name, value, unit, goal in (
                ("underruns, bot busy", sum(span.nulled for span in busy), "ticks", Goal(0)),
                ("underruns, bot calm", sum(span.nulled for span in calm), "ticks", None),
                ("packets, bot busy", sum(span.frames for span in busy), "packets", None),
                ("packets, bot calm", sum(span.frames for span in calm), "packets", None),
            )
        ),
    ]
