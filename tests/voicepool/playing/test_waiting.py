"""Waiting for the end of a playback; with a real wire in ``test_playing.py``."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.playback import EndReason
from voicepool._playing.waiting import detached, until_over, until_ready
from voicepool.errors import CallGoneError, SourceNotFoundError, SupersededError
from voicepool.events import TrackEnded
from voicepool.source import AudioFile

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


@asyncio_test
async def test_a_failure_is_logged_unless_someone_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    stage = StageOfOne()
    for watched in (True, False):
        playback = stage.player.begin(SONG)
        task = detached(stage.player, playback)
        waiting = asyncio.create_task(stage.player.roster.track_of(playback).wait()) if watched else None
        await stage.turn()
        stage.worker.read_one()
        stage.worker.open_one(playback.ident, error=NOT_FOUND)
        await stage.settle()
        with pytest.raises(SourceNotFoundError):
            await task
        if waiting is not None:
            with pytest.raises(SourceNotFoundError):
                await waiting
        assert len(caplog.records) == (0 if watched else 1)


@asyncio_test
async def test_a_track_that_is_over_before_anyone_looks_was_ready_all_the_same() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    starting = asyncio.create_task(until_ready(stage.player, playback))
    await asyncio.sleep(0)
    stage.worker.read_one()
    stage.worker.open_one(playback.ident)
    stage.worker.end_main()
    while stage.worker.outbox:
        stage.link._take(stage.worker.outbox.popleft())
    track = await starting
    assert track.reason is EndReason.FINISHED
    assert track is stage.told_of(TrackEnded)[0].track


@asyncio_test
async def test_who_waits_for_the_end_and_is_cancelled_stops_it() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.settle()
    waiting = asyncio.create_task(until_over(stage.player, playback))
    await stage.turn()
    waiting.cancel()
    await stage.settle()
    assert waiting.cancelled()
    assert playback.reason is EndReason.STOPPED
    assert stage.worker.main is None


@asyncio_test
async def test_who_waits_for_it_to_be_ready_is_told_whether_the_connection_ended_or_another_came() -> None:
    stage = StageOfOne()
    first = asyncio.create_task(until_ready(stage.player, stage.player.begin(SONG)))
    await stage.turn()
    second = asyncio.create_task(until_ready(stage.player, stage.player.begin(OTHER)))
    await stage.settle(opens=False)
    with pytest.raises(SupersededError, match=r"a newer play or stop came before /music/a\.flac was ready"):
        await first
    stage.player.end_all(None)
    with pytest.raises(CallGoneError, match=r"guild 1 ended before /music/b\.flac was ready"):
        await second
