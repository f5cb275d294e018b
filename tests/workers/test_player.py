"""A player turned by hand: what it sends of one track, and one ending for each start."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    CALL,
    MIX,
    TAIL,
    HandPlayer,
    code_of,
    packet,
    play_command,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason, TrackEnded, TrackStarted
from voicepool.ipc.ids import PlaybackId
from voicepool.workers import sound as sound_module
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

# Playing.


@asyncio_test
async def test_a_track_is_sent_to_its_end_and_ends_once() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 7)
    assert await bench.tick(20) == source.names(7) + TAIL
    assert bench.started == ["a"]
    assert bench.ended == [("a", "finished", 7)]
    assert source.closes == 1
    await bench.close()
    assert len(bench.ended) == 1


@asyncio_test
async def test_its_start_is_told_when_its_first_frame_is_about_to_be_sent() -> None:
    bench = HandPlayer()
    await bench.play("a", 7)
    assert bench.hand.events == []
    await bench.tick(1)
    assert bench.hand.events == [TrackStarted(call=CALL, playback=PlaybackId("a"))]
    await bench.tick(20)
    assert [type(event) for event in bench.hand.events] == [TrackStarted, TrackEnded]
    await bench.close()


@asyncio_test
async def test_it_is_started_when_its_first_frames_are_encoded() -> None:
    bench = HandPlayer()
    source = bench.source("a", steps=[NOT_YET, packet("x"), NOT_YET, packet("y"), *[NOT_YET] * 9])
    task = asyncio.create_task(bench.player.play(play_command("a"), []))
    for _ in range(3):
        await asyncio.sleep(0)
    primed = []
    for _ in range(4):
        bench.hand.encoders.held[0].fill(0)
        for _ in range(5):
            await asyncio.sleep(0)
        primed.append(task.done())
    assert (primed[0], primed[-1]) == (False, True), "not before there is something to be heard"
    assert source.steps, "and well before its end"
    info = await task
    assert (info.title, info.codec, info.passthrough) == ("Song", "opus", True)
    await bench.close()
    assert source.closes == 1


@asyncio_test
async def test_a_source_without_a_frame_ends_as_finished() -> None:
    bench = HandPlayer()
    await bench.play("empty", 0)
    assert await bench.tick(10) == TAIL
    assert bench.ended == [("empty", "finished", 0)]
    await bench.close()


@asyncio_test
async def test_a_source_that_cannot_be_opened_leaves_what_plays_alone() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 6)
    await bench.tick(2)
    bench.hand.opener.sources["bad"] = SourceError(ErrorCode.SOURCE_NOT_FOUND, "bad is not there")
    assert await code_of(await bench.start("bad")) is ErrorCode.SOURCE_NOT_FOUND
    assert await bench.tick(12) == old.names(4, first=2) + TAIL
    assert bench.ended == [("old", "finished", 6)]
    await bench.close()


@asyncio_test
async def test_a_source_that_breaks_before_its_first_frame_fails_the_play() -> None:
    bench = HandPlayer()
    source = bench.source("a", steps=[SourceError(ErrorCode.SOURCE_FAILED, "cut", played_s=0.0)])
    task = await bench.start("a")
    with pytest.raises(SourceError, match="cut") as caught:
        await task
    assert caught.value.data == {"played_s": 0.0}
    await bench.hand.settle()
    assert source.closes == 1
    assert bench.ended == []
    await bench.close()


@asyncio_test
async def test_a_source_that_breaks_later_is_played_up_to_there() -> None:
    bench = HandPlayer()
    bench.source(
        "a", steps=[packet("0"), packet("1"), packet("2"), SourceError(ErrorCode.SOURCE_TRUNCATED, "cut")]
    )
    await (await bench.start("a"))
    assert await bench.tick(12) == ["0", "1", "2", *TAIL]
    [event] = bench.of(TrackEnded)
    assert (event.reason, event.frames_sent) == (EndReason.FAILED, 3)
    assert event.error == ErrorInfo(ErrorCode.SOURCE_TRUNCATED, "cut")
    await bench.close()


@asyncio_test
async def test_a_codec_that_cannot_be_made_leaves_no_source_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ValueError("bitrate_bps must be 6000 to 510000")

    monkeypatch.setattr(sound_module, "Encoder", refuse)
    bench = HandPlayer()
    source = bench.source("a", 5)
    with pytest.raises(ValueError, match="bitrate_bps"):
        await (await bench.start("a"))
    assert source.closes == 1
    await bench.close()


# Stopping.


@asyncio_test
async def test_stop_ends_with_five_frames_of_silence_and_then_nothing() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 50)
    await bench.tick(3)
    bench.player.stop()
    assert bench.ended == [("a", "stopped", 3)]
    assert await bench.tick(20) == TAIL
    assert source.closes == 1
    bench.player.stop()
    assert await bench.tick(5) == []
    assert len(bench.ended) == 1
    await bench.close()


@asyncio_test
async def test_stop_pause_and_resume_of_nothing_do_nothing() -> None:
    bench = HandPlayer()
    for act in (bench.player.stop, bench.player.pause, bench.player.resume, bench.player.stop):
        act()
    assert await bench.tick(5) == []
    assert bench.ended == []
    await bench.close()


@asyncio_test
async def test_a_track_can_follow_while_the_silence_of_the_last_one_is_sent() -> None:
    bench = HandPlayer()
    await bench.play("a", 50)
    await bench.tick(1)
    bench.player.stop()
    heard = await bench.tick(2)
    new = await bench.play("b", 4)
    heard += await bench.tick(20)
    assert heard == [*TAIL[:2], *new.names(4), *TAIL]
    assert bench.ended == [("a", "stopped", 1), ("b", "finished", 4)]
    await bench.close()


# Stopping one of two.


@asyncio_test
async def test_the_newest_play_is_called_off_and_the_old_track_plays_on() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    heard = await bench.tick(2)
    bench.slow_source("new", 5)
    task = await bench.start("new")
    bench.player.stop(PlaybackId("new"))
    assert await code_of(task) is ErrorCode.SUPERSEDED
    heard += await bench.tick(4)
    assert heard == old.names(6)
    assert bench.ended == []
    await bench.close()


@asyncio_test
async def test_the_old_track_is_stopped_and_the_new_one_goes_on_opening() -> None:
    bench = HandPlayer()
    await bench.play("old", 50)
    await bench.tick(2)
    opening = bench.slow_source("new", 5)
    task = await bench.start("new")
    bench.player.stop(PlaybackId("old"))
    assert await bench.tick(8) == TAIL
    assert bench.ended == [("old", "stopped", 2)]
    opening.set_result(bench.sources["new"])
    await bench.hand.settle()
    await task
    assert await bench.tick(2) == bench.sources["new"].names(2)
    await bench.close()


@pytest.mark.parametrize("ident", ["over", "never"])
def test_a_stop_for_one_that_is_not_there_changes_nothing(ident: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("over", 50)
        playing = await bench.play("playing", 50)
        opening = bench.slow_source("opening", 5)
        task = await bench.start("opening")
        bench.player.stop(PlaybackId(ident))
        # What was about to be sent of the first, and how it fades out.
        heard = await bench.tick(12)
        # One that may be on its way, and some in which the first fades out.
        assert heard[:2] == ["over 0", MIX]
        assert heard[-2:] == playing.names(2, first=9)
        opening.set_result(bench.sources["opening"])
        await bench.hand.settle()
        await task
        assert [end[:2] for end in bench.ended] == [("over", "replaced"), ("playing", "replaced")]
        await bench.close()

    scenario()


@asyncio_test
async def test_a_late_stop_of_a_play_finds_it_playing() -> None:
    bench = HandPlayer()
    await bench.play("a", 50)
    await bench.tick(2)
    bench.player.stop(PlaybackId("a"))
    assert await bench.tick(8) == TAIL
    assert bench.ended == [("a", "stopped", 2)]
    await bench.close()


# The transport below.


@asyncio_test
async def test_what_plays_is_held_without_a_transport_and_goes_on_with_the_next() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 8)
    heard = await bench.tick(3)
    bench.player.unbind()
    assert await bench.tick(20) == []
    bench.bind(ssrc=2)
    heard += await bench.tick(20)
    assert heard == source.names(8) + TAIL
    assert bench.ssrcs == [1] * 3 + [2] * 10
    assert bench.ended == [("a", "finished", 8)]
    await bench.close()


@asyncio_test
async def test_what_is_played_before_there_is_a_transport_waits_for_it() -> None:
    bench = HandPlayer(bound=False)
    source = await bench.play("a", 3)
    assert await bench.tick(5) == []
    bench.bind()
    assert await bench.tick(10) == source.names(3) + TAIL
    await bench.close()


@asyncio_test
async def test_a_pause_outlives_the_transport() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(2)
    bench.player.pause()
    bench.player.unbind()
    bench.bind(ssrc=2)
    assert await bench.tick(10) == []
    bench.player.resume()
    heard += await bench.tick(2)
    assert heard == source.names(4)
    await bench.close()


@asyncio_test
async def test_a_stop_without_a_transport_is_heard_by_nobody() -> None:
    bench = HandPlayer()
    await bench.play("a", 30)
    bench.player.unbind()
    bench.player.stop()
    bench.bind(ssrc=2)
    assert await bench.tick(10) == []
    assert bench.ended == [("a", "stopped", 0)]
    await bench.close()


@asyncio_test
async def test_sending_that_breaks_is_told_on_the_loop() -> None:
    bench = HandPlayer()

    def exhausted(header: bytes, frame: bytes) -> bytes:
        raise RuntimeError("nonces are used up")

    bench.player.bind(exhausted, bench.sent.append, 1)
    await bench.play("a", 5)
    await bench.tick(1)
    assert [str(error) for error in bench.hand.failures] == ["nonces are used up"]
    await bench.close()


# The end.


@pytest.mark.parametrize("error", [None, ErrorInfo(ErrorCode.CLOSED_BY_SERVER, "gone")])
def test_close_ends_what_plays_and_what_is_opening_without_a_sound(error: ErrorInfo | None) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = await bench.play("a", 30)
        await bench.tick(4)
        bench.slow_source("b", 3)
        opening = await bench.start("b")
        bench.player.close(error)
        bench.player.close()
        assert await code_of(opening) is ErrorCode.SUPERSEDED
        assert await bench.tick(10) == []
        [event] = bench.of(TrackEnded)
        assert event.reason is (EndReason.STOPPED if error is None else EndReason.FAILED)
        assert (event.error, event.frames_sent) == (error, 4)
        assert source.closes == 1
        await bench.close()

    scenario()


@asyncio_test
async def test_the_figures_of_a_call() -> None:
    bench = HandPlayer()
    await bench.play("a", 30)
    await bench.tick(4)
    bench.player.pause()
    await bench.tick(10)
    stats = bench.player.stats()
    [track] = stats.tracks
    assert (stats.call, track.playback, track.frames_sent) == (CALL, "a", 4)
    assert track.position_s == pytest.approx(0.08)
    assert (stats.frames_sent, stats.silence_sent, stats.frames_nulled, stats.send_errors) == (4, 5, 0, 0)
    bench.player.stop()
    stats = bench.player.stats()
    assert (stats.tracks, stats.frames_sent) == ([], 4)
    await bench.close()
