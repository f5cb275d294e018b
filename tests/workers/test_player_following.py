"""Tracks that follow the main one by themselves or by a skip, and every race about them."""

from __future__ import annotations

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    Ear,
    HandPlayer,
    code_of,
    name_of,
    packet,
    tone,
)
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError


@asyncio_test
async def test_the_next_track_follows_without_a_gap_and_no_frame_is_made_anew() -> None:
    bench = HandPlayer()
    first = await bench.play("a", 7)
    second = await bench.follow("b", 6)
    assert await bench.tick(30) == [*first.names(7), *second.names(6), *TAIL]
    assert bench.started == ["a", "b"]
    assert bench.ended == [("a", "finished", 7), ("b", "finished", 6)]
    assert (first.closes, second.closes) == (1, 1)
    await bench.close()


@asyncio_test
async def test_one_that_waits_is_in_no_figures_and_not_started() -> None:
    bench = HandPlayer()
    await bench.play("a", 90)
    await bench.follow("b", 6)
    await bench.tick(3)
    assert list(bench.figures) == ["a"]
    assert bench.started == ["a"]
    await bench.close()
    assert bench.ended == [("a", "stopped", 3), ("b", "stopped", 0)]


@asyncio_test
async def test_one_that_comes_when_nothing_plays_begins_at_once() -> None:
    bench = HandPlayer()
    source = await bench.follow("b", 6)
    assert await bench.tick(20) == [*source.names(6), *TAIL]
    assert (bench.started, bench.ended) == (["b"], [("b", "finished", 6)])
    await bench.close()


@asyncio_test
async def test_one_that_fails_is_followed_all_the_same() -> None:
    bench = HandPlayer()
    broken = SourceError(ErrorCode.SOURCE_TRUNCATED, "cut")
    await bench.play("a", steps=[packet("a 0"), packet("a 1"), broken])
    second = await bench.follow("b", 6)
    assert await bench.tick(20) == ["a 0", "a 1", *second.names(6), *TAIL]
    assert bench.ended == [("a", "failed", 2), ("b", "finished", 6)]
    await bench.close()


@asyncio_test
async def test_a_crossfade_is_heard_as_long_as_it_was_asked_for() -> None:
    bench = HandPlayer()
    for name, hz in (("a", 500), ("b", 1_500)):
        source = bench.source(name, steps=tone(hz, 60))
        source.info = msgspec.structs.replace(source.info, duration_s=1.2, passthrough=False)
    await (await bench.start("a"))
    await (await bench.start("b", role=TrackRole.NEXT, crossfade_s=0.4))
    await bench.tick(130)
    heard = Ear([sent for sent in bench.sent if name_of(sent) == MIX])
    old, new = heard.amplitudes(500), heard.amplitudes(1_500)
    assert len(old) == 100, "20 frames are heard of both"
    assert max(new[:39]) < 0.02 < min(old[2:58])
    assert max(old[62:]) < 0.02 < min(new[42:98])
    # Equal power in the middle.
    assert old[50] == pytest.approx(0.4 * 0.5**0.5, rel=0.15)
    assert new[50] == pytest.approx(0.4 * 0.5**0.5, rel=0.15)
    assert bench.started == ["a", "b"]
    assert bench.ended == [("a", "finished", 60), ("b", "finished", 60)]
    await bench.close()


@pytest.mark.parametrize("when", ["opening", "waiting"])
def test_a_newer_next_takes_the_place_of_the_one_before(when: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        first = await bench.play("a", 60)
        if when == "opening":
            opening = bench.slow_source("b", 6)
            before = await bench.start("b", role=TrackRole.NEXT)
        else:
            await bench.follow("b", 6)
        await bench.tick(2)
        newer = await bench.follow("c", 6)
        if when == "opening":
            assert await code_of(before) is ErrorCode.SUPERSEDED
            opening.set_result(bench.sources["b"])
        assert await bench.tick(80) == [*first.names(58, first=2), *newer.names(6), *TAIL]
        replaced = [("b", "replaced", 0)] if when == "waiting" else []
        assert bench.ended == [*replaced, ("a", "finished", 60), ("c", "finished", 6)]
        assert bench.started == ["a", "c"]
        await bench.close()
        if when == "waiting":
            assert bench.sources["b"].closes == 1

    scenario()


@pytest.mark.parametrize("sent", [0, 2, 3, 4, 5, 6, 7])
def test_a_newer_next_just_when_the_one_before_takes_over(sent: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("a", 5)
        await bench.follow("b", 9)
        await bench.tick(sent)
        newer = await bench.follow("c", 9)
        heard = await bench.tick(60)
        assert heard[-8:] == [*newer.names(3, first=6), *TAIL]
        assert sorted(name for name, _, _ in bench.ended) == ["a", "b", "c"]
        assert bench.ended[-1] == ("c", "finished", 9)
        assert bench.started[-1] == "c"
        assert ("b" in bench.started) == ({end[0]: end[1] for end in bench.ended}["b"] == "finished")
        await bench.close()
        assert {source.closes for source in bench.sources.values()} == {1}

    scenario()


@asyncio_test
async def test_skip_lets_the_one_that_waits_take_over_at_once() -> None:
    bench = HandPlayer()
    await bench.play("a", 90)
    second = await bench.follow("b", 20)
    await bench.tick(3)
    bench.player.skip(PlaybackId("a"))
    assert bench.ended == [("a", "replaced", 3)]
    heard = await bench.tick(40)
    assert MIX in heard[:4], "heard within 60 ms and a frame"
    assert heard[-7:] == [*second.names(2, first=18), *TAIL]
    assert len(heard) <= 3 + 20 + 5
    assert bench.started == ["a", "b"]
    assert bench.ended[1:] == [("b", "finished", 20)]
    await bench.close()


@asyncio_test
async def test_skip_without_one_that_waits_is_an_error_and_nothing_changes() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 20)
    with pytest.raises(SourceError) as caught:
        bench.player.skip(PlaybackId("a"))
    assert caught.value.code is ErrorCode.NO_SUCH_TRACK
    assert await bench.tick(30) == [*source.names(20), *TAIL]
    await bench.close()


@asyncio_test
async def test_skip_of_what_is_not_the_main_track_any_more_does_nothing() -> None:
    bench = HandPlayer()
    await bench.play("a", 4)
    second = await bench.follow("b", 20)
    await bench.tick(6)
    await bench.follow("c", 3)
    bench.player.skip(PlaybackId("a"))
    bench.player.skip(PlaybackId("never"))
    assert await bench.tick(10) == second.names(10, first=2)
    await bench.close()


@asyncio_test
async def test_a_stop_of_the_one_that_waits_leaves_the_main_one_alone() -> None:
    bench = HandPlayer()
    first = await bench.play("a", 20)
    second = await bench.follow("b", 20)
    await bench.tick(3)
    bench.player.stop(PlaybackId("b"))
    assert bench.ended == [("b", "stopped", 0)]
    assert await bench.tick(40) == [*first.names(17, first=3), *TAIL]
    assert second.closes == 1
    assert bench.started == ["a"]
    await bench.close()


@asyncio_test
async def test_what_waited_for_a_track_that_was_replaced_waits_for_the_new_one() -> None:
    bench = HandPlayer()
    await bench.play("a", 90)
    second = await bench.follow("b", 6)
    await bench.tick(3)
    await bench.play("c", 20)
    heard = await bench.tick(60)
    assert heard[-11:] == [*second.names(6), *TAIL]
    assert bench.started == ["a", "c", "b"]
    await bench.close()


@pytest.mark.parametrize("fade_out_s", [0.0, 0.2])
def test_a_stop_of_the_main_one_alone_lets_the_one_that_waits_begin_at_once(fade_out_s: float) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        first = await bench.play("a", 100)
        second = await bench.follow("b", 20)
        await bench.tick(5)
        bench.player.stop(PlaybackId("a"), fade_out_s=fade_out_s)
        await bench.hand.settle()
        heard = await bench.tick(60)
        assert heard[:2] == [*first.names(1, first=5), MIX]
        assert heard[-7:] == [*second.names(2, first=18), *TAIL]
        assert len(heard) == 1 + 20 + len(TAIL), "it begins beside what sinks"
        assert bench.started == ["a", "b"]
        assert [end[:2] for end in bench.ended] == [("a", "stopped"), ("b", "finished")]
        assert (first.closes, second.closes) == (1, 1)
        await bench.close()

    scenario()


@asyncio_test
async def test_it_is_ready_though_the_main_track_has_nothing_to_be_heard() -> None:
    bench = HandPlayer()
    await bench.play("radio", steps=[packet("a"), packet("b"), packet("c"), *[NOT_YET] * 10_000])
    await bench.tick(20)
    bench.source("song", 5)
    task = await bench.start("song", role=TrackRole.NEXT)
    await bench.tick(3)
    assert task.done(), "else the bot takes the wait for a failure"
    assert bench.started == ["radio"]
    await bench.close()
