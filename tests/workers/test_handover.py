"""Calls that are prepared, taken over, released and aligned: commands of a move between two workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.dispatch_bench import Bench, dispatching
from tests.workers.hand_studio import HandSource, name_of
from tests.workers.scripted_connection import open_command
from voicepool.ipc.commands import (
    AlignTracks,
    CloseCall,
    OpenCall,
    Play,
    PrepareCall,
    ReleaseCall,
    Stop,
    TrackOptions,
    TrackRole,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallReleased,
    CallRestored,
    Done,
    Event,
    Failed,
    ServerWanted,
    TrackEnded,
    TrackPlace,
    TrackReady,
    TrackStarted,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.ipc.sources import FileSource, Source
from voicepool.workers import catchup as catchup_module
from voicepool.workers import handover as handover_module
from voicepool.workers import session as session_module
from voicepool.workers.audio.assembling import OpenedTrack
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import CallError, SourceError

CALL = CallId("call")
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)
VOID = CallError(ErrorCode.CLOSED_BY_SERVER, "no such session", close_code=4006)
REFUSED = CallError(ErrorCode.CONNECT_REFUSED, "nobody listens")


class NumberedSource(HandSource):
    """Packets that are named by their number in the whole song, from one of them on."""

    def __init__(self, name: str, count: int, first: int) -> None:
        super().__init__(name)
        self.first = first
        self.steps = list(self.packets(count - first, first))

    @property
    def position_s(self) -> float:
        return self.first / FRAMES_PER_S + super().position_s


def has_songs(bench: Bench, **songs: int) -> None:
    """Have songs of so many packets opened at the place that is asked for."""
    opener = bench.hand.opener

    async def open_song(
        source: Source, options: TrackOptions, _: Sequence[bytes], *, position_s: float | None = None
    ) -> Any:
        assert isinstance(source, FileSource)
        wanted_s = (options.position_s if position_s is None else position_s) or 0.0
        opener.places.append((source.path, wanted_s))
        found = opener.sources.get(source.path)
        if isinstance(found, asyncio.Future):
            await found
        elif isinstance(found, Exception):
            raise found
        first = int(wanted_s * FRAMES_PER_S + 1e-6)
        song = NumberedSource(source.path, songs[source.path], first)
        opener.opened.append(song)
        return OpenedTrack(song, song.info, source, first / FRAMES_PER_S)  # type: ignore[arg-type]

    opener.open = open_song  # type: ignore[method-assign, assignment]


def play(bench: Bench, name: str, *, role: TrackRole = TrackRole.MAIN, **fields: Any) -> int:
    options = TrackOptions(**{key: fields.pop(key) for key in list(fields) if key in {"position_s"}})
    return bench.send(
        Play(
            request=bench._next(),
            call=CALL,
            playback=PlaybackId(name),
            source=FileSource(name),
            role=role,
            options=options,
            **fields,
        )
    )


def take_over(bench: Bench, generation: int = 2) -> int:
    command = open_command(bench._next(), generation)
    return bench.send(
        OpenCall(
            request=command.request,
            call=command.call,
            generation=generation,
            credentials=command.credentials,
            takes_over=True,
        )
    )


def prepare(bench: Bench, call: str = "call") -> int:
    return bench.send(PrepareCall(request=bench._next(), call=CallId(call)))


def release(bench: Bench) -> int:
    return bench.send(ReleaseCall(request=bench._next(), call=CALL))


def align(bench: Bench, places: Sequence[TrackPlace]) -> int:
    return bench.send(AlignTracks(request=bench._next(), call=CALL, places=list(places)))


async def patiently(bench: Bench, request: int) -> Event:
    """The answer to what takes more turns than most."""
    while not bench.answers(request):
        await bench.hand.settle()
    return await bench.answer(request)


def heard(bench: Bench) -> list[str]:
    """Names of all that was sent."""
    return [name_of(sent) for attempt in bench.script.attempts for sent in attempt.sent]


async def places_of(bench: Bench) -> list[TrackPlace]:
    answer = await bench.answer(release(bench))
    assert isinstance(answer, CallReleased)
    return answer.places


@asynccontextmanager
async def two_workers(**songs: int) -> AsyncIterator[tuple[Bench, Bench]]:
    """One that holds the call, and one that does not know it."""
    async with dispatching() as old:
        has_songs(old, **songs)
        assert isinstance(await old.answer(old.open()), CallOpened)
        async with dispatching() as new:
            has_songs(new, **songs)
            yield old, new


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


# A call that was up elsewhere.


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
