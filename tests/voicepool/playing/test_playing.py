"""Playing on a connection, with a worker behind it; without one in ``test_player.py``."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, settled, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import INFO
from voicepool.encoding import Encoding
from voicepool.errors import (
    ClosedByServerError,
    FilterRefusedError,
    InternalError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceTruncatedError,
    SupersededError,
    TrackGoneError,
    WorkerTimeoutError,
)
from voicepool.events import QueueEmpty, TrackEnded, TrackPosition, TrackStarted
from voicepool.ipc import events as wire
from voicepool.ipc.commands import Pause, Play, Resume, Seek, SetEncoding, SetVolume, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed, Done, TrackReady
from voicepool.ipc.ids import PlaybackId
from voicepool.resolver import Resolved, WorkerResolver
from voicepool.source import AudioFile
from voicepool.station import Station
from voicepool.track import EndReason, TrackState

NOT_FOUND = ErrorInfo(code=ErrorCode.SOURCE_NOT_FOUND, text="no such file: /x.mp3")


# Playing.


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
        with pytest.raises(SourceNotFoundError, match=r"/x\.mp3"):
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


# Gaps.


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


# More than one.


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


# play_no_wait.


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


# Pause and volume.


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


# Tracks.


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


# Encoding.


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
