"""What do listeners notice when workers are drained, replaced, or change in number?

This process is the bot: a pool of two workers, calls in 30 guilds, all end-to-end encrypted, on a stand-in in
a process of its own. Each worker is drained (`VoicePool.drain`), then all are replaced one by one
(`VoicePool.restart`), then nothing but the file of settings is changed: one worker, four, one.

What guilds play tells where in the source a listener is, as in `benchmarks.chaos`. A call that moves may be
silent for as long as its new worker needs to come into the call; it must not repeat or leave out a frame.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.chaos_bot import Bot, open_bot, percentile, worker_processes
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result

__all__ = ["run"]

GAP_P99_GOAL_MS: Final = 500.0
POSITION_GOAL_MS: Final = 100.0
_SILENT_MS: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much: the thorough and the quick version.

    Of each guild `tail_packets` are waited for after each step, so that its last gap is over.
    """

    guilds: int
    encoded: int
    late: int
    sizes: tuple[int, ...]
    restart: bool
    tail_packets: int
    song_s: float


_THOROUGH: Final = _Plan(
    guilds=30, encoded=3, late=12, sizes=(1, 4, 1), restart=True, tail_packets=50, song_s=400.0
)
_QUICK: Final = _Plan(guilds=4, encoded=1, late=0, sizes=(1,), restart=False, tail_packets=10, song_s=100.0)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something that was done, and what its listeners heard.

    Attributes
    ----------
    name
        What.
    seconds
        How long it took.
    gaps_ms, moved_ms
        Of each call that it concerned: the longest gap, infinite if it did not end; and the change of place
        across it, as far as that can be told.
    """

    name: str
    seconds: float
    gaps_ms: Sequence[float]
    moved_ms: Sequence[float]


async def run(options: Options) -> Result:
    """Go through it."""
    plan = _QUICK if options.quick else _THOROUGH
    began_s = time.monotonic()
    async with open_bot(plan.song_s, workers=2, config_check_s=0.2) as bot:
        guilds = list(range(1, plan.guilds + 1))
        encoded = guilds[: plan.encoded]
        await bot.join(guilds, sound=encoded)
        for guild in guilds:
            bot.play(guild)
        await bot.settle(plan.tail_packets)
        steps = []
        for info in bot.pool.workers:
            concerned = bot.guilds_at(info.name)
            steps.append(await _do(bot, plan, "drain a worker", bot.pool.drain(info.name), concerned))
        if plan.restart:
            steps.append(await _do(bot, plan, "replace all workers", bot.pool.restart(), guilds))
        before = 2
        for size in plan.sizes:
            bot.configure(workers=size)
            # What the pool does is done when as many workers as wanted, and no others, are there.
            steps.append(await _do(bot, plan, f"file: {before} to {size}", bot.until_ready(size), guilds))
            before = size
            if size == max(plan.sizes):
                # The new workers take new calls, so that there is something to move away from them.
                await _join_more(bot, range(plan.guilds + 1, plan.guilds + plan.late + 1), guilds)
        jumps = await bot.ask("jumps", guilds=[guild for guild in guilds if guild not in encoded])
        silent = await bot.ask("silent", than_ms=_SILENT_MS)
        totals = await bot.ask("totals")
        lost = {guild: bot.ended.get(guild, "nothing comes any more") for guild in {*bot.ended, *silent}}
        events = ", ".join(f"{name} {count}" for name, count in sorted(bot.events.items())) or "none"
    left = worker_processes()
    group = f"the whole run, {len(guilds)} guilds, end-to-end encrypted, {totals['packets']:,} packets"
    whole = {
        "guilds lost": (len(lost), "guilds"),
        "frames left out": (sum(missed for missed, _ in jumps), "frames"),
        "frames repeated": (sum(repeated for _, repeated in jumps), "frames"),
        "orphans at the end": (len(left), "processes"),
        "nonces used twice": (totals["nonce_reuses"], ""),
        "frames not decrypted": (totals["undecrypted"], "frames"),
        "rules broken": (len(totals["violations"]), ""),
    }
    return Result(
        name="drain",
        question=BENCHMARKS["drain"].question,
        seconds=time.monotonic() - began_s,
        figures=[
            *(figure for step in steps for figure in _figures(step)),
            *(
                Figure(group=group, name=name, value=value, unit=unit, goal=Goal(0))
                for name, (value, unit) in whole.items()
            ),
        ],
        notes=[
            f"events of the pool: {events}",
            *(f"guild {guild} was lost: {why}" for guild, why in sorted(lost.items())),
            *(f"broken: {violation}" for violation in totals["violations"]),
        ],
    )


async def _join_more(bot: Bot, new: Iterable[int], guilds: list[int]) -> None:
    await bot.join(new)
    for guild in new:
        bot.play(guild)
        guilds.append(guild)
    await bot.settle(packets=20)


async def _do(bot: Bot, plan: _Plan, name: str, deed: Awaitable[object], guilds: Sequence[int]) -> _Step:
    from_ns = time.monotonic_ns()
    await deed
    seconds = (time.monotonic_ns() - from_ns) / 1e9
    until_ns = time.monotonic_ns()
    await bot.settle(plan.tail_packets)
    (answer,) = await bot.ask(
        "breaks", windows=[{"from_ns": from_ns, "until_ns": until_ns, "guilds": list(guilds)}]
    )
    gaps_ms = [float("inf") if broken["gap_ms"] is None else broken["gap_ms"] for broken in answer]
    moved_ms = [broken["moved_ms"] for broken in answer if broken["moved_ms"] is not None]
    return _Step(name, seconds, gaps_ms, moved_ms)


def _figures(step: _Step) -> list[Figure]:
    group = f"{step.name}: {len(step.gaps_ms)} calls"
    # Nothing any more is as long as anybody looked.
    gaps_ms = [min(gap_ms, step.seconds * 1_000) for gap_ms in step.gaps_ms]
    moved_ms = max((abs(moved) for moved in step.moved_ms), default=0.0)
    rows: list[tuple[str, float, str, Goal | None]] = [
        ("it took", step.seconds, "s", None),
        ("gap p50", percentile(gaps_ms, 50), "ms", None),
        ("gap p99", percentile(gaps_ms, 99), "ms", Goal(GAP_P99_GOAL_MS)),
        ("position error max", moved_ms, "ms", Goal(POSITION_GOAL_MS)),
    ]
    return [
        Figure(group=group, name=name, value=value, unit=unit, goal=goal) for name, value, unit, goal in rows
    ]
