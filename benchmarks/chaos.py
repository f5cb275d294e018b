"""What do listeners notice when workers are killed, hang, or leak memory?

This process is the bot: a pool of three workers and a spare, calls in 40 guilds, all end-to-end encrypted, on
a stand-in in a process of its own. After a calm time, a random worker is killed (SIGKILL), stopped (SIGSTOP)
or made to leak memory every ten seconds.

Most guilds play numbered packets that pass through a worker, some a rising tone that it encodes: both tell
where in the source a listener is. A *gap* is the longest time without a packet in the ten seconds after an
incident, in a guild whose call was at that worker; the *position* is compared across the gap.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.chaos_bot import Bot, LoopWatch, open_bot, percentile, worker_processes
from benchmarks.chaos_incidents import Incident, Kind, OrphanWatch, kinds, strike
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import BenchmarkError
from voicepool.config import PoolConfig
from voicepool.pool import VoicePool

__all__ = ["Suffered", "run"]

SEED: Final = 5
GAP_P50_GOAL_MS: Final = 500.0
GAP_P99_GOAL_MS: Final = 1_500.0
POSITION_GOAL_MS: Final = 100.0
LOOP_RATIO_GOAL: Final = 1.2
LOOP_GOAL_MS: Final = 1.0
_HEADROOM_MIB: Final = 64
"""What a worker may use beyond what an idle one does: calls need about one MiB each."""
_MOST_QUESTIONS: Final = 50
_QUESTION_PAUSE_S: Final = 0.1
_SILENT_MS: Final = 2_000.0
_MARGIN_S: Final = 0.25
_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    workers: int
    guilds: int
    encoded: int
    calm_s: float
    chaos_s: float
    every_s: float
    after_s: float
    kinds: tuple[Kind, ...] | None = None

    @property
    def song_s(self) -> float:
        # A guild begins two seconds into the source behind the one before it.
        return self.calm_s + self.chaos_s + self.after_s + 2.0 * self.guilds + 120.0

    @classmethod
    def of(cls, options: Options) -> _Plan:
        if options.quick:
            return cls(2, 4, 1, calm_s=0.3, chaos_s=2.0, every_s=2.0, after_s=0.0, kinds=(Kind.KILL,))
        chaos_s = 60.0 * (options.minutes or 3.0)
        return cls(3, 40, 4, calm_s=min(30.0, chaos_s), chaos_s=chaos_s, every_s=10.0, after_s=5.0)


@dataclass(frozen=True, slots=True)
class Suffered:
    """What became of one guild in one incident.

    Attributes
    ----------
    incident
        What it suffered from.
    gap_ms
        Infinite if nothing was heard any more.
    moved_ms
        As in `benchmarks.chaos_trace.Break`.
    """

    incident: Incident
    gap_ms: float
    moved_ms: float | None


async def run(options: Options) -> Result:
    """Let it happen."""
    plan = _Plan.of(options)
    began_s = time.monotonic()
    limit_mib = await _idle_mib() + _HEADROOM_MIB
    settings: dict[str, Any] = {
        "workers": plan.workers,
        "spare_workers": 1,
        "memory_limit_mib": limit_mib,
    }
    async with open_bot(plan.song_s, **settings) as bot, LoopWatch() as loop, OrphanWatch(bot) as orphans:
        guilds = range(1, plan.guilds + 1)
        await bot.join(guilds, sound=guilds[: plan.encoded])
        for guild in guilds:
            bot.play(guild)
        await bot.settle(packets=20)
        loop.take()
        await asyncio.sleep(plan.calm_s)
        calm_ms = loop.take()
        incidents = await _cause_chaos(bot, plan)
        chaos_ms = loop.take()
        await asyncio.sleep(plan.after_s)
        suffered = await _ask_what_was_heard(bot, incidents, plan.every_s)
        silent = set(await bot.ask("silent", than_ms=_SILENT_MS))
        totals = await bot.ask("totals")
        lost = {guild: bot.ended.get(guild, "nothing comes any more") for guild in {*bot.ended, *silent}}
        on_the_way, pids = orphans.found, bot.pids
    left = await asyncio.to_thread(worker_processes)
    figures = [
        *_figures_of_gaps(plan, suffered),
        *_figures_of_the_whole(plan, lost, on_the_way, left),
        _figure_of_the_loop(calm_ms, chaos_ms),
        *_figures_of_the_stand_in(totals),
    ]
    events = ", ".join(f"{name} {count}" for name, count in sorted(bot.events.items())) or "none"
    notes = [
        f"seed {SEED}; {len(incidents)} incidents, {len(pids)} worker processes",
        f"{totals['packets']:,} packets in {totals['sessions']} voice sessions",
        f"new credentials asked for {bot.rejoins} times",
        f"events of the pool: {events}",
        "settings: " + ", ".join(f"{key}={value}" for key, value in settings.items()),
        *_notes_of_incidents(incidents, suffered),
        *(f"guild {guild} was lost: {why}" for guild, why in sorted(lost.items())),
        *(f"broken: {violation}" for violation in totals["violations"]),
    ]
    return Result(
        name="chaos",
        question=BENCHMARKS["chaos"].question,
        seconds=time.monotonic() - began_s,
        figures=figures,
        notes=notes,
    )


async def _idle_mib() -> int:
    """Return what a worker without calls uses, in MiB."""
    async with VoicePool(PoolConfig(workers=1)) as pool:
        # It says so itself: of a process that is not dumpable, the kernel tells nobody else but root.
        for _ in range(_MOST_QUESTIONS):
            for worker in (await pool.refresh_stats()).workers:
                if worker.pss_bytes is not None:
                    return worker.pss_bytes >> 20
            await asyncio.sleep(_QUESTION_PAUSE_S)
    raise BenchmarkError("this platform does not tell how much memory a process uses (smaps_rollup)")


async def _cause_chaos(bot: Bot, plan: _Plan) -> list[Incident]:
    wanted = iter(plan.kinds) if plan.kinds is not None else kinds(random.Random(SEED))
    # Who is struck depends on who is there; what is done does not, so that two runs can be compared.
    chance = random.Random(SEED)
    incidents: list[Incident] = []
    loop = asyncio.get_running_loop()
    next_s, end_s = loop.time(), loop.time() + plan.chaos_s
    while next_s < end_s - plan.every_s / 2:
        incident = await strike(bot, next(wanted), chance)
        if incident is not None:
            incidents.append(incident)
        next_s += plan.every_s
        await asyncio.sleep(next_s - loop.time())
    return incidents


async def _ask_what_was_heard(bot: Bot, incidents: Sequence[Incident], span_s: float) -> list[Suffered]:
    windows = [
        {
            "from_ns": incident.at_ns,
            # What begins with the next incident is that one's.
            "until_ns": incident.at_ns + round((span_s - _MARGIN_S) * _NS),
            "guilds": list(incident.guilds),
        }
        for incident in incidents
    ]
    answers = await bot.ask("breaks", windows=windows)
    return [
        Suffered(
            incident,
            float("inf") if broken["gap_ms"] is None else broken["gap_ms"],
            broken["moved_ms"],
        )
        for incident, answer in zip(incidents, answers, strict=True)
        for broken in answer
    ]


def _figures_of_gaps(plan: _Plan, suffered: Sequence[Suffered]) -> list[Figure]:
    figures = []
    for kind in Kind:
        some = [one for one in suffered if one.incident.kind is kind]
        if not some:
            continue
        group = f"workers that were {kind}: {len(some)} calls of theirs"
        # Nothing any more is as long as anybody looked.
        gaps_ms = [min(one.gap_ms, plan.every_s * 1_000) for one in some]
        goals = (GAP_P50_GOAL_MS, GAP_P99_GOAL_MS, None) if kind is Kind.KILL else (None, None, None)
        for (name, percent), goal in zip((("p50", 50), ("p99", 99), ("max", 100)), goals, strict=True):
            figures.append(
                Figure(
                    group=group,
                    name=f"gap {name}",
                    value=percentile(gaps_ms, percent),
                    unit="ms",
                    goal=None if goal is None else Goal(goal),
                )
            )
        moved_ms = [abs(one.moved_ms) for one in some if one.moved_ms is not None]
        figures.append(
            Figure(
                group=group,
                name="position error max",
                value=max(moved_ms, default=0.0),
                unit="ms",
                goal=Goal(POSITION_GOAL_MS),
            )
        )
        figures.append(
            Figure(group=group, name="position not told", value=len(some) - len(moved_ms), unit="calls")
        )
    return figures


def _notes_of_incidents(incidents: Sequence[Incident], suffered: Sequence[Suffered]) -> list[str]:
    notes = []
    for incident in incidents:
        some = [one for one in suffered if one.incident is incident]
        gaps_ms = [one.gap_ms for one in some]
        moved_ms = [one.moved_ms for one in some if one.moved_ms is not None]
        notes.append(
            f"{incident.worker} {incident.kind}, {len(some)} calls: gap p50 {percentile(gaps_ms, 50):.0f}, "
            f"max {max(gaps_ms, default=0.0):.0f} ms; position "
            f"{min(moved_ms, default=0.0):+.0f} to {max(moved_ms, default=0.0):+.0f} ms"
        )
    return notes


def _figures_of_the_whole(
    plan: _Plan, lost: dict[int, str], on_the_way: set[int], left: set[int]
) -> list[Figure]:
    group = f"{plan.workers} workers, {plan.guilds} guilds, end-to-end encrypted"
    return [
        Figure(group=group, name="guilds lost", value=len(lost), unit="guilds", goal=Goal(0)),
        Figure(group=group, name="orphans on the way", value=len(on_the_way), unit="processes", goal=Goal(0)),
        Figure(group=group, name="orphans at the end", value=len(left), unit="processes", goal=Goal(0)),
    ]


def _figure_of_the_loop(calm_ms: Sequence[float], chaos_ms: Sequence[float]) -> Figure:
    calm = percentile(calm_ms, 99)
    return Figure(
        group="the bot's event loop",
        name="late p99, in chaos",
        value=percentile(chaos_ms, 99),
        unit="ms",
        bare=calm,
        bare_name="calm, same run",
        goal=Goal(max(LOOP_GOAL_MS, LOOP_RATIO_GOAL * calm)),
    )


def _figures_of_the_stand_in(totals: dict[str, Any]) -> list[Figure]:
    group = "what the stand-in has against it"
    return [
        Figure(group=group, name="nonces used twice", value=totals["nonce_reuses"], unit="", goal=Goal(0)),
        Figure(group=group, name="frames not decrypted", value=totals["undecrypted"], unit="frames"),
        Figure(group=group, name="rules broken", value=len(totals["violations"]), unit="", goal=Goal(0)),
    ]
