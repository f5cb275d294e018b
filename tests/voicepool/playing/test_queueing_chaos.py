"""The queue against a model of the worker: whatever crosses on the way, both agree in the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from tests.voicepool.playing.queue_stage import SONGS
from voicepool.events import ConnectionEvent, QueueEmpty, TrackEnded, TrackStarted
from voicepool.ipc.events import EndReason as WireReason
from voicepool.queue import Loop
from voicepool.source import AudioFile


class Chaos:
    """Random steps of everyone, and what must be true when all has settled."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.stage = StageOfOne()
        self.stage.listener = self.listens
        self.errands: list[asyncio.Task[None]] = []
        self.steps = [
            *[self.worker_reads] * 6,
            *[self.bot_hears] * 6,
            *[self.opens] * 4,
            *[self.ends] * 2,
            *[self.fails] * 1,
            *[self.adds] * 3,
            self.inserts,
            self.removes,
            self.moves,
            self.shuffles,
            self.clears,
            self.loops,
            self.fades,
            self.skips,
            self.skips,
            self.goes_back,
            self.plays_beside,
            self.stops,
            self.starts,
        ]

    async def run(self, count: int) -> None:
        for _ in range(count):
            await self.random.choice(self.steps)()
            await self.stage.turn()
        await self.stage.settle()
        for errand in self.errands:
            await errand
        self.stage.listener = lambda _event: None
        self.check()
        await self.play_out()

    def check(self) -> None:
        stage, queue = self.stage, self.stage.queue
        main = stage.worker.main
        ours = stage.player.roster
        assert {each.ident for each in ours.playbacks} == stage.worker.there
        assert (main is None) == (ours.main is None)
        if main is not None:
            assert ours.main is not None
            assert ours.main.ident == main.playback
        beside = ours.main is not None and not ours.main.queued
        if queue.stopped or beside:
            return
        assert (queue.current is None) == (main is None)
        if main is None:
            assert len(queue) == 0
            return
        assert queue.current is not None
        assert queue.current.source.to_wire()[0] == main.source
        following = queue._tracks.following
        waiting = stage.worker.waiting
        if following is not queue._driver._not_ahead:
            assert (following is None) == (waiting is None)
        if following is not None and waiting is not None:
            assert following.source.to_wire()[0] == waiting.source

    async def play_out(self) -> None:
        """From here on, without interference, the rest is heard in order."""
        stage, queue = self.stage, self.stage.queue
        queue.loop = Loop.OFF
        queue.start()
        await stage.settle()
        rest = [track.source.to_wire()[0] for track in queue]
        beside = queue.track is None
        before = len(stage.worker.started)
        for _ in range(len(rest) + beside + 2):
            if stage.worker.main is not None:
                stage.worker.end_main(crossed=self.random.random() < 0.5)
            await stage.settle()
        assert [play.source for play in stage.worker.started[before:]] == rest
        assert stage.worker.there == set()
        assert stage.player.roster.silent.is_set()
        assert queue.current is None
        assert stage.tasks == set()

    # The worker and the way to it.

    async def worker_reads(self) -> None:
        if self.stage.worker.inbox:
            self.stage.worker.read_one()

    async def bot_hears(self) -> None:
        if self.stage.worker.outbox:
            await self.stage.hand_over()

    async def opens(self) -> None:
        if self.stage.worker.openings:
            ident = self.random.choice(sorted(self.stage.worker.openings))
            self.stage.worker.open_one(ident, error=NOT_FOUND if self.random.random() < 0.15 else None)

    async def ends(self) -> None:
        if self.stage.worker.main is not None:
            self.stage.worker.end_main(crossed=self.random.random() < 0.5)

    async def fails(self) -> None:
        if self.stage.worker.main is not None:
            self.stage.worker.end_main(WireReason.FAILED, NOT_FOUND)

    # The bot.

    def listens(self, event: ConnectionEvent) -> None:
        if isinstance(event, TrackEnded | TrackStarted | QueueEmpty) and self.random.random() < 0.2:
            queue = self.stage.queue
            self.random.choice(
                [lambda: queue.add(SONGS[7]), lambda: queue.shuffle(self.random), queue.clear]
            )()

    def errand(self, work: Any) -> None:
        self.errands.append(asyncio.create_task(work))

    async def adds(self) -> None:
        self.stage.queue.add(*self.random.choices(SONGS, k=self.random.randint(1, 3)))

    async def inserts(self) -> None:
        self.stage.queue.insert(0, self.random.choice(SONGS))

    async def removes(self) -> None:
        if len(self.stage.queue):
            self.stage.queue.remove(0)

    async def moves(self) -> None:
        if len(self.stage.queue) > 1:
            self.stage.queue.move(0, -1)

    async def shuffles(self) -> None:
        self.stage.queue.shuffle(self.random)

    async def clears(self) -> None:
        if self.random.random() < 0.3:
            self.stage.queue.clear()

    async def loops(self) -> None:
        self.stage.queue.loop = self.random.choice(list(Loop))

    async def fades(self) -> None:
        self.stage.queue.crossfade_s = self.random.choice([0.0, 2.0])

    async def skips(self) -> None:
        self.errand(self.stage.queue.skip(self.random.choice([1, 1, 1, 2, 5])))

    async def goes_back(self) -> None:
        self.errand(self.stage.queue.back())

    async def plays_beside(self) -> None:
        self.stage.player.begin(AudioFile("/music/jingle.flac"))

    async def stops(self) -> None:
        if self.random.random() < 0.3:
            self.stage.queue.halt()
            self.errand(self.stage.player.stop())

    async def starts(self) -> None:
        self.stage.queue.start()


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_whatever_crosses_both_sides_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + 10):
        asyncio_test(_chaos)(seed)


async def _chaos(seed: int) -> None:
    await Chaos(seed).run(150)
