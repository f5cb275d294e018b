"""Does a bot that runs for long use ever more memory or descriptors?

This process is the bot: a pool of two workers, calls in 40 guilds, all end-to-end encrypted, on a stand-in in
a process of its own. At a steady pace, in an order that the seed decides, a guild plays something else,
seeks, goes through a queue, or leaves and joins again. Memory is what a process has for itself and its part
of what it shares (PSS); the line through its samples, the first fifth left out, is printed as MiB an hour.

Descriptors and threads are counted before and after, when each guild plays one song and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.chaos_bot import Bot, open_bot, pss_bytes
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.soak_samples import Slope, slope
from voicepool.errors import VoicePoolError
from voicepool.pool import VoicePool
from voicepool.stats import PoolStats

__all__ = ["run"]

SEED: Final = 7
GROWTH_GOAL_MIB_H: Final = 5.0
_MIB: Final = 1 << 20
_SONG_S: Final = 600.0
_SHORT_S: Final = 2.0
_WARM_UP_SHARE: Final = 0.2
_PROC: Final = Path("/proc")
_BOT: Final = "bot"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    guilds: int
    seconds: float
    sample_s: float
    deeds_per_s: float
    rest_s: float

    @classmethod
    def of(cls, options: Options) -> _Plan:
        if options.quick:
            return cls(guilds=4, seconds=2.0, sample_s=0.25, deeds_per_s=8.0, rest_s=0.2)
        seconds = 60.0 * (options.minutes or 30.0)
        sample_s = min(10.0, seconds / 60)
        return cls(guilds=40, seconds=seconds, sample_s=sample_s, deeds_per_s=5.0, rest_s=2.0)


@dataclass(slots=True)
class _Samples:
    """By process: when memory was looked at, and how much it was in MiB."""

    at_s: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)

    def take(self, processes: dict[str, int], stats: PoolStats, now_s: float) -> None:
        """Look at all processes, by name and process id."""
        # Of a worker, which is not dumpable, the kernel tells root alone; its own word is up to 3 s old.
        own = {worker.name: worker.pss_bytes for worker in stats.workers}
        found = {name: pss_bytes(pid) or own.get(name) for name, pid in processes.items()}
        if any(used is None for used in found.values()):
            return
        self.at_s.append(now_s)
        for name, used in found.items():
            assert used is not None
            self.mib.setdefault(name, []).append(used / _MIB)

    def slope_of(self, name: str) -> Slope:
        """Return the growth of a process, its warm-up left out."""
        first = int(len(self.at_s) * _WARM_UP_SHARE)
        return slope(self.at_s[first:], self.mib[name][first:])


async def run(options: Options) -> Result:
    """Let it run."""
    plan = _Plan.of(options)
    began_s = time.monotonic()
    samples = _Samples()
    async with open_bot(_SONG_S, workers=2) as bot:
        guilds = list(range(1, plan.guilds + 1))
        await bot.join(guilds)
        user = _User(bot)
        for guild in guilds:
            await user.play(guild)
        processes = {_BOT: os.getpid()}
        processes |= {info.name: info.pid for info in bot.pool.workers if info.pid is not None}
        # The first of each kind of deed loads what it needs.
        for guild, deed in zip(guilds, user.deeds, strict=False):
            await user.do(deed, guild)
        await user.calm_down(guilds, plan.rest_s)
        before = {name: _counts(pid) for name, pid in processes.items()}
        await _run_for(plan, user, samples, processes, bot.pool)
        await user.calm_down(guilds, plan.rest_s)
        after = {name: _counts(pid) for name, pid in processes.items()}
        totals = await bot.ask("totals")
        turns_given_up = bot.pool.stats().ticks_skipped
        lost = [guild for guild, call in bot.calls.items() if call.closed]
        replaced = sorted(set(processes) - {_BOT} - {info.name for info in bot.pool.workers})
    figures = [figure for name in processes for figure in _figures_of_memory(name, samples)]
    figures += _figures_of_counts(before, after)
    deeds = ", ".join(f"{name} {count}" for name, count in sorted(user.done.items()))
    group = f"the whole run, {plan.guilds} guilds, {totals['packets']:,} packets"
    ends = {"guilds lost": len(lost), "workers lost": len(replaced), "deeds that failed": len(user.failed)}
    figures += [
        Figure(group=group, name=name, value=value, unit="", goal=Goal(0)) for name, value in ends.items()
    ]
    figures.append(
        Figure(group=group, name="rules broken", value=len(totals["violations"]), unit="", goal=Goal(0))
    )
    return Result(
        name="soak",
        question=BENCHMARKS["soak"].question,
        seconds=time.monotonic() - began_s,
        figures=figures,
        notes=[
            f"seed {SEED}; {deeds}",
            f"{totals['sessions']} voice sessions; {len(samples.at_s)} samples of memory",
            # Each is a leap of the timestamps of all that were sent to: no defect where others had the core.
            f"{turns_given_up} turns that workers gave up after stalls of more than 60 ms",
            *(f"failed: {text}" for text in user.failed[:5]),
            *(f"broken: {violation}" for violation in totals["violations"]),
        ],
    )


class _User:
    """Does to guilds what their members would.

    Attributes
    ----------
    deeds
        What there is to do.
    done
        How often each was done.
    failed
        What went wrong, in sentences.
    """

    def __init__(self, bot: Bot) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.chance: Final = random.Random(SEED)
        self.deeds: Final[tuple[Callable[[int], Awaitable[None]], ...]] = (
            self.play,
            self.seek,
            self.go_through_queue,
            self.rejoin,
        )
        self._bot = bot

    async def do(self, deed: Callable[[int], Awaitable[None]], guild: int) -> None:
        """Do something; what goes wrong is put down."""
        name = getattr(deed, "__name__", "deed").replace("_", " ")
        self.done[name] += 1
        try:
            await deed(guild)
        except VoicePoolError as error:
            self.failed.append(f"{name} in guild {guild}: {type(error).__name__}: {error}")

    async def calm_down(self, guilds: Sequence[int], rest_s: float) -> None:
        """Have each guild play the same song and nothing else, and wait until all else has been put away."""
        for guild in guilds:
            call = self._bot.calls[guild]
            call.queue.clear()
            await call.start(self._bot.songs.numbered)
        await asyncio.sleep(rest_s)

    async def play(self, guild: int) -> None:
        """Play something, from somewhere on."""
        songs = self._bot.songs
        file = self.chance.choice((songs.numbered, songs.numbered, songs.sweep))
        await self._bot.calls[guild].start(file, position_s=self._place_s())

    async def seek(self, guild: int) -> None:
        """Go elsewhere in what plays."""
        call = self._bot.calls[guild]
        if call.track is None:
            await self.play(guild)
        else:
            await call.seek(self._place_s())

    async def go_through_queue(self, guild: int) -> None:
        """Play two short pieces and a long one."""
        queue, songs = self._bot.calls[guild].queue, self._bot.songs
        queue.clear()
        for file in (songs.numbered, songs.sweep):
            start_s = self._place_s()
            queue.add(file, start_s=start_s, end_s=start_s + _SHORT_S)
        queue.add(songs.numbered, loop=True)
        await queue.skip()

    async def rejoin(self, guild: int) -> None:
        """Leave, join again, and play."""
        await self._bot.leave(guild)
        await self._bot.join([guild])
        await self.play(guild)

    def _place_s(self) -> float:
        # Not so far on that what plays ends before something else is done there, most of the time.
        return self.chance.uniform(0.0, _SONG_S / 4)


async def _run_for(
    plan: _Plan, user: _User, samples: _Samples, processes: dict[str, int], pool: VoicePool
) -> None:
    """Do things at a steady pace, each guild one at a time, and take samples."""
    loop = asyncio.get_running_loop()
    busy: dict[int, asyncio.Task[None]] = {}
    began_s = loop.time()
    next_sample_s = next_deed_s = began_s
    try:
        while (now_s := loop.time()) < began_s + plan.seconds:
            if now_s >= next_sample_s:
                next_sample_s += plan.sample_s
                await asyncio.to_thread(samples.take, processes, pool.stats(), now_s - began_s)
            if now_s >= next_deed_s:
                next_deed_s += 1 / plan.deeds_per_s
                guild = user.chance.randint(1, plan.guilds)
                deed = user.chance.choice(user.deeds)
                if guild not in busy or busy[guild].done():
                    busy[guild] = asyncio.create_task(user.do(deed, guild))
            await asyncio.sleep(max(0.0, min(next_sample_s, next_deed_s) - loop.time()))
    finally:
        await asyncio.gather(*busy.values())


def _counts(pid: int) -> tuple[int, int]:
    """Return how many open descriptors and threads a process has; 0 where that cannot be told."""
    counts = []
    for folder in ("fd", "task"):
        entries = 0
        with contextlib.suppress(OSError):
            entries = len(list((_PROC / str(pid) / folder).iterdir()))
        counts.append(entries)
    return counts[0], counts[1]


def _figures_of_memory(name: str, samples: _Samples) -> list[Figure]:
    mib = samples.mib.get(name)
    if not mib:
        return []
    found = samples.slope_of(name)
    group = f"memory of {'the bot' if name == _BOT else f'worker {name}'}"
    rows: list[tuple[str, float, str, Goal | None]] = [
        ("at first", mib[0], "MiB", None),
        ("at last", mib[-1], "MiB", None),
        ("slope", found.an_hour, "MiB/h", None),
        # A goal on the slope itself would be missed by chance in short runs.
        ("slope, at least (95 %)", max(0.0, found.at_least), "MiB/h", Goal(GROWTH_GOAL_MIB_H)),
    ]
    return [
        Figure(group=group, name=label, value=value, unit=unit, goal=goal)
        for label, value, unit, goal in rows
    ]


def _figures_of_counts(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[Figure]:
    figures = []
    # A guild that joins again may come to another worker: those count together.
    parts = {"bot": [_BOT], "workers": [name for name in before if name != _BOT]}
    for part, names in parts.items():
        for place, what in enumerate(("descriptors", "threads")):
            first = sum(before[name][place] for name in names)
            if first == 0:
                # There is no such process: what workers have open is told to root alone.
                continue
            last = sum(after[name][place] for name in names)
            group = f"{what} of the {part}"
            figures.append(Figure(group=group, name="at first", value=first, unit=""))
            figures.append(
                Figure(
                    group=group,
                    name="growth",
                    value=last - first,
                    unit="",
                    goal=Goal(0) if what == "descriptors" else None,
                )
            )
    return figures
