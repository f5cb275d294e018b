"""Tracks of a connection: `start`, `overlay`, seeking, and the events of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.pool import connected, settled, until
from tests.fakes.running import asyncio_test
from voicepool.errors import (
    ClosedByServerError,
    FilterRefusedError,
    SourceNotFoundError,
    SupersededError,
    TrackGoneError,
)
from voicepool.events import QueueEmpty, TrackEnded, TrackPosition, TrackStarted
from voicepool.ipc.commands import Play, Seek, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed
from voicepool.track import EndReason, TrackState


@asyncio_test
async def test_start_returns_a_track_that_can_be_heard() -> None:
    async with connected() as (voice, worker, _):
        assert voice.track is None
        track = await voice.start("song.flac", volume=0.5, start_s=3, loop=True)
        [play] = worker.heard(Play)
        assert (play.options.volume, play.options.start_s, play.options.repeats) == (0.5, 3.0, None)
        assert voice.track is track
        assert voice.tracks == (track,)
        await until(lambda: track.state is TrackState.PLAYING)
        assert 3.0 <= voice.position_s == pytest.approx(track.position_s, abs=1.0)
        worker.finish(voice.call_id)
        assert await track.wait() is EndReason.FINISHED
        assert voice.track is None


@asyncio_test
async def test_start_raises_what_keeps_it_from_being_heard() -> None:
    async with connected() as (voice, worker, _):
        worker.refusals[Play] = NOT_FOUND
        with pytest.raises(SourceNotFoundError):
            await voice.start("x.mp3")
        worker.refusals[Play] = ErrorInfo(code=ErrorCode.FILTER_REFUSED, text="no such filter: bas")
        with pytest.raises(FilterRefusedError):
            await voice.start("x.mp3", filters="bas")
        assert voice.stopped


@asyncio_test
async def test_start_that_is_overtaken_is_told_so() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        starting = asyncio.create_task(voice.start("a.flac"))
        await worker.hear(Play)
        await voice.stop()
        with pytest.raises(SupersededError, match=r"a\.flac"):
            await starting


@asyncio_test
async def test_cancelling_start_stops_it_in_the_worker() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        starting = asyncio.create_task(voice.start("a.flac"))
        [play] = await worker.hear(Play)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert voice.stopped
        [stop] = await worker.hear(Stop)
        assert stop.playback == play.playback


@asyncio_test
async def test_an_overlay_is_heard_beside_the_main_track() -> None:
    async with connected() as (voice, worker, _):
        main = await voice.start("song.flac")
        effect = await voice.overlay(b"RIFF....", duck_db=-6, volume=2)
        assert worker.heard(Play)[1].duck_db == -6.0
        assert voice.track is main
        assert set(voice.tracks) == {main, effect}
        await effect.stop()
        assert (main.reason, effect.reason) == (None, EndReason.STOPPED)
        speech = await voice.overlay("speech.flac")
        await main.stop()
        assert voice.playing
        assert voice.track is None
        assert voice.current_audio == speech.source
        await voice.stop()
        assert speech.reason is EndReason.STOPPED


@pytest.mark.parametrize("wrong", [{"duck_db": 1}, {"duck_db": "low"}, {"crossfade_s": 1}])
def test_a_wrong_overlay_is_a_value_error(wrong: Any) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, worker, _):
            with pytest.raises(ValueError, match=r"duck_db must be|crossfade_s is for"):
                await voice.overlay("a.flac", **wrong)
            assert worker.heard(Play) == []

    run()


@asyncio_test
async def test_seek_is_for_the_main_track() -> None:
    async with connected() as (voice, worker, _):
        with pytest.raises(TrackGoneError, match="no main track"):
            await voice.seek(3)
        with pytest.raises(ValueError, match="position_s"):
            await voice.seek(-3)
        track = await voice.start("song.flac")
        await voice.seek(30)
        [seek] = worker.heard(Seek)
        assert (seek.playback, seek.position_s) == (track.ident, 30.0)
        assert voice.position_s == pytest.approx(30.0, abs=1.0)
        await voice.stop()


@asyncio_test
async def test_positions_come_with_the_workers_reports() -> None:
    async with connected() as (voice, worker, _):
        track = await voice.start("song.flac")
        ticks: list[TrackPosition] = []
        voice.listen(ticks.append, TrackPosition)
        worker.position_s = 42.0
        await settled(voice)
        assert ticks[-1] == TrackPosition(track, 42.0)
        voice.pause()
        assert voice.position_s == pytest.approx(42.0, abs=1.0)
        assert track.state is TrackState.PAUSED
        await voice.stop()


@asyncio_test
async def test_the_events_of_a_track() -> None:
    async with connected() as (voice, worker, _):
        told: list[Any] = []
        voice.listen(told.append, TrackStarted, TrackEnded, QueueEmpty)
        voice.queue.add("a.flac")
        await worker.hear(Play)
        await until(lambda: voice.queue.track is not None and voice.queue.track.info.codec)
        first = voice.queue.track
        worker.finish(voice.call_id)
        await voice.wait_for_stopped()
        second = await voice.start("b.flac")
        await until(lambda: len(told) == 4)
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        await voice.wait_closed()
        assert [type(event) for event in told] == [
            TrackStarted,
            TrackEnded,
            QueueEmpty,
            TrackStarted,
            TrackEnded,
        ]
        assert (told[0].track, told[1].reason) == (first, EndReason.FINISHED)
        assert (told[4].track, told[4].reason) == (second, EndReason.FAILED)
        assert isinstance(told[4].error, ClosedByServerError)
