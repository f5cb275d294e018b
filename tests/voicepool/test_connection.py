"""A connection: playing, joining anew, and the ways it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import INFO
from voicepool._switchboard import Switchboard
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import (
    CallGoneError,
    ClosedByServerError,
    ConnectTimeoutError,
    InternalError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceTruncatedError,
    SupersededError,
    VoicePoolError,
    WorkerLostError,
    WorkerTimeoutError,
)
from voicepool.ipc.commands import CloseCall, OpenCall, Pause, Play, Resume, SetVolume, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed, CallOpened, Done, EndReason, TrackEnded, TrackStarted
from voicepool.ipc.ids import PlaybackId
from voicepool.source import AudioFile

NOT_FOUND = ErrorInfo(code=ErrorCode.SOURCE_NOT_FOUND, text="no such file: /x.mp3")


async def settled(voice: BaseVoiceConnection) -> None:
    """Wait until all that the worker has said so far was taken in: answers come in order."""
    host = voice._host
    assert isinstance(host, Switchboard)
    await host.fleet.refresh_stats()


# Playing.


@asyncio_test
async def test_play_returns_when_the_source_has_ended() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        [command] = await worker.hear(Play)
        await until(lambda: voice._player.current and voice._player.current.info == INFO)
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
        worker.finish(voice.call_id, EndReason.FAILED, info)
        with pytest.raises(SourceTruncatedError, match="cut") as caught:
            await playing
        assert caught.value.data == {"played_s": 1.5}


@asyncio_test
async def test_a_failure_without_a_reason_is_a_defect_and_not_a_success() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.mp3"))
        await worker.hear(Play)
        worker.finish(voice.call_id, EndReason.FAILED)
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
async def test_cancelling_a_play_that_was_replaced_stops_nothing() -> None:
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
        await settled(voice)
        assert worker.heard(Stop) == []
        await voice.stop()
        await second


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


@asyncio_test
async def test_a_source_that_never_opens_is_given_up() -> None:
    async with connected(source_open_timeout_s=0.01) as (voice, worker, _):
        worker.silent_about.add(Play)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("voicepool.player.ANSWER_MARGIN_S", 0.01)
            with pytest.raises(WorkerTimeoutError, match="Play"):
                await voice.play("song.flac")
        assert voice.stopped
        await worker.hear(Stop)


@asyncio_test
async def test_news_of_an_unknown_playback_changes_nothing() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        foreign = TrackEnded(
            call=voice.call_id, playback=PlaybackId("other"), reason=EndReason.FINISHED, frames_sent=0
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
            TrackStarted(request=command.request, call=voice.call_id, playback=command.playback, info=INFO)
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


# The end.


@asyncio_test
async def test_disconnect_ends_all_and_tells_the_worker() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        await voice.disconnect()
        await playing
        assert (voice.connected, voice.closed, voice.error) == (False, True, None)
        assert (voice.mode, voice.ssrc) == (None, None)
        [close] = worker.heard(CloseCall)
        assert close.call == voice.call_id
        await voice.disconnect()
        await voice.wait_closed()
        assert len(worker.heard(CloseCall)) == 1


@asyncio_test
async def test_a_closed_connection_refuses_to_play() -> None:
    async with connected() as (voice, worker, _):
        await voice.disconnect()
        with pytest.raises(CallGoneError, match="connect again"):
            await voice.play("song.flac")
        with pytest.raises(CallGoneError):
            voice.play_no_wait("song.flac")
        with pytest.raises(CallGoneError):
            await voice.connect()
        voice.pause()
        voice.resume()
        voice.volume = 0.3
        await voice.stop()
        await voice.wait_for_stopped()
        assert voice.volume == 0.3
        assert worker.heard(Play) == []


@asyncio_test
async def test_disconnect_survives_a_worker_that_does_not_answer() -> None:
    async with connected(command_timeout_s=0.02) as (voice, worker, _):
        worker.silent_about.add(CloseCall)
        await voice.disconnect()
        assert voice.closed


@asyncio_test
async def test_disconnect_survives_the_loss_of_the_worker() -> None:
    async with connected() as (voice, worker, fakes):
        worker.silent_about.add(CloseCall)
        leaving = asyncio.create_task(voice.disconnect())
        await worker.hear(CloseCall)
        fakes.processes[0].kill()
        await leaving


@asyncio_test
async def test_a_call_that_is_closed_by_the_server_ends_what_plays() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        with pytest.raises(ClosedByServerError, match="kicked"):
            await playing
        await voice.wait_closed()
        assert isinstance(voice.error, ClosedByServerError)
        assert not voice.connected
        with pytest.raises(CallGoneError):
            await voice.play("song.flac")


@asyncio_test
async def test_the_end_of_an_older_attempt_is_ignored() -> None:
    async with connected() as (voice, worker, _):
        await voice.connect(credentials(token="new"))
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="old", data={"close_code": 4014})
        worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        await settled(voice)
        assert voice.connected


@asyncio_test
async def test_the_hook_is_called_once_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[VoicePoolError | None] = []

    class Hooked(BaseVoiceConnection):
        def on_closed(self, error: VoicePoolError | None) -> None:
            calls.append(error)
            raise RuntimeError("a mistake of the adapter")

    pool, fakes = pool_of()
    async with pool:
        voice = Hooked(pool.host, credentials())
        await voice.connect()
        fakes.processes[0].kill()
        await voice.wait_closed()
        await voice.disconnect()
    assert [type(error) for error in calls] == [WorkerLostError]
    assert "on_closed of Hooked failed" in caplog.text


# Joining anew.


@asyncio_test
async def test_joining_anew_keeps_the_call_and_what_plays() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        await worker.hear(Play)
        await voice.connect(credentials(endpoint="other.example:443", token="new"))
        first, second = worker.heard(OpenCall)
        assert first.call == second.call
        assert (first.generation, second.generation) == (1, 2)
        assert second.credentials.endpoint == "other.example:443"
        assert (voice.connected, voice.playing, voice.ssrc) == (True, True, 1002)
        await voice.stop()
        await task


@asyncio_test
async def test_a_newer_attempt_overtakes_an_older_one() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        older = asyncio.create_task(voice.connect(credentials(token="second")))
        await worker.hear(OpenCall, 2)
        assert not voice.connected
        worker.silent_about.clear()
        await voice.connect(credentials(token="third"))
        with pytest.raises(SupersededError):
            await older
        assert (voice.connected, voice.ssrc) == (True, 1003)


@asyncio_test
async def test_the_late_answer_to_an_older_attempt_is_ignored() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        attempts = [asyncio.create_task(voice.connect(credentials(token=token))) for token in ("b", "c")]
        commands = await worker.hear(OpenCall, 3)
        for command in commands[1:]:
            worker.say(
                CallOpened(
                    request=command.request,
                    call=command.call,
                    generation=command.generation,
                    mode="m",
                    ssrc=command.generation,
                )
            )
        await attempts[1]
        with pytest.raises(SupersededError):
            await attempts[0]
        assert voice.ssrc == 3


@asyncio_test
async def test_an_answer_that_was_not_looked_at_yet_is_overtaken_too() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        older = asyncio.create_task(voice.connect(credentials(token="b")))
        [_, command] = await worker.hear(OpenCall, 2)
        await until(lambda: voice._opening)
        newer = asyncio.create_task(voice.connect(credentials(token="c")))
        assert voice._opening is not None
        voice._opening.settle(
            CallOpened(request=command.request, call=voice.call_id, generation=2, mode="m", ssrc=2)
        )
        with pytest.raises(SupersededError):
            await older
        assert not voice.connected
        [_, _, command] = await worker.hear(OpenCall, 3)
        worker.say(CallOpened(request=command.request, call=voice.call_id, generation=3, mode="m", ssrc=3))
        await newer
        assert voice.ssrc == 3


@asyncio_test
async def test_failing_to_join_anew_ends_the_connection() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        worker.refusals[OpenCall] = ErrorInfo(code=ErrorCode.CONNECT_TIMEOUT, text="no hello")
        with pytest.raises(ConnectTimeoutError):
            await voice.connect(credentials(token="new"))
        with pytest.raises(ConnectTimeoutError):
            await playing
        assert voice.closed


@asyncio_test
async def test_disconnecting_overtakes_joining_anew() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect())
        await worker.hear(OpenCall, 2)
        await voice.disconnect()
        with pytest.raises(SupersededError):
            await joining


@asyncio_test
async def test_credentials_of_another_guild_are_refused() -> None:
    async with connected() as (voice, _, _):
        with pytest.raises(ValueError, match="make a new connection"):
            await voice.connect(credentials(guild=2))
        assert voice.connected


@asyncio_test
async def test_its_repr_tells_where_it_stands_and_no_secret() -> None:
    async with connected() as (voice, _, _):
        assert repr(voice) == "<BaseVoiceConnection guild=1 channel=10 connected>"
        await voice.disconnect()
        assert repr(voice) == "<BaseVoiceConnection guild=1 channel=10 closed>"
