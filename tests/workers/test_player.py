"""A player turned by hand: every order of commands, the way of every frame, and one ending for each start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.jumping_clock import JumpingClock
from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio.media_files import delay_and_correlation, signal, wav
from tests.workers.hand_studio import CALL, HandPlayer, HandSource, Step, play_command
from voicepool.ipc.commands import BytesSource, Play, WorkerSettings
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason, Event, TrackEnded
from voicepool.ipc.ids import PlaybackId, RequestId
from voicepool.workers import player as player_module
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import FRAME_NS, SILENCE
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus import Decoder, Encoder
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.clock import MonotonicClock
from voicepool.workers.errors import SourceError
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.player import NEAR_ENOUGH_FRAMES, Player, Studio

TAIL = [SILENCE] * 5


async def code_of(task: asyncio.Task[Any]) -> ErrorCode:
    with pytest.raises(SourceError) as caught:
        await task
    return caught.value.code


# Playing.


@asyncio_test
async def test_a_track_is_sent_to_its_end_and_ends_once() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 7)
    assert await bench.tick(20) == source.packets(7) + TAIL
    assert bench.ended == [("a", "finished", 7)]
    assert source.closes == 1
    await bench.close()
    assert len(bench.ended) == 1


@asyncio_test
async def test_it_is_started_when_its_first_frames_are_encoded() -> None:
    bench = HandPlayer()
    source = bench.source("a", steps=[NOT_YET, b"x", NOT_YET, b"y", NOT_YET])
    task = asyncio.create_task(bench.player.play(play_command("a"), []))
    for _ in range(3):
        await asyncio.sleep(0)
    primed = []
    for _ in range(4):
        bench.hand.encoders.held[0].fill(0)
        for _ in range(5):
            await asyncio.sleep(0)
        primed.append(task.done())
    assert primed == [False, False, False, True]
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
    assert await bench.tick(12) == old.packets(4, first=2) + TAIL
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
    bench.source("a", steps=[b"0", b"1", b"2", SourceError(ErrorCode.SOURCE_TRUNCATED, "cut")])
    await (await bench.start("a"))
    assert await bench.tick(12) == [b"0", b"1", b"2", *TAIL]
    [event] = bench.hand.events
    assert isinstance(event, TrackEnded)
    assert (event.reason, event.frames_sent) == (EndReason.FAILED, 3)
    assert event.error == ErrorInfo(ErrorCode.SOURCE_TRUNCATED, "cut")
    await bench.close()


@asyncio_test
async def test_a_codec_that_cannot_be_made_leaves_no_source_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ValueError("bitrate_bps must be 6000 to 510000")

    monkeypatch.setattr(player_module, "Encoder", refuse)
    bench = HandPlayer()
    source = bench.source("a", 5)
    with pytest.raises(ValueError, match="bitrate_bps"):
        await (await bench.start("a"))
    assert source.closes == 1
    await bench.close()


# Replacing.


@asyncio_test
async def test_a_new_track_follows_the_old_one_without_a_gap() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    heard = await bench.tick(3)
    new = await bench.play("new", 3)
    heard += await bench.tick(12)
    assert heard == old.packets(3) + new.packets(3) + TAIL
    assert bench.ended == [("old", "replaced", 3), ("new", "finished", 3)]
    assert old.closes == 1
    await bench.close()


@asyncio_test
async def test_the_old_track_plays_on_while_the_new_one_is_opened() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    opening = bench.slow_source("new", 2)
    task = await bench.start("new")
    assert await bench.tick(10) == old.packets(10)
    opening.set_result(bench.sources["new"])
    await bench.hand.settle()
    await task
    assert (await bench.tick(2)) == bench.sources["new"].packets(2)
    assert bench.ended == [("old", "replaced", 10)]
    await bench.close()


@asyncio_test
async def test_a_newer_play_supersedes_one_that_is_still_opening() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("first", 5)
    first = await bench.start("first")
    second = await bench.play("second", 2)
    assert await code_of(first) is ErrorCode.SUPERSEDED
    opening.set_result(bench.sources["first"])
    assert await bench.tick(10) == second.packets(2) + TAIL
    assert bench.ended == [("second", "finished", 2)]
    await bench.close()


@asyncio_test
async def test_stop_supersedes_one_that_is_opening_and_ends_what_plays() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    await bench.tick(2)
    bench.slow_source("new", 5)
    task = await bench.start("new")
    bench.player.stop()
    assert await code_of(task) is ErrorCode.SUPERSEDED
    assert await bench.tick(10) == TAIL
    assert bench.ended == [("old", "stopped", 2)]
    assert old.closes == 1
    await bench.close()


@asyncio_test
async def test_a_track_ready_in_the_moment_of_a_stop_is_let_go() -> None:
    bench = HandPlayer()
    source = bench.source("a", 9)
    task = asyncio.create_task(bench.player.play(play_command("a"), []))
    for _ in range(3):
        await asyncio.sleep(0)
    [preparing] = [t for t in asyncio.all_tasks() if t is not task and "_prepare" in repr(t.get_coro())]
    # The encoder primes it, and before the play itself goes on there is a stop.
    preparing.add_done_callback(lambda _: bench.player.stop())
    await bench.hand.settle()
    assert await code_of(task) is ErrorCode.SUPERSEDED
    assert source.closes == 1
    assert bench.ended == []
    await bench.close()


@pytest.mark.parametrize("primed", [False, True])
def test_a_play_that_is_cancelled_leaves_nothing_behind(*, primed: bool) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = bench.source("a", 9)
        task = asyncio.create_task(bench.player.play(play_command("a"), []))
        for _ in range(3):
            await asyncio.sleep(0)
        if primed:
            [preparing] = [t for t in asyncio.all_tasks() if "_prepare" in repr(t.get_coro())]
            preparing.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()
        await bench.hand.settle()
        assert task.cancelled()
        assert source.closes == 1
        assert bench.ended == []
        assert await bench.tick(5) == []
        await bench.close()

    scenario()


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
    new = await bench.play("b", 2)
    heard += await bench.tick(10)
    assert heard == TAIL[:2] + new.packets(2) + TAIL
    await bench.close()


# Pausing.


@asyncio_test
async def test_a_pause_loses_no_frame() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(4)
    bench.player.pause()
    bench.player.pause()
    assert await bench.tick(20) == TAIL
    bench.player.resume()
    bench.player.resume()
    heard += await bench.tick(4)
    assert heard == source.packets(8)
    assert bench.ended == []
    await bench.close()


@asyncio_test
async def test_a_paused_track_is_parked_and_asks_for_nothing() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    bench.player.pause()
    await bench.tick(20)
    left = len(source.steps)
    assert not bench.hand.encoders.held
    assert left == 30 - 4
    await bench.close()
    assert source.closes == 1, "parked, it is closed all the same"


@asyncio_test
async def test_a_resume_amid_the_silence_goes_on_at_once() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(2)
    bench.player.pause()
    heard += await bench.tick(2)
    bench.player.resume()
    heard += await bench.tick(2)
    assert heard == [*source.packets(2), SILENCE, SILENCE, *source.packets(2, first=2)]
    await bench.close()


@asyncio_test
async def test_a_pause_while_it_is_opening_sticks() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("a", 5)
    task = await bench.start("a")
    bench.player.pause()
    opening.set_result(bench.sources["a"])
    await bench.hand.settle()
    await task
    assert await bench.tick(10) == []
    bench.player.resume()
    assert await bench.tick(5) == bench.sources["a"].packets(5)
    await bench.close()


@asyncio_test
async def test_a_resume_while_it_is_opening_undoes_its_pause() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("a", 5)
    task = await bench.start("a", paused=True)
    bench.player.resume()
    opening.set_result(bench.sources["a"])
    await bench.hand.settle()
    await task
    assert await bench.tick(5) == bench.sources["a"].packets(5)
    await bench.close()


@asyncio_test
async def test_a_track_prepared_in_pause_silences_the_one_before() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    await bench.tick(2)
    new = await bench.play("new", 3, paused=True)
    assert await bench.tick(30) == TAIL, "not one frame more of the old ring"
    assert bench.ended == [("old", "replaced", 2)]
    assert old.closes == 1
    assert bench.player.stats().frames_nulled == 0
    bench.player.resume()
    assert await bench.tick(10) == new.packets(3) + TAIL
    await bench.close()


@asyncio_test
async def test_play_ends_a_pause() -> None:
    bench = HandPlayer()
    await bench.play("old", 50)
    bench.player.pause()
    await bench.tick(10)
    new = await bench.play("new", 3)
    assert await bench.tick(3) == new.packets(3)
    assert bench.ended == [("old", "replaced", 0)]
    await bench.close()


@asyncio_test
async def test_a_stop_in_pause_sends_nothing_more() -> None:
    bench = HandPlayer()
    await bench.play("a", 50)
    bench.player.pause()
    await bench.tick(10)
    bench.player.stop()
    assert await bench.tick(10) == []
    bench.player.resume()
    assert await bench.tick(10) == []
    assert bench.ended == [("a", "stopped", 0)]
    await bench.close()


@pytest.mark.parametrize("late", ["resume", "bind"])
def test_a_wish_that_meets_the_end_on_its_way_starts_nothing(late: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("a", 2)
        await bench.tick(7)
        bench.hand.clock.woken = False
        # The mark is taken and the end reported, but the control loop has not come to it.
        bench.hand.pacer.turn_once()
        if late == "resume":
            bench.player.resume()
        else:
            bench.bind(ssrc=2)
        await bench.hand.settle()
        assert bench.ended == [("a", "finished", 2)]
        assert await bench.tick(10) == []
        assert bench.player.stats().frames_nulled == 0
        await bench.close()

    scenario()


# Volume.


@asyncio_test
async def test_volume_is_of_the_call_and_reaches_what_plays_and_what_is_opening() -> None:
    bench = HandPlayer()
    await bench.play("a", 50, volume=0.5)
    playing = bench.hand.encoders.held[0]
    assert playing.gain == 0.5
    bench.player.set_volume(0.25)
    assert playing.gain == 0.25
    assert playing._program.has_changes
    await bench.hand.settle()
    assert not playing._program.has_changes, "the encoder threads were hurried"
    opening = bench.slow_source("b", 50)
    task = await bench.start("b", volume=0.8)
    bench.player.set_volume(0.1)
    opening.set_result(bench.sources["b"])
    await bench.hand.settle()
    await task
    current = bench.player._current
    assert current is not None
    assert (current.playback_id, current.playback.gain) == ("b", 0.1)
    bench.player.set_volume(1e300)
    assert current.playback.gain == LOUDEST, "float32 must not overflow"
    await bench.close()


def peak(bench: HandPlayer) -> Callable[[bytes], float]:
    """Return what tells how loud a packet is that was sent, each in its turn."""
    decoder, out = Decoder(), np.empty((960, 2), np.float32)

    def of(packet: bytes) -> float:
        decoder.decode_float(packet, out)
        return float(np.abs(out[-480:]).max())

    return of


@pytest.mark.parametrize("when", ["playing", "paused", "all is in the ring"])
def test_another_volume_is_heard_three_frames_later_at_most(when: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        loud = peak(bench)
        sine = 0.5 * np.sin(np.arange(960 * 40, dtype=np.float32) * (2 * np.pi * 500 / 48_000))
        stereo = np.repeat(sine.astype(np.float32)[:, np.newaxis], 2, axis=1)
        bench.source("a", steps=[stereo[at : at + 960].copy() for at in range(0, len(stereo), 960)])
        await (await bench.start("a"))
        before = 37 if when == "all is in the ring" else 20
        heard = [loud(packet) for packet in await bench.tick(before)]
        if when == "paused":
            bench.player.pause()
            assert await bench.tick(8) == TAIL
        bench.player.set_volume(0.0)
        await bench.hand.settle()
        if when == "paused":
            bench.player.resume()
        after = [loud(packet) for packet in await bench.tick(40 - before)]
        assert min(heard[2:]) > 0.4
        assert max(after[3:], default=0.0) < 0.02
        assert min(after[:2]) > 0.4, "those that may be on their way stay"
        await bench.tick(10)
        assert bench.ended == [("a", "finished", 40)]
        await bench.close()

    scenario()


# Nothing is left open.


class CountedEncoder(Encoder):
    """Counts how many there are and how often they are closed."""

    made: ClassVar[list[CountedEncoder]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.closes = 0
        self.made.append(self)

    def close(self) -> None:
        self.closes += 1
        super().close()


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[CountedEncoder]:
    monkeypatch.setattr(CountedEncoder, "made", [])
    monkeypatch.setattr(player_module, "Encoder", CountedEncoder)
    return CountedEncoder.made


WAYS = [
    "finished",
    "stopped",
    "replaced",
    "fails at once",
    "fails later",
    "superseded",
    "closed",
    "stopped late",
]


@pytest.mark.parametrize("way", WAYS)
def test_however_a_track_ends_its_source_and_encoder_are_closed_once(
    way: str, encoders: list[CountedEncoder]
) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        broken = SourceError(ErrorCode.SOURCE_FAILED, "no")
        steps: dict[str, list[Step]] = {
            "fails at once": [broken],
            "fails later": [b"0", b"1", b"2", broken],
            "superseded": [b"0", *[NOT_YET] * 1_000],
        }
        source = bench.source("a", 6, steps.get(way))
        task = await bench.start("a")
        if way in ("finished", "fails later", "stopped late"):
            await bench.tick(7 if way == "stopped late" else 20)
        if way == "finished":
            bench.player.set_volume(0.5)
            bench.player.set_volume(1.0)
        elif way.startswith("stopped"):
            bench.player.set_volume(0.5)
            bench.player.stop()
        elif way in ("replaced", "superseded"):
            bench.player.set_volume(0.5)
            await bench.play("b", 3)
            await bench.tick(20)
        elif way == "closed":
            bench.player.pause()
            bench.player.set_volume(0.5)
            bench.player.close()
        await bench.hand.settle()
        assert task.done()
        assert source.closes == 1
        assert [encoder.closes for encoder in encoders] == [1] * len(encoders)
        assert len(encoders) == len(bench.sources)
        await bench.close()
        assert source.closes == 1

    scenario()


@pytest.mark.parametrize("way", ["playing", "paused", "ended", "opening"])
def test_a_worker_that_shuts_down_closes_what_its_players_hold(
    way: str, encoders: list[CountedEncoder]
) -> None:
    @asyncio_test
    async def scenario() -> None:
        encoding = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "normal", role="normal")
        encoding.start()
        hand = HandPlayer(bound=False)
        studio = replace(hand.hand.studio, encoders=encoding)
        reports: list[Event] = []
        player = Player(CALL, studio, report=reports.append, on_failure=reports.append)  # type: ignore[arg-type]
        steps: list[Step] = (
            [b"0", *[NOT_YET] * 100_000] if way == "opening" else [b"0"] * (4 if way == "ended" else 500)
        )
        source = hand.source("a", steps=steps)
        play = asyncio.create_task(player.play(play_command("a", paused=way == "paused"), []))
        if way != "opening":
            await asyncio.wait_for(play, SAFETY_S)
        else:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        # The threads stop first, as in a worker that is killed off: whoever dismisses later finds it closed.
        encoding.stop()
        player.close()
        await asyncio.gather(play, return_exceptions=True)
        assert source.closes == 1
        assert [encoder.closes for encoder in encoders] == [1]

    scenario()


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
    assert heard == source.packets(8) + TAIL
    assert bench.ssrcs == [1] * 3 + [2] * 10
    assert bench.ended == [("a", "finished", 8)]
    await bench.close()


@asyncio_test
async def test_what_is_played_before_there_is_a_transport_waits_for_it() -> None:
    bench = HandPlayer(bound=False)
    source = await bench.play("a", 3)
    assert await bench.tick(5) == []
    bench.bind()
    assert await bench.tick(10) == source.packets(3) + TAIL
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
    assert heard == source.packets(4)
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


# Gaps.


@asyncio_test
async def test_by_default_a_track_goes_on_where_it_stopped_however_long_the_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(3)
    await bench.gap(1_000)
    heard += await bench.tick(3)
    assert heard == source.packets(6)
    assert bench.player.stats().position_frames == 6
    await bench.close()


@asyncio_test
async def test_a_track_that_skips_goes_on_where_it_would_be() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    assert await bench.tick(3) == source.packets(3)
    await bench.gap(50)
    assert await bench.tick(3) == source.packets(3, first=53)
    stats = bench.player.stats()
    assert (stats.frames_sent, stats.position_frames) == (6, 56)
    assert (stats.frames_nulled, stats.silence_sent) == (0, 0), "the time that skipping takes is the gap's"
    assert await bench.tick(60) == source.packets(34, first=56) + TAIL
    assert bench.ended == [("a", "finished", 40)]
    await bench.close()


@asyncio_test
async def test_a_gap_shorter_than_what_is_encoded_ahead_is_skipped_too() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(3)
    await bench.gap(1)
    assert await bench.tick(2) == source.packets(2, first=4)
    await bench.close()


@asyncio_test
async def test_parts_of_a_frame_add_up_over_the_gaps() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    heard = []
    for _ in range(6):
        heard += await bench.tick(1)
        await bench.gap(1.5)
    assert heard == [source.packets(90)[number] for number in (0, 2, 5, 7, 10, 12)]
    await bench.close()


@asyncio_test
async def test_a_track_that_ends_within_the_gap_has_finished() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(3)
    await bench.gap(1_000)
    assert await bench.tick(20) == TAIL
    assert bench.ended == [("a", "finished", 3)]
    assert source.closes == 1
    await bench.close()


@asyncio_test
async def test_a_pause_of_the_bots_own_is_no_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(2)
    bench.player.pause()
    bench.pass_frames(500)
    await bench.gap(100)
    bench.pass_frames(500)
    bench.player.resume()
    assert await bench.tick(2) == source.packets(2, first=2)
    await bench.close()


@asyncio_test
async def test_of_a_gap_only_the_time_that_was_not_paused_counts() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(10)
    bench.player.pause()
    bench.pass_frames(500)
    bench.player.resume()
    bench.pass_frames(20)
    bench.player.pause()
    bench.pass_frames(500)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    assert bench.player.stats().position_frames == 32
    bench.pass_frames(500)
    bench.player.resume()
    assert await bench.tick(2) == source.packets(2, first=32)
    await bench.close()


@asyncio_test
async def test_what_is_played_within_a_gap_skips_what_is_missed_from_then_on() -> None:
    bench = HandPlayer()
    await bench.play("old", 90, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(30)
    new = await bench.play("new", 90, on_gap="skip")
    bench.pass_frames(20)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    assert await bench.tick(2) == new.packets(2, first=20)
    assert bench.ended == [("old", "replaced", 2)]
    await bench.close()


@asyncio_test
async def test_before_the_first_transport_nothing_is_missed() -> None:
    bench = HandPlayer(bound=False)
    bench.player.unbind()
    source = await bench.play("a", 30, on_gap="skip")
    bench.pass_frames(1_000)
    bench.bind()
    assert await bench.tick(2) == source.packets(2)
    await bench.close()


@asyncio_test
async def test_a_transport_that_takes_over_from_another_makes_no_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    heard = await bench.tick(2)
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    heard += await bench.tick(2)
    assert heard == source.packets(4)
    await bench.close()


@asyncio_test
async def test_a_gap_goes_on_until_the_skip_is_done() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.pass_frames(40)
    await bench.hand.settle(30)
    assert await bench.tick(2) == source.packets(2, first=92)
    await bench.close()


@asyncio_test
async def test_a_few_frames_that_skipping_took_are_left_for_the_next_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.pass_frames(NEAR_ENOUGH_FRAMES)
    await bench.hand.settle()
    assert await bench.tick(2) == source.packets(2, first=52)
    bench.pass_frames(100)
    await bench.gap(10)
    assert await bench.tick(2) == source.packets(2, first=54 + 10 + NEAR_ENOUGH_FRAMES)
    await bench.close()


@asyncio_test
async def test_a_transport_lost_again_amid_the_skip() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.hand.encoders.work()
    bench.player.unbind()
    bench.pass_frames(50)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    bench.bind(ssrc=3)
    await bench.hand.settle(20)
    assert await bench.tick(2) == source.packets(2, first=102)
    await bench.close()


@asyncio_test
async def test_two_transports_within_one_skip() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(60)
    bench.bind(ssrc=2)
    bench.hand.encoders.work()
    bench.player.unbind()
    bench.pass_frames(60)
    bench.bind(ssrc=3)
    while not bench.player._lane.active:
        await bench.hand.settle(1)
    assert bench.player.stats().position_frames == 122, "not a frame earlier than it has caught up with both"
    assert await bench.tick(2) == source.packets(2, first=122)
    await bench.close()


@pytest.mark.parametrize("act", ["stop", "replace", "close"])
def test_what_ends_amid_a_skip_leaves_nothing_behind(act: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = await bench.play("a", 300, on_gap="skip")
        await bench.tick(2)
        bench.player.unbind()
        bench.pass_frames(200)
        bench.bind(ssrc=2)
        bench.hand.encoders.work()
        if act == "stop":
            bench.player.stop()
        elif act == "close":
            bench.player.close()
        else:
            new = await bench.play("b", 30)
            assert await bench.tick(2) == new.packets(2)
        await bench.hand.settle()
        assert source.closes == 1
        assert bench.ended == [("a", "replaced" if act == "replace" else "stopped", 2)]
        await bench.close()

    scenario()


@asyncio_test
async def test_a_pause_amid_the_skip_is_kept() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.player.pause()
    bench.pass_frames(500)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    bench.player.resume()
    assert await bench.tick(2) == source.packets(2, first=52)
    await bench.close()


@asyncio_test
async def test_a_live_source_goes_on_at_its_edge_and_owes_nothing() -> None:
    bench = HandPlayer()
    live = HandSource("live", 0)
    steps: list[Step] = [*live.packets(20), *[NOT_YET] * 40, *live.packets(300, first=20)]
    source = bench.source("live", steps=steps)
    source.info = replace(source.info, duration_s=None)
    await (await bench.start("live", on_gap="skip"))
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(500)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    bench.pass_frames(20)
    await bench.hand.settle(40)
    assert await bench.tick(2) == live.packets(2, first=20), "18 were in the buffer, and then it was empty"
    await bench.gap(5)
    assert await bench.tick(2) == live.packets(2, first=27)
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
    assert heard == old.packets(6)
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
    assert await bench.tick(2) == bench.sources["new"].packets(2)
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
        assert await bench.tick(2) == playing.packets(2)
        opening.set_result(bench.sources["opening"])
        await bench.hand.settle()
        await task
        assert bench.ended == [("over", "replaced", 0), ("playing", "replaced", 2)]
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
        [event] = bench.hand.events
        assert isinstance(event, TrackEnded)
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
    assert (stats.call, stats.playback, stats.position_frames) == (CALL, "a", 4)
    assert (stats.frames_sent, stats.silence_sent, stats.frames_nulled, stats.send_errors) == (4, 5, 0, 0)
    bench.player.stop()
    stats = bench.player.stats()
    assert (stats.playback, stats.position_frames, stats.frames_sent) == (None, 0, 4)
    await bench.close()


class Walk:
    """A bench, and everything that can be asked of it at any time, by name."""

    def __init__(self) -> None:
        self.bench = HandPlayer()
        self.plays: dict[str, asyncio.Task[Any]] = {}
        self._opening: list[tuple[str, asyncio.Future[HandSource]]] = []
        self._count = 0

    async def play(self, **options: Any) -> None:
        name = self._new_name()
        self._opening.append((name, self.bench.slow_source(name, 12)))
        self.plays[name] = await self.bench.start(name, **options)

    async def play_paused(self) -> None:
        await self.play(paused=True)

    async def play_skipping(self) -> None:
        await self.play(on_gap="skip")

    async def play_bad(self) -> None:
        name = self._new_name()
        self.bench.hand.opener.sources[name] = SourceError(ErrorCode.SOURCE_FAILED, "bad")
        self.plays[name] = await self.bench.start(name)

    async def open_newest(self) -> None:
        if self._opening:
            name, opening = self._opening.pop()
            opening.set_result(self.bench.sources[name])

    async def stop(self) -> None:
        self.bench.player.stop()

    async def stop_newest(self) -> None:
        self.bench.player.stop(PlaybackId(f"t{self._count}"))

    async def stop_the_one_before(self) -> None:
        self.bench.player.stop(PlaybackId(f"t{self._count - 1}"))

    async def let_time_pass(self) -> None:
        self.bench.pass_frames(3.5)

    async def pause(self) -> None:
        self.bench.player.pause()

    async def resume(self) -> None:
        self.bench.player.resume()

    async def be_quiet(self) -> None:
        self.bench.player.set_volume(0.5)

    async def be_loud(self) -> None:
        self.bench.player.set_volume(1.0)

    async def unbind(self) -> None:
        self.bench.player.unbind()

    async def bind(self) -> None:
        self.bench.bind(ssrc=self._count)

    async def tick(self) -> None:
        await self.bench.tick(3)

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"


STEPS = [name for name in vars(Walk) if not name.startswith("_")]


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30))
def test_whatever_the_order_each_start_has_one_end_and_no_frame_is_lost(steps: list[str]) -> None:
    @asyncio_test
    async def scenario() -> None:
        walk = Walk()
        bench = walk.bench
        for step in steps:
            await getattr(walk, step)()
            await bench.hand.settle()
        await bench.close()
        started = [name for name, task in walk.plays.items() if task.exception() is None]
        assert sorted(name for name, _, _ in bench.ended) == sorted(started)
        for name, _, frames_sent in bench.ended:
            numbers = [int(sent.split()[1]) for sent in bench.sent if sent.startswith(f"{name} ".encode())]
            assert numbers == sorted(set(numbers))
            # What was encoded anew for the volume carries no name.
            assert len(numbers) <= frames_sent
            assert bench.sources[name].closes == 1

    scenario()


# With real threads, codec and reader.


@asyncio_test
async def test_a_real_song_arrives_as_it_was() -> None:
    samples = signal(seconds=1.0)
    song = wav((samples * 32_767).astype(np.int16))
    encoders = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "normal", role="normal")
    pacer = Pacer(watch=encoders.watch)
    opener = Opener(open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S, read_ahead_s=1.0)
    events: list[Event] = []
    ended = asyncio.Event()

    def report(event: Event) -> None:
        events.append(event)
        ended.set()

    packets: list[bytes] = []
    failures: list[Exception] = []
    pacer.start()
    encoders.start()
    try:
        player = Player(
            CALL, Studio(WorkerSettings(), opener, encoders, pacer), report=report, on_failure=failures.append
        )
        player.bind(lambda header, frame: header + frame, packets.append, 1)
        command = Play(
            request=RequestId(1), call=CALL, playback=PlaybackId("p"), source=BytesSource(len(song))
        )
        info = await player.play(command, [song])
        await ended.wait()
        player.close()
    finally:
        pacer.stop()
        encoders.stop()
    assert not failures
    assert (info.codec, info.passthrough) == ("pcm_s16le", False)
    [event] = events
    assert isinstance(event, TrackEnded)
    assert (event.reason, event.frames_sent) == (EndReason.FINISHED, 50)
    decoder, heard = Decoder(), []
    for packet in packets:
        out = np.zeros((960, 2), np.float32)
        decoder.decode_float(packet[12:], out)
        heard.append(out)
    decoder.close()
    _, correlation = delay_and_correlation(np.concatenate(heard)[:, 0], samples[:, 0])
    assert correlation > 0.98
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voicepool")]


@asyncio_test
async def test_a_real_song_is_left_out_up_to_where_it_would_be() -> None:
    samples = signal(seconds=13.0)
    samples[: 12 * 48_000] *= 0.01
    song = wav((samples * 32_767).astype(np.int16))
    clock = JumpingClock()
    encoders = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "normal", role="normal")
    pacer = Pacer(watch=encoders.watch)
    opener = Opener(open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S, read_ahead_s=1.0)
    loop = asyncio.get_running_loop()
    events: list[Event] = []
    failures: list[Exception] = []
    ended, heard = asyncio.Event(), asyncio.Event()
    before: list[bytes] = []
    after: list[bytes] = []

    def report(event: Event) -> None:
        events.append(event)
        ended.set()

    def send(packet: bytes) -> None:
        before.append(packet)
        loop.call_soon_threadsafe(heard.set)

    pacer.start()
    encoders.start()
    try:
        studio = Studio(WorkerSettings(), opener, encoders, pacer)
        player = Player(CALL, studio, report=report, on_failure=failures.append, now_ns=clock.now_ns)
        player.bind(lambda header, frame: header + frame, send, 1)
        command = Play(
            request=RequestId(1),
            call=CALL,
            playback=PlaybackId("p"),
            source=BytesSource(len(song)),
            on_gap="skip",
        )
        await player.play(command, [song])
        await heard.wait()
        player.unbind()
        clock.time_ns += 600 * FRAME_NS
        player.bind(lambda header, frame: header + frame, after.append, 2)
        await ended.wait()
        player.close()
    finally:
        pacer.stop()
        encoders.stop()
    assert not failures
    [event] = events
    assert isinstance(event, TrackEnded)
    assert (event.reason, event.frames_sent) == (EndReason.FINISHED, 50)
    decoder, out, levels = Decoder(), np.zeros((960, 2), np.float32), []
    for packet in after[:-5]:
        decoder.decode_float(packet[12:], out)
        levels.append(float(np.abs(out).max()))
    decoder.close()
    assert len(before) + len(levels) == 50
    # The first frame of a fresh decoder holds little of it yet.
    assert min(levels[1:]) > 10 * float(np.abs(samples[: 12 * 48_000]).max())
