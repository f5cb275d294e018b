"""Plays that overtake, replace and outlive each other, and what a cancelled one leaves alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.pool import connected, settled, until
from tests.fakes.running import asyncio_test
from voicepool.errors import (
    SourceNotFoundError,
)
from voicepool.ipc.commands import Play, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.source import AudioFile


@asyncio_test
async def test_another_play_makes_the_first_return() -> None:
    async with connected() as (voice, worker, _):
        first = asyncio.create_task(voice.play("a.flac"))
        await worker.hear(Play)
        second = asyncio.create_task(voice.play("b.flac"))
        await first
        assert voice.current_audio == AudioFile("b.flac")
        worker.finish(voice.call_id)
        await second


@asyncio_test
async def test_a_play_that_is_overtaken_while_opening_returns() -> None:
    async with connected() as (voice, worker, _):
        worker.refusals[Play] = ErrorInfo(code=ErrorCode.SUPERSEDED, text="overtaken")
        await voice.play("a.flac")
        assert voice.stopped


@asyncio_test
async def test_when_the_replacement_cannot_be_played_the_first_plays_on() -> None:
    async with connected() as (voice, worker, _):
        first = asyncio.create_task(voice.play("a.flac"))
        await worker.hear(Play)
        worker.refusals[Play] = NOT_FOUND
        with pytest.raises(SourceNotFoundError):
            await voice.play("b.flac")
        assert (voice.playing, voice.current_audio) == (True, AudioFile("a.flac"))
        worker.finish(voice.call_id)
        await first


@asyncio_test
async def test_cancelling_play_stops_it_in_the_worker() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        assert voice.stopped
        await worker.hear(Stop)
        await until(lambda: voice.call_id not in worker.playing)


@asyncio_test
async def test_cancelling_a_play_that_was_replaced_stops_only_that_one() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        first = asyncio.create_task(voice.play("a.flac"))
        await worker.hear(Play)
        second = asyncio.create_task(voice.play("b.flac"))
        await worker.hear(Play, 2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (voice.playing, voice.current_audio) == (True, AudioFile("b.flac"))
        [stop] = await worker.hear(Stop)
        assert stop.playback == worker.heard(Play)[0].playback
        await voice.stop()
        await second


@asyncio_test
async def test_cancelling_a_play_while_it_opens_lets_the_older_one_go_on() -> None:
    async with connected() as (voice, worker, _):
        older = asyncio.create_task(voice.play("a.flac"))
        await worker.hear(Play)
        worker.silent_about.add(Play)
        newer = voice.play_no_wait("b.flac")
        [_, play] = await worker.hear(Play, 2)
        newer.cancel()
        [stop] = await worker.hear(Stop)
        await settled(voice)
        assert stop.playback == play.playback
        assert (voice.playing, voice.current_audio) == (True, AudioFile("a.flac"))
        assert not older.done()
        await voice.stop()
        await older
        assert worker.heard(Stop)[1].playback is None


@asyncio_test
async def test_cancelling_an_older_play_while_the_newer_one_opens_stops_the_older_one() -> None:
    async with connected() as (voice, worker, _):
        older = asyncio.create_task(voice.play("a.flac"))
        [play] = await worker.hear(Play)
        worker.silent_about.add(Play)
        newer = voice.play_no_wait("b.flac")
        await worker.hear(Play, 2)
        older.cancel()
        [stop] = await worker.hear(Stop)
        assert stop.playback == play.playback
        await until(lambda: voice.call_id not in worker.playing)
        assert voice.current_audio == AudioFile("b.flac")
        await voice.stop()
        await newer


@asyncio_test
async def test_play_after_a_cancelled_play_is_not_hit_by_its_stop() -> None:
    async with connected() as (voice, worker, _):
        first = asyncio.create_task(voice.play("a.flac"))
        await worker.hear(Play)
        first.cancel()
        await asyncio.wait({first})
        second = voice.play_no_wait("b.flac")
        await worker.hear(Play, 2)
        kinds = [type(command) for command in worker.commands if isinstance(command, Play | Stop)]
        assert kinds == [Play, Stop, Play]
        assert voice.playing
        await voice.stop()
        await second
