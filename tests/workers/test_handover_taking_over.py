"""A call that was up elsewhere: what is first to be heard of it, and how its failures are mended."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.dispatch_bench import Bench, dispatching
from tests.workers.two_workers import (
    CALL,
    LOST,
    REFUSED,
    VOID,
    align,
    has_songs,
    heard,
    play,
    prepare,
    take_over,
)
from voicepool.ipc.commands import Stop, TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallInterrupted,
    CallOpened,
    CallRestored,
    Event,
    Failed,
    ServerWanted,
    TrackEnded,
    TrackPlace,
    TrackReady,
    TrackStarted,
)
from voicepool.ipc.ids import PlaybackId, RequestId
from voicepool.workers import catchup as catchup_module
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import CallError, SourceError


@pytest.mark.parametrize("first", ["next", "overlay"])
def test_a_main_track_that_opens_slowly_is_still_the_first_to_be_heard(first: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with dispatching() as bench:
            has_songs(bench, song=100, other=100)
            bench.script.opens_at_once = False
            opening = bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
            take_over(bench)
            main = play(bench, "song", position_s=1.0, paused=True, volume=0.5)
            other = play(bench, "other", role=TrackRole(first), paused=True, volume=0.5)
            await bench.hand.settle()
            assert bool(bench.answers(other)) is (first == "overlay")
            bench.script.attempts[0].outcome.set_result(None)
            await bench.hand.settle()
            assert not bench.hand.pacer.sends, "it is paused"
            opening.set_result(None)
            assert isinstance(await bench.answer(main), TrackReady)
            assert isinstance(await bench.answer(other), TrackReady)
            bench.dispatcher._sessions[CALL].player.resume()
            await bench.hand.tick(3)
            assert {event.playback for event in bench.of(TrackStarted)} == (
                {"song"} if first == "next" else {"song", "other"}
            )
            assert bench.of(TrackEnded) == []

    scenario()


@asyncio_test
async def test_who_waits_begins_if_the_main_track_cannot_be_opened() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100, other=100)
        await bench.answer(take_over(bench))
        opening = bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
        main, other = play(bench, "song"), play(bench, "other", role=TrackRole.NEXT)
        await bench.hand.settle()
        assert bench.answers(other) == []
        opening.set_exception(SourceError(ErrorCode.SOURCE_NOT_FOUND, "no such file"))
        assert await bench.failure(main) is ErrorCode.SOURCE_NOT_FOUND
        assert isinstance(await bench.answer(other), TrackReady)
        await bench.hand.tick(1)
        assert heard(bench) == ["other 0"]


@asyncio_test
async def test_who_waits_for_the_main_track_can_be_stopped_and_leaves_nothing_open() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100, other=100)
        await bench.answer(take_over(bench))
        bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
        play(bench, "song")
        other = play(bench, "other", role=TrackRole.NEXT)
        await bench.hand.settle()
        bench.send(Stop(request=RequestId(90), call=CALL, playback=PlaybackId("other")))
        assert await bench.failure(other) is ErrorCode.SUPERSEDED
        assert [source.closes for source in bench.hand.opener.opened] == [1]


@asyncio_test
async def test_volume_and_pause_hold_without_a_main_track() -> None:
    async with dispatching() as bench:
        has_songs(bench, under=100)
        await bench.answer(take_over(bench))
        await bench.answer(play(bench, "under", role=TrackRole.OVERLAY, volume=0.5, paused=True))
        assert not bench.hand.pacer.sends
        [playing] = bench.hand.encoders.submitted
        assert getattr(playing, "gain", None) == 0.5


async def failing(bench: Bench, error: CallError) -> int:
    bench.script.opens_at_once = False
    request = take_over(bench)
    await bench.hand.settle()
    bench.script.attempts[0].outcome.set_exception(error)
    await bench.hand.settle()
    return request


@pytest.mark.parametrize("error", [LOST, REFUSED])
def test_a_first_failure_is_mended_as_of_a_call_that_is_up(error: CallError) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with dispatching() as bench:
            request = await failing(bench, error)
            assert [event.error.code for event in bench.of(CallInterrupted)] == [error.code]
            attempt = await bench.script.wait_for_attempt(2)
            attempt.outcome.set_result(None)
            assert isinstance(await bench.answer(request), CallOpened)
            assert len(bench.of(CallInterrupted)) == len(bench.of(CallRestored)) == 1
            assert bench.dispatcher.call_stats()[0].reconnects == 1

    scenario()


@asyncio_test
async def test_a_session_that_is_void_is_asked_for_anew() -> None:
    async with dispatching() as bench:
        request = await failing(bench, VOID)
        while not bench.of(ServerWanted):
            await bench.hand.settle()
        assert [(event.rejoin, event.generation) for event in bench.of(ServerWanted)] == [(True, 2)]
        bench.script.opens_at_once = True
        again = bench.open(generation=3)
        assert await bench.failure(request) is ErrorCode.SUPERSEDED
        assert isinstance(await bench.answer(again), CallOpened)


@asyncio_test
async def test_what_nothing_can_mend_ends_a_call_that_was_up_elsewhere_too() -> None:
    async with dispatching() as bench:
        kicked = CallError(ErrorCode.CLOSED_BY_SERVER, "joined too often", close_code=4021)
        request = await failing(bench, kicked)
        [answer] = bench.answers(request)
        assert isinstance(answer, Failed)
        assert bench.calls == []


def events_of(bench: Bench) -> list[type[Event]]:
    return [type(event) for event in bench.hand.events]


@asyncio_test
async def test_without_taking_over_the_first_attempt_is_the_only_one() -> None:
    async with dispatching() as bench:
        bench.script.opens_at_once = False
        request = bench.open()
        await bench.hand.settle()
        bench.script.attempts[0].outcome.set_exception(LOST)
        assert await bench.failure(request) is ErrorCode.CLOSED_BY_SERVER
        assert events_of(bench) == [Failed]


@asyncio_test
async def test_a_source_that_is_too_slow_begins_where_it_has_come_to_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catchup_module, "LIVE_PATIENCE_NS", 40_000_000)
    async with dispatching() as bench:
        has_songs(bench, song=300)
        prepare(bench)
        await bench.answer(play(bench, "song", position_s=1.0))
        [song] = bench.hand.opener.opened
        song.steps[10:10] = [NOT_YET] * 10_000
        place = TrackPlace(playback=PlaybackId("song"), position_s=3.0)
        aligned = align(bench, [place])
        while not bench.answers(aligned):
            bench.hand.clock.time_ns += 10_000_000
            await bench.hand.settle()
        await bench.answer(take_over(bench))
        song.steps = [step for step in song.steps if step is not NOT_YET]
        await bench.hand.settle()
        bench.hand.clock.time_ns += 100_000_000
        await bench.hand.tick(8)
        [started] = bench.of(TrackStarted)
        assert 1.0 < started.position_s < 3.0
        assert heard(bench)[0] == f"song {round(started.position_s * FRAMES_PER_S)}"
