"""Calls that are prepared, taken over, released and aligned: commands of a move between two workers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.dispatch_bench import dispatching
from tests.workers.two_workers import (
    CALL,
    align,
    has_songs,
    heard,
    patiently,
    places_of,
    play,
    prepare,
    release,
    take_over,
    two_workers,
)
from voicepool.ipc.commands import CloseCall, Stop, TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallOpened,
    CallReleased,
    Done,
    TrackEnded,
    TrackPlace,
    TrackReady,
    TrackStarted,
)
from voicepool.ipc.ids import PlaybackId, RequestId
from voicepool.workers import handover as handover_module
from voicepool.workers import session as session_module
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

# From one worker to another.


@pytest.mark.parametrize("prepared", [0, 10, 30, 33, 40])
def test_no_packet_is_lost_and_none_repeated_wherever_it_was_prepared(prepared: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with two_workers(song=100) as (old, new):
            await old.answer(play(old, "song"))
            await old.hand.tick(20)
            assert isinstance(await new.answer(prepare(new)), Done)
            await new.answer(play(new, "song", position_s=prepared / FRAMES_PER_S))
            await old.hand.tick(13)
            places = await places_of(old)
            assert [place.position_s for place in places] == [pytest.approx(0.66)]
            aligned, opened = align(new, places), take_over(new)
            assert isinstance(await patiently(new, aligned), Done)
            assert isinstance(await new.answer(opened), CallOpened)
            await new.hand.tick(100)
            assert heard(old) == [f"song {number}" for number in range(33)]
            assert heard(new) == [f"song {number}" for number in range(33, 100)] + ["silence"] * 5
            assert [event.position_s for event in new.of(TrackStarted)] == [pytest.approx(0.66)]
            assert (old.of(TrackEnded), len(new.of(TrackEnded))) == ([], 1)
            assert old.of(CallClosed) == new.of(CallClosed) == []

    scenario()


@asyncio_test
async def test_what_is_prepared_is_ready_and_silent_until_the_call_is_opened() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        prepare(bench)
        assert isinstance(await bench.answer(play(bench, "song", position_s=0.5)), TrackReady)
        assert isinstance(await bench.answer(prepare(bench)), Done), "a second time changes nothing"
        assert not bench.hand.pacer.sends
        assert bench.of(TrackStarted) == []
        await bench.answer(take_over(bench))
        await bench.hand.tick(2)
        assert heard(bench) == ["song 25", "song 26"]
        assert [event.position_s for event in bench.of(TrackStarted)] == [0.5]


@asyncio_test
async def test_what_is_played_behind_a_take_over_is_open_before_the_call_is() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        bench.script.opens_at_once = False
        opened = take_over(bench)
        assert isinstance(await bench.answer(play(bench, "song", position_s=0.5)), TrackReady)
        assert bench.answers(opened) == []
        bench.script.attempts[0].outcome.set_result(None)
        await bench.answer(opened)
        await bench.hand.tick(1)
        assert heard(bench) == ["song 25"]


@asyncio_test
async def test_a_prepared_call_counts_and_can_be_closed() -> None:
    async with dispatching(max_calls=1) as bench:
        prepare(bench)
        assert await bench.failure(prepare(bench, "another")) is ErrorCode.WORKER_FULL
        assert await bench.failure(bench.open(call="another")) is ErrorCode.WORKER_FULL
        has_songs(bench, song=100)
        await bench.answer(play(bench, "song"))
        request = bench.send(CloseCall(request=RequestId(90), call=CALL))
        assert isinstance(await bench.answer(request), Done)
        assert isinstance(await bench.answer(prepare(bench, "another")), Done)
        assert bench.of(TrackEnded) == [], "it plays on elsewhere"
        await bench.hand.settle()
        assert [source.closes for source in bench.hand.opener.opened] == [1]


@asyncio_test
async def test_a_call_that_is_prepared_for_nothing_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session_module, "PREPARED_S", 0.0)
    caplog.set_level(logging.WARNING)
    async with dispatching() as bench:
        await bench.answer(prepare(bench))
        assert bench.calls == [], "who holds it reports on it"
        while bench.dispatcher.calls:
            await bench.hand.settle()
        assert "prepared, but not opened" in caplog.text


@asyncio_test
async def test_a_call_that_is_opened_in_time_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "PREPARED_S", 0.0)
    async with dispatching() as bench:
        prepare(bench)
        await bench.answer(take_over(bench))
        prepare(bench)
        await bench.hand.settle(50)
        assert bench.calls == ["call"]


# Letting go.


@asyncio_test
async def test_a_call_that_is_released_sends_nothing_more_and_is_left_before_that_is_answered() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        await bench.answer(bench.open())
        await bench.answer(play(bench, "song"))
        await bench.hand.tick(7)
        bench.script.attempts[0].may_close.clear()
        places = await places_of(bench)
        assert bench.script.attempts[0].closing
        assert not bench.script.attempts[0].closed, "nobody waits for what the server answers"
        assert [place.position_s for place in places] == [pytest.approx(0.14)]
        await bench.hand.tick(5)
        assert heard(bench) == [f"song {number}" for number in range(7)]
        assert bench.calls == []
        assert bench.of(TrackEnded) == []
        assert bench.of(CallClosed) == []


@asyncio_test
async def test_what_was_opened_is_closed_by_the_worker_that_lets_go() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100, under=100, after=100)
        await bench.answer(bench.open())
        await bench.answer(play(bench, "song"))
        await bench.answer(play(bench, "under", role=TrackRole.OVERLAY))
        await bench.answer(play(bench, "after", role=TrackRole.NEXT))
        await bench.hand.tick(7)
        assert {place.playback for place in await places_of(bench)} == {"song", "under", "after"}
        await bench.hand.settle()
        assert [source.closes for source in bench.hand.opener.opened] == [1, 1, 1]


@pytest.mark.parametrize("frames", range(4, 12))
def test_a_track_that_has_just_ended_is_told_of_and_has_no_place(frames: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with dispatching() as bench:
            has_songs(bench, song=6)
            await bench.answer(bench.open())
            await bench.answer(play(bench, "song"))
            await bench.hand.tick(frames - 1)
            # Without a turn for anybody to learn of it.
            bench.hand.clock.woken = False
            bench.hand.pacer.turn_once()
            places = await places_of(bench)
            ended = [(event.playback, event.reason, event.frames_sent) for event in bench.of(TrackEnded)]
            sent = [name for name in heard(bench) if name != "silence"]
            if frames < 6:
                assert [place.position_s for place in places] == [pytest.approx(frames / FRAMES_PER_S)]
                assert ended == []
            else:
                assert (places, ended) == ([], [("song", "finished", 6)])
            assert len(sent) == min(frames, 6)

    scenario()


@pytest.mark.parametrize("frames", range(4, 9))
def test_who_has_just_begun_goes_on_and_who_has_not_begins_elsewhere(frames: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with dispatching() as bench:
            has_songs(bench, song=6, after=100)
            await bench.answer(bench.open())
            await bench.answer(play(bench, "song"))
            await bench.answer(play(bench, "after", role=TrackRole.NEXT))
            await bench.hand.tick(frames - 1)
            bench.hand.clock.woken = False
            bench.hand.pacer.turn_once()
            places = {
                place.playback: round(place.position_s * FRAMES_PER_S) for place in await places_of(bench)
            }
            started = [event.playback for event in bench.of(TrackStarted)]
            ended = [event.playback for event in bench.of(TrackEnded)]
            if frames < 6:
                assert places == {"song": frames, "after": 0}
                assert (started, ended) == (["song"], [])
            elif frames == 6:
                # All of it was heard, and it is told of here.
                assert places == {"after": 0}
                assert (started, ended) == (["song"], ["song"])
            else:
                assert places == {"after": frames - 6}
                assert (started, ended) == (["song", "after"], ["song"])

    scenario()


@asyncio_test
async def test_a_paused_call_is_released_where_it_was_held() -> None:
    async with two_workers(song=100) as (old, new):
        await old.answer(play(old, "song"))
        await old.hand.tick(9)
        old.dispatcher._sessions[CALL].player.pause()
        await old.hand.tick(10)
        prepare(new)
        await new.answer(play(new, "song", position_s=0.1, paused=True))
        await patiently(new, align(new, await places_of(old)))
        await new.answer(take_over(new))
        assert not new.hand.pacer.sends
        new.dispatcher._sessions[CALL].player.resume()
        await new.hand.tick(3)
        assert heard(new) == ["song 9", "song 10", "song 11"]


@asyncio_test
async def test_a_call_without_any_track_is_released_without_places() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        assert await places_of(bench) == []


@asyncio_test
async def test_what_is_being_opened_fails_and_what_is_not_known_cannot_be_released() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        assert await bench.failure(release(bench)) is ErrorCode.NO_SUCH_CALL
        await bench.answer(bench.open())
        bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
        playing = play(bench, "song")
        await bench.hand.settle()
        assert await places_of(bench) == []
        assert await bench.failure(playing) is ErrorCode.SUPERSEDED
        assert await bench.failure(bench.stop()) is ErrorCode.NO_SUCH_CALL


@asyncio_test
async def test_a_release_that_breaks_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        await bench.answer(bench.open())
        await bench.answer(play(bench, "song"))

        async def break_off(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(handover_module.Handover, "places", break_off)
        assert await bench.failure(release(bench)) is ErrorCode.INTERNAL
        assert [attempt.closed for attempt in bench.script.attempts] == [True]
        assert not bench.hand.encoders.held
        [song] = bench.hand.opener.opened
        assert song.closes == 1


@asyncio_test
async def test_encoder_threads_that_do_not_answer_leave_it_at_an_estimate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover_module, "_PATIENCE_S", 0.0)
    async with dispatching() as bench:
        has_songs(bench, song=100)
        await bench.answer(bench.open())
        await bench.answer(play(bench, "song"))
        await bench.hand.tick(7)
        bench.hand.encoders.held.clear()
        monkeypatch.setattr(bench.hand.encoders, "work", lambda: None)
        answer = await patiently(bench, release(bench))
        assert isinstance(answer, CallReleased)
        assert [place.position_s for place in answer.places] == [pytest.approx(0.14)]
        assert "did not answer" in caplog.text
        monkeypatch.undo()


# Going on elsewhere.


@asyncio_test
async def test_places_of_tracks_that_are_unknown_or_cannot_go_there_are_left_alone() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        prepare(bench)
        await bench.answer(play(bench, "song", position_s=0.5))
        bench.hand.opener.sources["song"] = SourceError(ErrorCode.UNSEEKABLE, "it is what it is")
        far = TrackPlace(playback=PlaybackId("song"), position_s=90.0)
        gone = TrackPlace(playback=PlaybackId("gone"), position_s=1.0)
        assert isinstance(await patiently(bench, align(bench, [far, gone])), Done)
        await bench.answer(take_over(bench))
        await bench.hand.tick(1)
        assert heard(bench) == ["song 25"]


@asyncio_test
async def test_a_call_that_is_heard_is_not_moved_about() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=100)
        await bench.answer(bench.open())
        await bench.answer(play(bench, "song"))
        await bench.hand.tick(3)
        place = TrackPlace(playback=PlaybackId("song"), position_s=1.0)
        assert isinstance(await patiently(bench, align(bench, [place])), Done)
        await bench.hand.tick(2)
        assert heard(bench)[-1] == "song 4"


@asyncio_test
async def test_nothing_is_heard_from_the_wrong_place_if_the_call_is_up_first() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=300)
        prepare(bench)
        await bench.answer(play(bench, "song", position_s=2.0))
        opening = bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
        behind = TrackPlace(playback=PlaybackId("song"), position_s=1.0)
        aligned = align(bench, [behind])
        await bench.answer(take_over(bench))
        assert (bench.answers(aligned), bench.hand.pacer.sends) == ([], False)
        opening.set_result(None)
        assert isinstance(await patiently(bench, aligned), Done)
        await bench.hand.tick(1)
        assert heard(bench) == ["song 50"]


@asyncio_test
async def test_a_track_that_is_stopped_on_its_way_to_its_place_holds_nothing_up() -> None:
    async with dispatching() as bench:
        has_songs(bench, song=300, other=100)
        prepare(bench)
        await bench.answer(play(bench, "song", position_s=2.0))
        bench.hand.opener.sources["song"] = asyncio.get_running_loop().create_future()
        aligned = align(bench, [TrackPlace(playback=PlaybackId("song"), position_s=1.0)])
        await bench.hand.settle()
        bench.send(Stop(request=RequestId(90), call=CALL, playback=PlaybackId("song")))
        assert isinstance(await patiently(bench, aligned), Done)
        await bench.answer(take_over(bench))
        await bench.answer(play(bench, "other"))
        await bench.hand.tick(1)
        assert heard(bench) == ["other 0"]


@pytest.mark.parametrize("how", ["closed", "released", "stopped"])
def test_a_call_that_ends_while_a_track_is_on_its_way_to_its_place_is_not_waited_for(how: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with dispatching() as bench:
            has_songs(bench, song=300)
            prepare(bench)
            await bench.answer(play(bench, "song", position_s=1.0))
            [song] = bench.hand.opener.opened
            song.steps[10:10] = [NOT_YET] * 10_000
            aligned = align(bench, [TrackPlace(playback=PlaybackId("song"), position_s=3.0)])
            await bench.hand.settle()
            assert bench.answers(aligned) == [], "its source is slow"
            if how == "closed":
                bench.close_call()
            elif how == "released":
                release(bench)
            else:
                bench.stop()
            assert isinstance(await patiently(bench, aligned), Done)

    scenario()


@asyncio_test
async def test_who_keeps_to_the_clock_leaves_out_what_it_takes_to_get_there() -> None:
    async with two_workers(song=200) as (old, new):
        await old.answer(play(old, "song", on_gap="skip"))
        await old.hand.tick(20)
        await new.answer(prepare(new))
        new.dispatcher._sessions[CALL].player._catch_up._now_ns = new.hand.clock.now_ns
        await new.answer(play(new, "song", position_s=0.3, on_gap="skip"))
        await patiently(new, align(new, await places_of(old)))
        new.hand.clock.time_ns += 600_000_000
        await new.answer(take_over(new))
        await new.hand.tick(1)
        assert heard(new) == ["song 50"]
