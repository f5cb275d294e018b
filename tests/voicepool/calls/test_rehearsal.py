"""What a worker is told of a call before it holds it; with the old worker, it is in ``test_moving.py``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.model_worker import INFO, NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import CALL, StageOfOne
from voicepool._calls.rehearsal import Rehearsal
from voicepool._process.link import Link
from voicepool.errors import WorkerLostError
from voicepool.ipc.commands import (
    CloseCall,
    Encoding,
    Play,
    PrepareCall,
    SetEncoding,
    SetVolume,
    Stop,
    TrackRole,
)
from voicepool.ipc.events import Done, Failed, TrackReady
from voicepool.ipc.ids import WorkerId
from voicepool.source import AudioFile
from voicepool.streams import PcmStream

SONG, OTHER = AudioFile("/music/a.flac"), AudioFile("/music/b.flac")


class NewWorker:
    """Keeps what it is told; a test answers."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.link = Link(self, worker=WorkerId("w1.1"))  # type: ignore[arg-type]  # what a link uses

    def post(self, message: Any, attachments: Any = (), *, lossy: bool = False) -> None:
        self.told.append(message)
        if isinstance(message, PrepareCall | Stop | CloseCall):
            asyncio.get_running_loop().call_soon(self.link._take, Done(request=message.request))

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.told if isinstance(message, kind)]

    def ready(self, play: Play) -> None:
        self.link._take(TrackReady(request=play.request, call=CALL, playback=play.playback, info=INFO))


async def rehearsing(stage: StageOfOne) -> tuple[NewWorker, Rehearsal, asyncio.Task[None]]:
    worker = NewWorker()
    rehearsal = Rehearsal(worker.link, CALL, stage.player)
    task = asyncio.create_task(rehearsal.rehearse())
    await stage.turn()
    return worker, rehearsal, task


async def end(stage: StageOfOne) -> None:
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_what_is_heard_comes_first_and_what_follows_it_after_it() -> None:
    stage = StageOfOne()
    stage.player.set_encoding(Encoding(bitrate_bps=64_000))
    main = stage.player.begin(SONG)
    await stage.settle()
    follows = stage.player.begin(OTHER, role=TrackRole.NEXT)
    effect = stage.player.begin(OTHER, role=TrackRole.OVERLAY)
    pushed = stage.player.begin(PcmStream(), role=TrackRole.OVERLAY)
    await stage.settle()
    worker, rehearsal, task = await rehearsing(stage)
    assert [type(message) for message in worker.told[:3]] == [PrepareCall, SetEncoding, SetVolume]
    assert [play.playback for play in worker.of(Play)] == [main.ident, effect.ident]
    worker.ready(worker.of(Play)[0])
    await stage.turn()
    assert worker.of(Play)[-1].playback == follows.ident
    for play in worker.of(Play)[1:]:
        worker.ready(play)
    await task
    assert set(rehearsal.adopted()) == {main.ident, effect.ident, follows.ident}
    assert pushed.ident not in {play.playback for play in worker.of(Play)}, "it is made once"
    await end(stage)


@asyncio_test
async def test_what_is_not_wanted_any_more_is_stopped() -> None:
    stage = StageOfOne()
    main = stage.player.begin(SONG)
    await stage.settle()
    worker, rehearsal, task = await rehearsing(stage)
    stage.player.cancel(main)
    worker.ready(worker.of(Play)[0])
    await task
    assert [stop.playback for stop in worker.of(Stop)] == [main.ident]
    assert rehearsal.adopted() == {}
    await end(stage)


@asyncio_test
async def test_what_cannot_be_opened_there_is_no_failure() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    worker, rehearsal, task = await rehearsing(stage)
    worker.link._take(Failed(request=worker.of(Play)[0].request, error=NOT_FOUND))
    await task
    assert rehearsal.adopted() == {}
    await end(stage)


@asyncio_test
async def test_dismissed_it_leaves_the_worker_and_returns() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    worker, rehearsal, task = await rehearsing(stage)
    rehearsal.dismiss()
    rehearsal.dismiss()
    await task
    assert rehearsal.dismissed
    assert len(worker.of(CloseCall)) == 1
    await end(stage)
    assert stage.tasks == set()


@asyncio_test
async def test_the_end_of_the_worker_is_raised_and_counts_against_what_it_opened() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    suspicion = stage.player.line.suspicion
    for _ in range(2):
        worker, rehearsal, task = await rehearsing(stage)
        suspicion.on_death(worker.link.worker, stage.clock())
        worker.link.lose(WorkerLostError("gone"))
        with pytest.raises(WorkerLostError):
            await task
        rehearsal.dismiss()
        assert not worker.of(CloseCall)
    assert list(suspicion.convicted.values()) == ["/music/a.flac"]
    await end(stage)
