"""The bot of the load benchmarks: a pool, many guilds on one stand-in, and a watch on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.chaos_source import write_numbered, write_sweep
from benchmarks.child import Child
from benchmarks.rig import BenchmarkError
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.credentials import VoiceCredentials
from voicepool.errors import VoicePoolError
from voicepool.events import ServerWanted
from voicepool.pool import VoicePool
from voicepool.stats import WorkerState

__all__ = ["Bot", "LoopWatch", "Songs", "open_bot", "percentile", "pss_bytes", "worker_processes"]

_JOIN_AT_ONCE: Final = 8
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05
_TICK_S: Final = 0.005
_APART_S: Final = 2.0
"""How far apart in a source two guilds are, so that one that gets another's sound is found out."""
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Songs:
    """What is played: Ogg/Opus with numbered packets, and WAV with a rising tone."""

    numbered: Path
    sweep: Path


class LoopWatch:
    """How late an event loop is: a task that wakes each 5 ms and notes by how much it was too late."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="loop watch")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def take(self) -> list[float]:
        """Return what was noted since the last time, in milliseconds."""
        taken, self._late_ms = self._late_ms, []
        return taken

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._late_ms.append((loop.time() - due_s) * 1_000)


@dataclass(slots=True)
class Bot:
    """A running pool with its calls.

    Attributes
    ----------
    pool, stand_in
        Both are running.
    songs
        What can be played.
    settings
        In the pool's file.
    calls
        By guild.
    events
        How many pool events of each kind there were.
    ended
        Why calls or what they play have ended although nobody wanted that, by guild.
    rejoins
        How often new credentials had to be asked for.
    """

    pool: VoicePool
    stand_in: Child
    songs: Songs
    settings: dict[str, Any]
    calls: dict[int, BaseVoiceConnection] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    ended: dict[int, str] = field(default_factory=dict)
    rejoins: int = 0
    pids: set[int] = field(default_factory=set)
    _sound: set[int] = field(default_factory=set)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _leaving: set[int] = field(default_factory=set)

    async def ask(self, what: str, **arguments: object) -> Any:
        """Ask the stand-in; unlike `Child.ask`, from several tasks."""
        async with self._asking:
            return await self.stand_in.ask(what, timeout_s=_PATIENCE_S, **arguments)

    async def join(self, guilds: Iterable[int], *, sound: Iterable[int] = ()) -> None:
        """Join calls.

        Parameters
        ----------
        guilds
            New ones.
        sound
            Those that will play what has to be encoded.
        """
        guilds = list(guilds)
        self._sound |= set(sound)
        for start in range(0, len(guilds), _JOIN_AT_ONCE):
            some = guilds[start : start + _JOIN_AT_ONCE]
            granted = await self.ask("grant", guilds=some, sound=sorted(self._sound))
            joined = await asyncio.gather(
                *(self.pool.connect(VoiceCredentials(**grant)) for grant in granted)
            )
            for guild, call in zip(some, joined, strict=True):
                self.calls[guild] = call
                call.listen(partial(self._on_server_wanted, guild), ServerWanted)

    def play(self, guild: int) -> None:
        """Play the guild's part of its song; that it ends is put down in `ended`."""
        file = self.songs.sweep if guild in self._sound else self.songs.numbered
        self.spawn(self._play(guild, file, start_s=guild * _APART_S))

    async def leave(self, guild: int) -> None:
        """Leave a call."""
        self._leaving.add(guild)
        try:
            await self.calls.pop(guild).disconnect()
        finally:
            self._leaving.discard(guild)

    async def settle(self, packets: int) -> None:
        """Wait until so many more packets of each guild have come."""
        first = await self.ask("packets")
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                counts = await self.ask("packets")
                more = [counts[str(guild)] - first[str(guild)] for guild in self.calls]
                if min(more) >= packets:
                    return
                if self.ended:
                    raise BenchmarkError(f"calls ended before the measurement: {self.ended}")
                await asyncio.sleep(_LOOK_S)

    def guilds_at(self, worker: str) -> list[int]:
        """Return the guilds whose calls a worker has, by its name."""
        links = ((guild, call.link) for guild, call in self.calls.items())
        return [guild for guild, link in links if link is not None and link.worker == worker]

    def configure(self, **changes: Any) -> None:
        """Change the file of settings; nobody tells the pool."""
        origin = self.pool.config.origin
        assert origin is not None
        self.settings |= changes
        _write_settings(origin, self.settings)

    async def until_ready(self, count: int, *, timeout_s: float = _PATIENCE_S) -> float:
        """Wait until exactly `count` workers take calls and all others have ended; return the time."""
        began_s = time.monotonic()
        async with asyncio.timeout(timeout_s):
            while self._states() != [WorkerState.READY] * count:
                self.note_pids()
                await asyncio.sleep(_LOOK_S)
        return time.monotonic() - began_s

    def _states(self) -> list[WorkerState]:
        return [info.state for info in self.pool.workers if info.state is not WorkerState.STOPPED]

    def note_pids(self) -> set[int]:
        """Return the process ids of the pool's workers now; all that were ever seen are in `pids`."""
        pids = {info.pid for info in self.pool.workers if info.pid is not None}
        self.pids |= pids
        return pids

    async def close(self) -> None:
        """End what this bot does; the pool is closed elsewhere."""
        self._leaving |= set(self.calls)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run something in the background, which `close` ends."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, guild: int, file: Path, *, start_s: float) -> None:
        call = self.calls[guild]
        try:
            await call.play(file, position_s=start_s)
            reason = "what it played has ended"
        except VoicePoolError as error:
            reason = f"{type(error).__name__}: {error}"
        if guild not in self._leaving and self.calls.get(guild) is call:
            self.ended[guild] = reason

    def _on_server_wanted(self, guild: int, event: ServerWanted) -> None:
        if event.rejoin:
            self.spawn(self._rejoin(guild))

    async def _rejoin(self, guild: int) -> None:
        """Do what an adapter of a bot library does with op 4: get new credentials and connect with them."""
        self.rejoins += 1
        call = self.calls.get(guild)
        if call is None or call.closed:
            return
        (granted,) = await self.ask("grant", guilds=[guild], sound=sorted(self._sound))
        with contextlib.suppress(VoicePoolError):
            # What ends the call is seen by whoever waits for what it plays.
            await call.connect(VoiceCredentials(**granted))


@asynccontextmanager
async def open_bot(song_s: float, **settings: Any) -> AsyncIterator[Bot]:
    """Start stand-in and pool, and end them afterwards.

    Parameters
    ----------
    song_s
        How long what is played is to be, in seconds.
    settings
        Of the pool; they come to it by a file, which `Bot.configure` changes.
    """
    with tempfile.TemporaryDirectory(prefix="voicepool-bench-") as folder:
        songs = Songs(Path(folder) / "numbered.ogg", Path(folder) / "sweep.wav")
        await asyncio.to_thread(write_numbered, songs.numbered, song_s)
        await asyncio.to_thread(write_sweep, songs.sweep, song_s)
        async with Child("benchmarks.chaos_stand_in", core=None) as stand_in:
            settings |= await stand_in.ask("describe")
            file = Path(folder) / "voicepool.toml"
            _write_settings(file, settings)
            async with VoicePool(PoolConfig.load(file, env={})) as pool:
                bot = Bot(pool, stand_in, songs, settings)
                stop = pool.listen(lambda event: bot.events.update([type(event).__name__]))
                try:
                    yield bot
                finally:
                    stop()
                    await bot.close()


def _write_settings(file: Path, settings: Mapping[str, object]) -> None:
    """Put a file of settings in place in one step, as a careful editor does."""
    new = file.with_suffix(".new")
    # JSON writes these values as TOML does.
    new.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    new.replace(file)


def worker_processes() -> set[int]:
    """Return the worker processes that run as children of this one, whoever knows of them (Linux)."""
    found = set()
    for folder in _PROC.glob("[0-9]*"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            mine = int(parent) == os.getpid() and state != "Z"
            if mine and b"voicepool.workers" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def pss_bytes(pid: int) -> int | None:
    """Return the memory of a process, its part of what is shared included; None if it cannot be told."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1_024
    except OSError:
        pass
    return None


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the others do not exceed; 0.0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]
