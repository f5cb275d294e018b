"""What concerns all that a connection plays: pause, volume, encoding."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials
from tests.fakes.running import asyncio_test
from voicepool.encoding import Encoding
from voicepool.ipc.commands import Pause, Play, Resume, SetEncoding, SetVolume


@asyncio_test
async def test_pause_and_resume() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        voice.pause()
        assert (voice.playing, voice.paused, voice.stopped) == (False, True, False)
        voice.resume()
        assert (voice.playing, voice.paused) == (True, False)
        await worker.hear(Resume)
        assert len(worker.heard(Pause)) == 1
        await voice.stop()
        await task


@asyncio_test
async def test_pausing_silence_does_nothing_and_does_not_hold_the_next() -> None:
    async with connected() as (voice, worker, _):
        voice.pause()
        voice.resume()
        assert not voice.paused
        task = voice.play_no_wait("song.flac")
        assert voice.playing
        await worker.hear(Play)
        assert not worker.heard(Pause)
        assert not worker.heard(Resume)
        await voice.stop()
        await task


@asyncio_test
async def test_the_next_play_is_not_held_by_the_pause_of_the_one_before() -> None:
    async with connected() as (voice, worker, _):
        first = voice.play_no_wait("a.flac")
        voice.pause()
        second = voice.play_no_wait("b.flac")
        assert voice.playing
        await worker.hear(Play, 2)
        await first
        await voice.stop()
        await second


@asyncio_test
async def test_volume_is_for_now_and_for_later() -> None:
    async with connected() as (voice, worker, _):
        assert voice.volume == 1.0
        voice.volume = 0.25
        task = voice.play_no_wait("song.flac")
        [play] = await worker.hear(Play)
        assert play.volume == 0.25
        voice.volume = 2
        [change] = await worker.hear(SetVolume)
        assert change.volume == 2.0
        assert isinstance(voice.volume, float)
        await voice.stop()
        await task


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, -math.inf, "1", None, True, [1]])
def test_a_wrong_volume_is_a_value_error_and_changes_nothing(wrong: Any) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, _worker, _fakes):
            voice.volume = 0.5
            with pytest.raises(ValueError, match="volume must be a"):
                voice.volume = wrong
            assert voice.volume == 0.5

    run()


@asyncio_test
async def test_wait_for_stopped_returns_at_once_in_silence() -> None:
    async with connected() as (voice, _, _):
        await voice.wait_for_stopped()


@asyncio_test
async def test_the_encoding_is_the_configs_until_it_is_set() -> None:
    async with connected(bitrate_bps=96_000, complexity=5) as (voice, worker, _):
        assert voice.encoding == Encoding(bitrate_bps=96_000, complexity=5)
        assert voice.channel_bitrate_bps is None
        voice.encoding = dataclasses.replace(voice.encoding, bitrate_bps="auto", mono=True)
        [command] = await worker.hear(SetEncoding)
        assert (command.encoding.bitrate_bps, command.encoding.mono) == (96_000, True)
        with pytest.raises(TypeError, match="Encoding"):
            voice.encoding = 64_000  # type: ignore[assignment]
        assert voice.encoding.mono


@asyncio_test
async def test_a_worker_that_opens_the_call_anew_is_told_the_encoding() -> None:
    async with connected() as (voice, worker, _):
        await voice.connect(credentials(token="new"))
        assert worker.heard(SetEncoding) == []
        voice.encoding = Encoding(mono=True)
        await voice.connect(credentials(token="newer"))
        await worker.hear(SetEncoding, 2)
