"""The queue beside what else is played, and after a stop."""

from __future__ import annotations

import asyncio

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from tests.voicepool.playing.queue_stage import SONGS, heard, playing
from voicepool.events import QueueEmpty, TrackEnded
from voicepool.source import AudioFile


@asyncio_test
async def test_what_is_played_beside_the_queue_takes_its_place_and_the_queue_goes_on() -> None:
    stage = await playing(3)
    stage.player.begin(AudioFile("/music/jingle.flac"))
    await stage.settle()
    assert heard(stage) == ["0", "jingle"]
    assert stage.queue.track is None
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "jingle", "1"]
    assert stage.queue.current is SONGS[1]


@asyncio_test
async def test_tracks_that_are_added_while_something_else_plays_wait_for_its_end() -> None:
    stage = StageOfOne()
    stage.player.begin(AudioFile("/music/jingle.flac"))
    stage.queue.add(SONGS[0])
    await stage.settle()
    assert heard(stage) == ["jingle"]
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["jingle", "0"]


@asyncio_test
async def test_a_stop_keeps_what_is_upcoming() -> None:
    stage = await playing(3)
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    assert stage.worker.there == set()
    assert list(stage.queue) == SONGS[1:3]
    assert stage.told_of(QueueEmpty) == []
    stage.queue.add(SONGS[3])
    await stage.settle()
    assert heard(stage) == ["0"], "what waits for start() waits on"
    stage.queue.start()
    await stage.settle()
    assert heard(stage) == ["0", "1"]


@asyncio_test
async def test_a_stop_says_nothing_of_the_one_that_waited() -> None:
    stage = await playing()
    assert stage.worker.waiting is not None
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    assert [event.track.source for event in stage.told_of(TrackEnded)] == [SONGS[0].source]


@asyncio_test
async def test_a_stopped_queue_that_is_empty_begins_with_the_next_track() -> None:
    stage = await playing(1)
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    stage.queue.add(SONGS[3])
    await stage.settle()
    assert heard(stage) == ["0", "3"]
