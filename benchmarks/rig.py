"""The bench that benchmarks stand on: one worker with a core to itself, everything else on another."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Unpack

from benchmarks.child import Child
from benchmarks.machine import Cores, keep_to, others_cpu_s, stolen_s
from benchmarks.report import Figure, Goal
from benchmarks.sources import Sources
from benchmarks.span import Snapshot, Span
from voicepool._playing.options import PlayOptions
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.credentials import VoiceCredentials
from voicepool.pool import VoicePool
from voicepool.source import Playable
from voicepool.track import Track

__all__ = ["BenchmarkError", "Rig", "Totals", "open_rig", "open_sources"]

_JOIN_AT_ONCE: Final = 8
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05
_ARRIVE_S: Final = 2.0
_KINDS_SHOWN: Final = 3


class BenchmarkError(Exception):
    """A benchmark cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Packets of a whole run, all calls together.

    Attributes
    ----------
    sent
        By the worker's account.
    received
        By the stand-in's.
    dropped_by_kernel
        Left out of ``received`` because the stand-in was too slow: not the worker's loss.
    violations
        Rules of the protocol that were broken, in sentences.
    """

    sent: int
    received: int
    dropped_by_kernel: int
    violations: list[str]

    @property
    def lost(self) -> int:
        """Packets that never arrived and that the stand-in's kernel did not drop."""
        return max(0, self.sent - self.received - self.dropped_by_kernel)


class Rig:
    """A pool of one worker, the stand-in it talks to, and the bare costs. Made by `open_rig`.

    Parameters
    ----------
    pool
        Running.
    stand_in, bare
        The children of these names.
    sink
        Address that the bare costs send packets to.
    core
        The worker's; None if it is not pinned.
    """

    def __init__(
        self, pool: VoicePool, stand_in: Child, bare: Child, *, sink: tuple[str, int], core: int | None
    ) -> None:
        self.pool: Final = pool
        self.sink: Final = sink
        self._stand_in = stand_in
        self._bare = bare
        self._core = core
        self._calls: list[BaseVoiceConnection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._overlays: list[Track] = []

    @property
    def worker_pid(self) -> int:
        """Process id of the worker."""
        pid = self.pool.workers[0].pid
        if pid is None:
            raise BenchmarkError(f"the worker is gone: {self.pool.workers[0].last_error}")
        return pid

    async def bare(self, what: str, file: Path, **arguments: Any) -> Any:
        """Measure a bare cost on the worker's core (`benchmarks.bare`); nothing may be playing."""
        if self._tasks:
            raise BenchmarkError("a bare cost was to be measured while the worker works")
        return await self._bare.ask(what, file=str(file), **arguments)

    async def join(self, count: int) -> None:
        """Join calls until there are `count` of them."""
        missing = count - len(self._calls)
        if missing <= 0:
            return
        granted = await self._stand_in.ask("grant", first=len(self._calls) + 1, count=missing)
        for start in range(0, missing, _JOIN_AT_ONCE):
            joining = [
                self.pool.connect(VoiceCredentials(**grant))
                for grant in granted[start : start + _JOIN_AT_ONCE]
            ]
            self._calls += await asyncio.gather(*joining)

    async def play(
        self,
        source: Playable,
        count: int,
        *,
        settle_s: float,
        overlays: Sequence[Playable] = (),
        **options: Unpack[PlayOptions],
    ) -> None:
        """Play a source in the first `count` calls; return when all have played for `settle_s` seconds.

        Parameters
        ----------
        source, **options
            As for ``play``.
        overlays
            What is heard beside it, with the same options; the others do not sink for it.
        """
        await self.join(count)
        calls = self._calls[:count]
        self._tasks = [call.play_no_wait(source, **options) for call in calls]
        for overlay in overlays:
            self._overlays += await asyncio.gather(
                *(call.overlay(overlay, duck_db=0.0, **options) for call in calls)
            )
        wanted = 1 + len(overlays)
        async with asyncio.timeout(_PATIENCE_S):
            while sum(len(call.tracks) >= wanted for call in (await self.look()).stats.calls) < count:
                self._check_playing()
                await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(settle_s)

    def pause(self) -> None:
        """Hold what plays."""
        for call in self._calls:
            call.pause()

    async def stop(self) -> None:
        """End what plays, and wait for the silence that follows."""
        await asyncio.gather(*(call.stop() for call in self._calls if not call.stopped))
        await asyncio.gather(*self._tasks)
        self._tasks, self._overlays = [], []
        # Five frames of silence, and the reports on them.
        await asyncio.sleep(0.2)

    async def look(self) -> Snapshot:
        """Take a snapshot of the worker."""
        await self.pool.refresh_stats()
        # The pool's own figures sum lateness up since the start; a span needs the worker's histogram.
        assert self.pool._fleet is not None
        links = self.pool._fleet.links
        if not links or links[0].stats is None:
            raise BenchmarkError(f"the worker is gone: {self.pool.workers[0].last_error}")
        own = {os.getpid(), self._stand_in.pid, self._bare.pid, self.pool.workers[0].pid or 0}
        return Snapshot(links[0].stats, others_cpu_s(own), stolen_s(self._core))

    async def measure(self, seconds: float) -> Span:
        """Let things play for `seconds`; return what happened."""
        before = await self.look()
        await asyncio.sleep(seconds)
        return await self.span_since(before)

    async def span_since(self, before: Snapshot) -> Span:
        """Return what has happened since a snapshot, in which everything must have gone on playing."""
        span = Span.between(before, await self.look())
        self._check_playing()
        return span

    async def totals(self) -> Totals:
        """Return the packets of the whole run. Nothing may be playing."""
        sent = (await self.look()).stats.frames_sent
        deadline = asyncio.get_running_loop().time() + _ARRIVE_S
        while True:
            answer = await self._stand_in.ask("totals")
            if answer["packets"] >= sent or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_LOOK_S)
        return Totals(
            sent=sent,
            received=answer["packets"],
            dropped_by_kernel=answer["dropped_by_kernel"],
            violations=answer["violations"],
        )

    @staticmethod
    def figures_of_loss(totals: Totals) -> list[Figure]:
        """Return the figures that every benchmark ends with."""
        group = f"the whole run, {totals.sent:,} packets"
        return [
            Figure(group=group, name="packets lost", value=totals.lost, unit="packets", goal=Goal(0)),
            Figure(group=group, name="rules broken", value=len(totals.violations), unit="", goal=Goal(0)),
        ]

    @staticmethod
    def notes_of_loss(totals: Totals) -> list[str]:
        """Return which rules were broken most often, in sentences."""
        kinds = Counter(sentence.partition(": ")[2] or sentence for sentence in totals.violations)
        return [f"broken {count} times: {kind}" for kind, count in kinds.most_common(_KINDS_SHOWN)]

    def _check_playing(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
                raise BenchmarkError("a source ended before the measurement did; make it longer")
        if any(track.reason is not None for track in self._overlays):
            raise BenchmarkError("an overlay ended before the measurement did; make it longer")


@asynccontextmanager
async def open_sources(seconds: float) -> AsyncIterator[Sources]:
    """Make the files to play, each `seconds` long, and remove them afterwards."""
    with tempfile.TemporaryDirectory(prefix="voicepool-bench-") as folder:
        yield await asyncio.to_thread(Sources.make, Path(folder), seconds)


@asynccontextmanager
async def open_rig(cores: Cores, *, dave: bool = False, **settings: Any) -> AsyncIterator[Rig]:
    """Start stand-in, bare costs and a pool of one worker, and end them afterwards.

    The worker is pinned to its core, all the rest (this process, too, while it lasts) to the other.

    Parameters
    ----------
    cores
        Who gets which.
    dave
        Whether calls are end-to-end encrypted; if not, what is measured is transport alone.
    settings
        Of the pool, as `PoolConfig` names them.
    """
    try:
        # The pool plans with the cores that its process may use, and gives a worker the last of two.
        keep_to(cores.rest, cores.worker)
        async with (
            Child("benchmarks.stand_in", core=cores.rest) as stand_in,
            Child("benchmarks.bare", core=cores.worker) as bare,
        ):
            offered = await stand_in.ask("describe")
            config = PoolConfig(workers=1, ca_file=offered["ca_file"], dave=dave, **settings)
            async with VoicePool(config) as pool:
                keep_to(cores.rest)
                core = pool.workers[0].core
                if core != cores.worker:
                    raise BenchmarkError(f"the worker runs on core {core} and not on {cores.worker}")
                host, port = offered["sink"]
                yield Rig(pool, stand_in, bare, sink=(host, port), core=core)
    finally:
        keep_to(*cores.allowed)
