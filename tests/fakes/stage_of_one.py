"""A player and a queue over a model of a worker, with a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from tests.fakes.clock import ManualClock
from tests.fakes.model_worker import ModelWorker
from voicepool._process.link import Link
from voicepool.config import PoolConfig
from voicepool.errors import WorkerLostError
from voicepool.events import ConnectionEvent
from voicepool.ipc.events import CallStats, Stats, TrackFigures
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId
from voicepool.play_queue import PlayQueue
from voicepool.player import Player

__all__ = ["CALL", "StageOfOne"]

CALL = CallId("call")


class _Listener:
    def __init__(self, player: Player) -> None:
        self.on_track_event = player.on_track_event
        self.on_stats = player.on_stats
        self._player = player

    def on_worker_lost(self, error: Any) -> None:
        self._player.depart()

    def on_call_closed(self, event: Any) -> None: ...

    def on_call_event(self, event: Any) -> None: ...


class StageOfOne:
    """One call: what the bot knows, what the worker does, and what was told."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.worker = ModelWorker()
        self.told: list[ConnectionEvent] = []
        self.listener: Callable[[ConnectionEvent], object] = lambda _event: None
        """Hears each event at once, and may do what it likes."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.links = 0
        """How many workers there were."""
        self.link = self._link_to(self.worker)
        self.player = Player(
            CALL,
            PoolConfig(**config),
            place="guild 1",
            spawn=self.spawn,
            tell=self.tell,
            now=self.clock,
        )
        self.player.use(self.link)
        self._listener = _Listener(self.player)
        self.link.listen(CALL, self._listener)
        self.queue = PlayQueue(self.player, tell=self.tell, now=self.clock, place="guild 1")

    def lose(self) -> None:
        """Let the worker die: nothing that is on its way arrives."""
        self.worker.inbox.clear()
        self.worker.outbox.clear()
        self.link.lose(WorkerLostError("worker w0.1 was killed by SIGKILL"))

    def go_on(self) -> ModelWorker:
        """Have another worker go on with the call; return it."""
        self.worker = ModelWorker()
        self.link = self._link_to(self.worker)
        self.link.listen(CALL, self._listener)
        self.player.go_on(self.link)
        return self.worker

    def restore(self, gap_s: float) -> None:
        """Let sound leave again."""
        self.player.roster.on_restored(gap_s)

    def _link_to(self, worker: ModelWorker) -> Link:
        self.links += 1
        return Link(worker, worker=WorkerId(f"w0.{self.links}"))  # type: ignore[arg-type]  # what a link uses

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def tell(self, events: Iterable[ConnectionEvent]) -> None:
        for event in events:
            self.told.append(event)
            self.listener(event)

    def told_of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    async def hand_over(self) -> None:
        """Let the bot take in the oldest event, and all that follows from it on its side."""
        self.link._take(self.worker.outbox.popleft())
        await self.turn()

    async def turn(self) -> None:
        """Let the loop turn often enough for any chain of tasks here."""
        for _ in range(6):
            await asyncio.sleep(0)

    async def settle(self, *, opens: bool = True) -> None:
        """Let everything arrive and open, until nothing is under way."""
        await self.turn()
        while self.worker.inbox or self.worker.outbox or (opens and self.worker.openings):
            if self.worker.inbox:
                self.worker.read_one()
            elif self.worker.outbox:
                await self.hand_over()
            else:
                self.worker.open_one(next(iter(self.worker.openings)))
            await self.turn()

    def report(self, *places: tuple[PlaybackId, float], heard_s: float = 0.0) -> None:
        """Have the worker report where tracks are, and how much of each has been heard."""
        frames = round(heard_s * 50)
        tracks = [
            TrackFigures(playback=ident, position_s=place_s, frames_sent=frames) for ident, place_s in places
        ]
        self.link._take(
            Stats(
                worker=WorkerId("w0.1"),
                cpu_s=0.0,
                uptime_s=0.0,
                rss_bytes=0,
                frames_sent=0,
                frames_nulled=0,
                ticks_skipped=0,
                lateness_counts=[],
                lateness_max_us=0,
                encoder_class="idle",
                calls=[CallStats(call=CALL, tracks=tracks)],
            )
        )
