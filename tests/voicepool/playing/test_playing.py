"""Playing on a connection, with a worker behind it; without one in ``test_player.py``."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.pool import connected, settled, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import INFO
from voicepool.errors import (
    InternalError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceTruncatedError,
    WorkerTimeoutError,
)
from voicepool.ipc import events as wire
from voicepool.ipc.commands import Pause, Play, SetVolume, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import Done, TrackReady
from voicepool.ipc.ids import PlaybackId
from voicepool.resolver import Resolved, WorkerResolver
from voicepool.source import AudioFile
from voicepool.station import Station


@asyncio_test
async def test_play_returns_when_the_source_has_ended() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        [command] = await worker.hear(Play)
        await until(lambda: worker.playing)
        assert (voice.playing, voice.paused, voice.stopped) == (True, False, False)
        assert voice.current_audio == AudioFile("song.flac")
        assert (command.volume, command.paused) == (1.0, False)
        assert not playing.done()
        worker.finish(voice.call_id)
        await playing
        assert (voice.playing, voice.paused, voice.stopped) == (False, False, True)
        assert voice.current_audio is None
        assert voice.connected


@asyncio_test
async def test_bytes_go_beside_the_command() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait(b"RIFF....")
        await worker.hear(Play)
        assert worker.attachments[worker.commands.index(worker.heard(Play)[0])] == [b"RIFF...."]
        await voice.stop()
        await task


@asyncio_test
async def test_too_many_bytes_name_the_setting() -> None:
    async with connected(max_source_bytes=10) as (voice, worker, _):
        with pytest.raises(SourceRefusedError, match="max_source_bytes = 10"):
            await voice.play(b"x" * 11)
        assert voice.stopped
        assert worker.heard(Play) == []


@pytest.mark.parametrize("location", [Path("a.mp3"), "a.mp3", AudioFile("a.mp3")])
def test_a_path_is_made_into_audio(location: Any) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, _worker, _fakes):
            task = voice.play_no_wait(location)
            assert voice.current_audio == AudioFile("a.mp3")
            await voice.stop()
            await task

    run()


@asyncio_test
async def test_what_cannot_be_played_is_refused_at_once() -> None:
    async with connected() as (voice, _, _):
        for wrong in (None, 5, object()):
            with pytest.raises(TypeError, match="allowed is a path"):
                voice.play_no_wait(wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await voice.play(wrong)  # type: ignore[arg-type]
        assert voice.stopped


@asyncio_test
async def test_a_source_that_does_not_open_is_a_typed_error_and_the_connection_stays() -> None:
    async with connected() as (voice, worker, _):
        worker.refusals[Play] = NOT_FOUND
        with pytest.raises(SourceNotFoundError, match="no such file"):
            await voice.play("x.mp3")
        assert (voice.connected, voice.stopped) == (True, True)


@asyncio_test
async def test_a_source_that_breaks_off_is_a_typed_error() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.mp3"))
        await worker.hear(Play)
        info = ErrorInfo(code=ErrorCode.SOURCE_TRUNCATED, text="cut", data={"played_s": 1.5})
        worker.finish(voice.call_id, wire.EndReason.FAILED, info)
        with pytest.raises(SourceTruncatedError, match="cut") as caught:
            await playing
        assert caught.value.data == {"played_s": 1.5}


@asyncio_test
async def test_a_failure_without_a_reason_is_a_defect_and_not_a_success() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.mp3"))
        await worker.hear(Play)
        worker.finish(voice.call_id, wire.EndReason.FAILED)
        with pytest.raises(InternalError):
            await playing


@asyncio_test
async def test_stop_makes_play_return() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        await voice.stop()
        assert voice.stopped
        await playing


@asyncio_test
async def test_stop_makes_a_play_return_that_is_still_opening() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        await voice.stop()
        await playing
        assert voice.stopped


@asyncio_test
async def test_stop_without_playback_does_nothing() -> None:
    async with connected() as (voice, worker, _):
        await voice.stop()
        assert worker.heard(Stop) == []


@asyncio_test
async def test_a_stop_that_is_not_answered_is_a_timeout() -> None:
    async with connected(command_timeout_s=0.02) as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        worker.silent_about.add(Stop)
        with pytest.raises(WorkerTimeoutError, match="Stop"):
            await voice.stop()
        worker.finish(voice.call_id)
        await playing


@asyncio_test
async def test_a_stop_during_which_the_call_ends_has_done_its_work() -> None:
    async with connected() as (voice, worker, fakes):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        worker.silent_about.add(Stop)
        stopping = asyncio.create_task(voice.stop())
        await worker.hear(Stop)
        fakes.processes[0].kill()
        await stopping
        await playing
        await voice.stop()


@asyncio_test
async def test_what_follows_a_gap_goes_to_the_worker() -> None:
    async with connected() as (voice, worker, _):
        tasks = [
            voice.play_no_wait("a.flac"),
            voice.play_no_wait("a.flac", on_gap="skip"),
            asyncio.create_task(voice.play("a.flac", on_gap="skip")),
            asyncio.create_task(voice.play("a.flac", on_gap="continue")),
        ]
        plays = await worker.hear(Play, 4)
        assert [play.on_gap for play in plays] == ["continue", "skip", "skip", "continue"]
        await voice.stop()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("wrong", ["Skip", "", None, 1, ["skip"]])
def test_another_word_for_a_gap_is_a_value_error_at_the_call(wrong: Any) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, worker, _):
            with pytest.raises(ValueError, match="on_gap must be 'continue' or 'skip'; it is"):
                voice.play_no_wait("a.flac", on_gap=wrong)
            with pytest.raises(ValueError, match="on_gap must be"):
                await voice.play("a.flac", on_gap=wrong)
            await settled(voice)
            assert voice.stopped
            assert worker.heard(Play) == []

    run()


@pytest.mark.parametrize("pool_says", [False, True])
@pytest.mark.parametrize("source_says", [None, False, True])
def test_the_pool_says_whether_urls_may_be_private_where_the_source_does_not(
    *, pool_says: bool, source_says: bool | None
) -> None:
    @asyncio_test
    async def run() -> None:
        url = AudioFile("https://radio.example/live", public_only=source_says)
        async with connected(public_urls_only=pool_says) as (voice, worker, _):
            for source in (url, Station("radio", url), Resolved("radio", lambda _query: url)):
                await voice.start(source)
            await voice.start(WorkerResolver("mybot.library:find")("radio"))
            heard: list[Any] = [play.source for play in worker.heard(Play)]
            wanted = pool_says if source_says is None else source_says
            flags = [heard[0].public_only, heard[1].source.public_only, heard[2].public_only]
            assert flags == [wanted] * 3
            assert heard[3].public_only is pool_says
            await voice.stop()

    run()


@asyncio_test
async def test_a_source_that_never_opens_is_given_up() -> None:
    async with connected(source_open_timeout_s=0.01, source_read_timeout_s=0.01) as (voice, worker, _):
        worker.silent_about.add(Play)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("voicepool._playing.line.ANSWER_MARGIN_S", 0.01)
            with pytest.raises(WorkerTimeoutError, match="Play"):
                await voice.play("song.flac")
        assert voice.stopped
        await worker.hear(Stop)


@asyncio_test
async def test_news_of_an_unknown_playback_changes_nothing() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        foreign = wire.TrackEnded(
            call=voice.call_id, playback=PlaybackId("other"), reason=wire.EndReason.FINISHED, frames_sent=0
        )
        worker.say(foreign)
        await settled(voice)
        assert not playing.done()
        worker.finish(voice.call_id)
        await playing


@asyncio_test
async def test_an_end_that_overtakes_the_start_counts() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        playing = asyncio.create_task(voice.play("song.flac"))
        [command] = await worker.hear(Play)
        worker.playing[voice.call_id] = command.playback
        worker.finish(voice.call_id)
        worker.say(
            TrackReady(request=command.request, call=voice.call_id, playback=command.playback, info=INFO)
        )
        await playing
        assert voice.stopped


@asyncio_test
async def test_an_answer_of_the_wrong_kind_is_a_defect() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        playing = asyncio.create_task(voice.play("song.flac"))
        [command] = await worker.hear(Play)
        worker.say(Done(request=command.request))
        with pytest.raises(InternalError, match="answered Play with Done"):
            await playing


@asyncio_test
async def test_play_no_wait_plays_at_once() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        assert isinstance(task, asyncio.Task)
        assert (voice.playing, voice.stopped) == (True, False)
        waiting = asyncio.create_task(voice.wait_for_stopped())
        await worker.hear(Play)
        assert not waiting.done()
        worker.finish(voice.call_id)
        await waiting
        await task


@asyncio_test
async def test_what_follows_play_no_wait_reaches_the_worker_after_it() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        voice.pause()
        voice.volume = 0.5
        await worker.hear(SetVolume)
        assert [type(command) for command in worker.commands[-3:]] == [Play, Pause, SetVolume]
        await voice.stop()
        await task


@asyncio_test
async def test_an_unwatched_failure_is_logged_once_and_asyncio_is_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context))
    async with connected() as (voice, worker, _):
        worker.refusals[Play] = NOT_FOUND
        voice.play_no_wait("https://user:hidden@example.com/x.mp3?key=hidden")
        await voice.wait_for_stopped()
        await until(lambda: not voice._background)
        gc.collect()
    records = [record for record in caplog.records if record.name == "voicepool.player"]
    assert [record.levelno for record in records] == [logging.WARNING]
    text = records[0].getMessage()
    assert text.startswith(
        "guild 1: cannot play https://example.com/x.mp3: SourceNotFoundError: no such file"
    )
    assert "hidden" not in text
    assert noise == []


@asyncio_test
async def test_the_task_of_play_no_wait_raises_for_who_awaits_it() -> None:
    async with connected() as (voice, worker, _):
        worker.refusals[Play] = NOT_FOUND
        with pytest.raises(SourceNotFoundError):
            await voice.play_no_wait("x.mp3")


@asyncio_test
async def test_cancelling_the_task_before_its_first_step_stops_the_playback() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: voice.stopped)
        await worker.hear(Stop)
