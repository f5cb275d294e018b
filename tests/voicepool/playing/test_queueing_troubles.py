"""What the queue does with tracks that fail, and when it gives up."""

from __future__ import annotations

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from tests.voicepool.playing.queue_stage import SONGS, heard, name_of, playing
from voicepool._playing.queueing import MAX_FAILURES
from voicepool.events import QueueGaveUp, TrackEnded
from voicepool.ipc.events import EndReason as WireReason
from voicepool.queue import Loop
from voicepool.queued import QueuedTrack
from voicepool.track import EndReason


@asyncio_test
async def test_a_track_that_fails_is_left_out() -> None:
    stage = await playing(3)
    stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
    await stage.settle()
    assert heard(stage) == ["0", "1"]
    assert [event.reason for event in stage.told_of(TrackEnded)] == [EndReason.FAILED]


@asyncio_test
async def test_one_that_cannot_be_opened_ahead_is_told_once_and_left_out() -> None:
    stage = StageOfOne()
    stage.queue.add(*SONGS[:3])
    await stage.turn()
    stage.worker.read_one()
    stage.worker.open_one(next(iter(stage.worker.openings)))
    await stage.settle(opens=False)
    stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
    await stage.settle()
    [ended] = stage.told_of(TrackEnded)
    assert (ended.track.source, ended.reason) == (SONGS[1].source, EndReason.FAILED)
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "2"]


@asyncio_test
async def test_after_ten_failures_in_a_row_the_queue_stops_and_says_so_once() -> None:
    stage = StageOfOne()
    stage.queue.add(*(QueuedTrack(f"/music/{number}.flac") for number in range(20)))
    await stage.settle(opens=False)
    while stage.worker.openings:
        stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
        await stage.settle(opens=False)
    [gave_up] = stage.told_of(QueueGaveUp)
    assert gave_up.failures == MAX_FAILURES
    assert len(stage.told_of(TrackEnded)) == MAX_FAILURES
    assert stage.queue.stopped
    stage.queue.add(SONGS[0])
    await stage.settle()
    assert heard(stage) == []
    stage.queue.start()
    await stage.settle()
    assert heard(stage) == [str(MAX_FAILURES)]


@asyncio_test
async def test_a_loop_of_a_track_that_fails_goes_on_with_another() -> None:
    stage = await playing(2)
    stage.queue.loop = Loop.TRACK
    await stage.settle()
    stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
    await stage.settle()
    assert stage.queue.current is SONGS[1]
    assert name_of(stage.worker.main) == "1"  # type: ignore[arg-type]


@asyncio_test
async def test_a_lost_worker_ends_the_track_and_begins_nothing() -> None:
    stage = await playing(3)
    stage.player.end_all(None)
    await stage.settle()
    assert list(stage.queue) == SONGS[1:3]
    await stage.queue.skip()
    stage.queue.add(SONGS[5])
    assert stage.player.roster.playbacks == ()


@asyncio_test
async def test_a_loop_that_cannot_be_opened_ahead_is_opened_when_its_turn_has_come() -> None:
    stage = StageOfOne()
    stage.queue.loop = Loop.TRACK
    stage.queue.add(SONGS[0])
    await stage.turn()
    stage.worker.read_one()
    stage.worker.open_one(next(iter(stage.worker.openings)))
    await stage.settle(opens=False)
    stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
    await stage.settle()
    assert stage.worker.there == {stage.worker.main.playback}, "not tried again at once"  # type: ignore[union-attr]
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "0"]
    assert stage.worker.waiting is not None
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_track_that_is_heard_ends_a_row_of_failures() -> None:
    stage = StageOfOne()
    stage.queue.add(*(QueuedTrack(f"/music/{number}.flac") for number in range(4 * MAX_FAILURES)))
    await stage.settle()
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
            await stage.settle()
        stage.worker.end_main()
        await stage.settle()
    assert stage.told_of(QueueGaveUp) == []
    assert len(stage.worker.started) == 3 * MAX_FAILURES + 1
    stage.player.end_all(None)
    await stage.turn()
