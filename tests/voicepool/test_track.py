"""What a bot author holds of one source that is played."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.model_worker import ModelWorker
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.options import checked_options
from voicepool.errors import FilterRefusedError, TrackGoneError, UnseekableError, WorkerLostError
from voicepool.filters import BassBoost
from voicepool.ipc.commands import ChangeTrack, Play, Seek, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import Done, Failed
from voicepool.ipc.events import EndReason as WireReason
from voicepool.source import AudioFile
from voicepool.track import EndReason, Track, TrackState

REFUSED = ErrorInfo(code=ErrorCode.FILTER_REFUSED, text="no such filter: 'bas'")


async def playing(**options: Any) -> tuple[StageOfOne, Track]:
    stage = StageOfOne()
    playback = stage.player.begin(AudioFile("/music/a.flac"), checked_options(options))
    await stage.settle()
    return stage, stage.player.roster.track_of(playback)


async def over(stage: StageOfOne) -> None:
    stage.player.end_all(None)
    await stage.turn()


def changes(worker: ModelWorker) -> list[ChangeTrack]:
    return [command for command in (*worker.read, *worker.inbox) if isinstance(command, ChangeTrack)]


async def refuse(stage: StageOfOne, error: ErrorInfo) -> None:
    """Answer the oldest command with an error."""
    stage.worker.say(Failed(request=stage.worker.inbox.popleft().request, error=error))
    await stage.settle()


@asyncio_test
async def test_it_says_how_it_is_played() -> None:
    stage, track = await playing(volume=0.5, speed=2, filters=BassBoost(3), loudness_lufs=-14)
    assert (track.volume, track.speed, track.filters, track.loudness_lufs) == (
        0.5,
        2.0,
        "bass=g=3:f=100",
        -14,
    )
    assert track.state is TrackState.PLAYING
    assert "a.flac" in repr(track)
    assert track.ident == stage.worker.started[0].playback
    await over(stage)


# Volume.


@asyncio_test
async def test_the_volume_is_told_at_once_and_once() -> None:
    stage, track = await playing(filters="tremolo")
    track.volume = 0.3
    track.volume = 0.3
    assert [(change.volume, change.filters) for change in changes(stage.worker)] == [(0.3, "tremolo")]
    await stage.settle()
    await over(stage)


@asyncio_test
async def test_a_volume_that_is_set_while_it_opens_is_told_when_it_is_open() -> None:
    stage = StageOfOne()
    track = stage.player.roster.track_of(stage.player.begin(AudioFile("/music/a.flac")))
    track.volume = 0.3
    await stage.turn()
    assert [type(command) for command in stage.worker.inbox] == [Play]
    await stage.settle()
    assert [change.volume for change in changes(stage.worker)] == [0.3]
    await over(stage)


@asyncio_test
async def test_a_volume_that_is_set_during_another_change_follows_it() -> None:
    stage, track = await playing()
    changing = asyncio.create_task(track.set(filters="tremolo"))
    await stage.turn()
    track.volume = 0.3
    assert len(changes(stage.worker)) == 1
    await stage.settle()
    await changing
    assert [(change.volume, change.filters) for change in changes(stage.worker)] == [
        (1.0, "tremolo"),
        (0.3, "tremolo"),
    ]
    assert (track.volume, track.filters) == (0.3, "tremolo")
    await over(stage)


@asyncio_test
async def test_a_volume_that_was_set_during_a_refused_change_is_told_without_it() -> None:
    stage, track = await playing()
    changing = asyncio.create_task(track.set(filters="bas"))
    await stage.turn()
    track.volume = 0.3
    await refuse(stage, REFUSED)
    with pytest.raises(FilterRefusedError):
        await changing
    assert [(change.volume, change.filters) for change in changes(stage.worker)] == [(0.3, None)]
    await over(stage)


@asyncio_test
async def test_a_wrong_volume_changes_nothing() -> None:
    stage, track = await playing()
    with pytest.raises(ValueError, match="volume must be"):
        track.volume = -1
    assert track.volume == 1.0
    assert changes(stage.worker) == []
    await over(stage)


# Other changes.


@asyncio_test
async def test_a_change_names_everything_and_keeps_what_was_not_named() -> None:
    stage, track = await playing(volume=0.5, speed=2, loudness_lufs=-14)
    changing = asyncio.create_task(track.set(filters=[BassBoost(3)]))
    await stage.settle()
    await changing
    [change] = changes(stage.worker)
    assert (change.volume, change.speed, change.filters, change.loudness_lufs) == (
        0.5,
        2.0,
        "bass=g=3:f=100",
        -14.0,
    )
    changing = asyncio.create_task(track.set(filters=None, loudness_lufs=None))
    await stage.settle()
    await changing
    assert (track.speed, track.filters, track.loudness_lufs) == (2.0, None, None)
    await over(stage)


@asyncio_test
async def test_a_refused_change_leaves_all_as_it_was() -> None:
    stage, track = await playing(filters="tremolo")
    changing = asyncio.create_task(track.set(filters="bas", speed=2))
    await stage.turn()
    await refuse(stage, REFUSED)
    with pytest.raises(FilterRefusedError, match="no such filter: 'bas'"):
        await changing
    assert (track.filters, track.speed) == ("tremolo", 1.0)
    stage.clock.advance(10)
    assert track.position_s == pytest.approx(10.0)
    await over(stage)


@asyncio_test
async def test_another_speed_moves_it_on_at_that_speed() -> None:
    stage, track = await playing()
    stage.clock.advance(10)
    changing = asyncio.create_task(track.set(speed=2))
    await stage.settle()
    await changing
    stage.clock.advance(5)
    assert track.position_s == pytest.approx(20.0)
    await over(stage)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"speed": 9}, ValueError), ({"filters": [1]}, TypeError), ({"loudness_lufs": 3}, ValueError)],
)
def test_a_wrong_change_is_refused_here(wrong: Any, error: type[Exception]) -> None:
    @asyncio_test
    async def run() -> None:
        stage, track = await playing()
        with pytest.raises(error):
            await track.set(**wrong)
        assert changes(stage.worker) == []
        await over(stage)

    run()


# Seeking.


@asyncio_test
async def test_a_seek_moves_it_when_it_is_done() -> None:
    stage, track = await playing()
    stage.clock.advance(10)
    seeking = asyncio.create_task(track.seek(60))
    await stage.turn()
    assert track.position_s == pytest.approx(10.0)
    await stage.settle()
    await seeking
    assert track.position_s == 60.0
    stage.clock.advance(2)
    assert track.position_s == pytest.approx(62.0)
    [seek] = [command for command in stage.worker.read if isinstance(command, Seek)]
    assert seek.position_s == 60.0
    await over(stage)


@asyncio_test
async def test_a_seek_waits_until_it_is_open() -> None:
    stage = StageOfOne()
    track = stage.player.roster.track_of(stage.player.begin(AudioFile("/music/a.flac")))
    seeking = asyncio.create_task(track.seek(60))
    await stage.turn()
    assert [type(command) for command in stage.worker.inbox] == [Play]
    await stage.settle()
    await seeking
    await over(stage)


@asyncio_test
async def test_what_cannot_seek_says_so_and_plays_on() -> None:
    stage, track = await playing()
    stage.clock.advance(10)
    seeking = asyncio.create_task(track.seek(60))
    await stage.turn()
    await refuse(stage, ErrorInfo(code=ErrorCode.UNSEEKABLE, text="a broadcast cannot seek"))
    with pytest.raises(UnseekableError, match="a broadcast"):
        await seeking
    assert track.position_s == pytest.approx(10.0)
    await over(stage)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "1", None])
def test_a_wrong_place_is_a_value_error(wrong: Any) -> None:
    @asyncio_test
    async def run() -> None:
        stage, track = await playing()
        with pytest.raises(ValueError, match="position_s must be"):
            await track.seek(wrong)
        await over(stage)

    run()


# The end.


@asyncio_test
async def test_it_can_be_stopped_alone() -> None:
    stage, track = await playing()
    stopping = asyncio.create_task(track.stop(0))
    await stage.settle()
    await stopping
    [stop] = [command for command in stage.worker.read if isinstance(command, Stop)]
    assert stop.playback == track.ident
    assert (track.state, track.reason) == (TrackState.OVER, EndReason.STOPPED)
    await track.stop()


@asyncio_test
async def test_who_waits_learns_why_it_ended() -> None:
    stage, track = await playing()
    waiting = asyncio.create_task(track.wait())
    await stage.turn()
    stage.worker.end_main(WireReason.REPLACED)
    await stage.settle()
    assert await waiting is EndReason.REPLACED
    assert await track.wait() is EndReason.REPLACED


@asyncio_test
async def test_who_stops_waiting_leaves_it_alone() -> None:
    stage, track = await playing()
    waiting = asyncio.create_task(track.wait())
    await stage.turn()
    waiting.cancel()
    await stage.turn()
    assert waiting.cancelled()
    assert track.state is TrackState.PLAYING
    await over(stage)


@asyncio_test
async def test_a_lost_worker_is_raised_for_who_waits() -> None:
    stage, track = await playing()
    stage.player.end_all(WorkerLostError("gone"))
    assert track.reason is EndReason.WORKER_LOST
    with pytest.raises(WorkerLostError, match="gone"):
        await track.wait()


@asyncio_test
async def test_what_is_over_cannot_be_changed() -> None:
    stage, track = await playing()
    stage.worker.end_main()
    await stage.settle()
    with pytest.raises(TrackGoneError, match=r"a\.flac does not play any more; play it again"):
        await track.seek(1)
    with pytest.raises(TrackGoneError):
        await track.set(speed=2)
    track.volume = 0.1
    assert not stage.worker.inbox


@asyncio_test
async def test_an_end_that_crosses_a_change_is_told_by_the_worker() -> None:
    stage, track = await playing()
    changing = asyncio.create_task(track.set(speed=2))
    await stage.turn()
    stage.worker.end_main()
    await stage.settle()
    with pytest.raises(TrackGoneError):
        await changing


@asyncio_test
async def test_an_answer_after_the_end_does_no_harm() -> None:
    stage, track = await playing()
    track.volume = 0.2
    change = stage.worker.inbox.popleft()
    stage.worker.end_main()
    stage.worker.say(Done(request=change.request))
    await stage.settle()
    assert track.reason is EndReason.FINISHED


@asyncio_test
async def test_a_change_that_waits_for_another_waits_for_the_next_worker_too() -> None:
    stage, track = await playing()
    first = asyncio.create_task(track.set(speed=2.0))
    await stage.turn()
    second = asyncio.create_task(track.set(speed=0.5))
    await stage.turn()
    stage.lose()
    stage.go_on()
    await stage.turn()
    await first
    assert changes(stage.worker) == [], "it is being opened there, and cannot be changed yet"
    await stage.settle()
    await second
    assert [change.speed for change in changes(stage.worker)] == [0.5]
    assert track.speed == 0.5
    await over(stage)
