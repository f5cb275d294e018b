"""What is done to workers in the chaos run, and the watch for processes that nobody knows of."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from benchmarks.chaos_bot import Bot, worker_processes
from benchmarks.chaos_leak import leak
from voicepool.errors import VoicePoolError
from voicepool.resolver import WorkerResolver
from voicepool.stats import WorkerInfo, WorkerState

__all__ = ["Incident", "Kind", "OrphanWatch", "kinds", "strike"]

_LOOK_S: Final = 0.5
_ORPHANED_AFTER_S: Final = 10.0
"""A worker that is on its way out is known no more, and may take ``stop_timeout_s`` and then some."""


class Kind(enum.StrEnum):
    """What is done."""

    KILL = "killed"
    """SIGKILL, as by the kernel when memory runs out, or by a fault in native code."""
    STOP = "stopped"
    """SIGSTOP: it is there and does nothing, as in an endless loop of native code."""
    LEAK = "leaking"
    """It takes ever more memory."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them.

    Attributes
    ----------
    kind
        What was done.
    worker
        To which.
    at_ns
        When, monotonic.
    guilds
        Whose calls it had.
    """

    kind: Kind
    worker: str
    at_ns: int
    guilds: tuple[int, ...]


def kinds(chance: random.Random) -> Iterator[Kind]:
    """Yield what to do, in an order that depends on the seed: half of all are kills."""
    for _ in itertools.count():
        some = [Kind.KILL, Kind.STOP, Kind.LEAK, Kind.KILL]
        chance.shuffle(some)
        yield from some


async def strike(bot: Bot, kind: Kind, chance: random.Random) -> Incident | None:
    """Do it to a worker that has calls; return None if there is none now."""
    candidates = [
        info
        for info in bot.pool.workers
        if info.state is WorkerState.READY and info.pid is not None and bot.guilds_at(info.name)
    ]
    if not candidates:
        return None
    info = chance.choice(candidates)
    guilds = tuple(bot.guilds_at(info.name))
    incident = Incident(kind, info.name, time.monotonic_ns(), guilds)
    _inflict(bot, kind, info, chance.choice(guilds))
    return incident


def _inflict(bot: Bot, kind: Kind, info: WorkerInfo, guild: int) -> None:
    assert info.pid is not None
    if kind is Kind.LEAK:
        bot.spawn(_leak(bot, guild, info.pid))
        return
    # It may have ended by itself this very moment.
    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGKILL if kind is Kind.KILL else signal.SIGSTOP)


async def _leak(bot: Bot, guild: int, pid: int) -> None:
    # It finds nothing, and its worker is replaced before it has even found that.
    with contextlib.suppress(VoicePoolError):
        await bot.calls[guild].overlay(WorkerResolver(leak)(str(pid)))


class OrphanWatch:
    """Looks for worker processes that the pool does not know of.

    Attributes
    ----------
    found
        Their process ids.
    """

    def __init__(self, bot: Bot) -> None:
        self.found: set[int] = set()
        self._bot = bot
        self._unknown_since_s: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="orphan watch")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def look(self, running: set[int], known: set[int], now_s: float) -> None:
        """Take a look.

        Parameters
        ----------
        running
            Worker processes that there are.
        known
            Those that the pool knows.
        now_s
            Monotonic time.
        """
        unknown = running - known
        self._unknown_since_s = {pid: self._unknown_since_s.get(pid, now_s) for pid in unknown}
        self.found |= {
            pid for pid, since_s in self._unknown_since_s.items() if now_s - since_s >= _ORPHANED_AFTER_S
        }

    async def _watch(self) -> None:
        while True:
            self.look(await asyncio.to_thread(worker_processes), self._bot.note_pids(), time.monotonic())
            await asyncio.sleep(_LOOK_S)
