"""Commands in, answers out: each request is answered exactly once, whatever happens to its call."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import HandSource, HandStudio
from tests.workers.scripted_connection import Script, open_command
from voicepool.ipc.commands import (
    CloseCall,
    Command,
    FileSource,
    Pause,
    Play,
    ReportStats,
    Resume,
    ServerGone,
    Setup,
    SetVolume,
    Shutdown,
    Stop,
    Verify,
    WorkerSettings,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallOpened,
    Done,
    EndReason,
    Event,
    Failed,
    ServerWanted,
    TrackEnded,
    TrackStarted,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, UserId
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dispatch import Dispatcher
from voicepool.workers.errors import CallError, SourceError

T = TypeVar("T", bound=Event)
KICKED = CallError(ErrorCode.CLOSED_BY_SERVER, "joined too often", close_code=4021)
"""A close that nothing can mend."""
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)


class Bench:
    """A dispatcher in a hand-driven studio, with scripted connections."""

    def __init__(self, patch: pytest.MonkeyPatch, *, max_calls: int = 10) -> None:
        self.script = Script(patch)
        self.hand = HandStudio(
            WorkerSettings(ring_frames=4, complexity=0, max_calls=max_calls, reconnect_first_pause_s=0.0)
        )
        self.stats_asked: list[RequestId] = []
        self.shut_downs = 0
        self.dispatcher = Dispatcher(
            studio=self.hand.studio,
            ssl_context=ssl.create_default_context(),
            report=self.hand.events.append,
            report_stats=self.stats_asked.append,
            shut_down=self._shut_down,
        )
        self._requests = itertools.count(1)

    def _shut_down(self) -> None:
        self.shut_downs += 1

    def send(self, command: Command) -> int:
        """Hand over a command; its request, 0 if it has none."""
        self.dispatcher.handle(command, [])
        return int(getattr(command, "request", 0))

    def open(self, call: str = "call", generation: int = 1) -> int:
        return self.send(open_command(self._next(), generation, call))

    def close_call(self, call: str = "call") -> int:
        return self.send(CloseCall(request=self._next(), call=CallId(call)))

    def play(self, name: str = "song", call: str = "call", *, exists: bool = True) -> int:
        if exists:
            self.hand.opener.sources.setdefault(name, HandSource(name, 6))
        source = FileSource(name)
        return self.send(
            Play(request=self._next(), call=CallId(call), playback=PlaybackId(name), source=source)
        )

    def stop(self, call: str = "call") -> int:
        return self.send(Stop(request=self._next(), call=CallId(call)))

    def verify(self, user: int, call: str = "call") -> int:
        return self.send(Verify(request=self._next(), call=CallId(call), user=UserId(user)))

    async def wait_for_answers(self, request: int) -> list[Event]:
        """Wait for what takes a thread of its own."""
        while not (answers := self.answers(request)):
            assert self.dispatcher._tasks, "nobody is at it"
            await asyncio.wait(self.dispatcher._tasks)
        return answers

    def _next(self) -> RequestId:
        return RequestId(next(self._requests))

    async def answer(self, request: int) -> Event:
        """The one answer to a request, once all is done that can be."""
        await self.hand.settle()
        [answer] = self.answers(request)
        return answer

    async def failure(self, request: int) -> ErrorCode:
        answer = await self.answer(request)
        assert isinstance(answer, Failed)
        return answer.error.code

    def answers(self, request: int) -> list[Event]:
        return [event for event in self.hand.events if getattr(event, "request", None) == request]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.hand.events if isinstance(event, kind)]

    @property
    def calls(self) -> list[str]:
        return [stats.call for stats in self.dispatcher.call_stats()]


@asynccontextmanager
async def dispatching(**options: Any) -> AsyncIterator[Bench]:
    """A bench that is closed at the end, and has left nothing behind then."""
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(patch, **options)
        try:
            yield bench
        finally:
            for attempt in bench.script.attempts:
                attempt.may_close.set()
            await bench.dispatcher.close()
            await bench.hand.settle()
        assert bench.calls == []
        assert all(attempt.closed for attempt in bench.script.attempts)
        assert not bench.hand.encoders.held
        assert not any(bench.hand.pacer._wheel)


# The answers.


@asyncio_test
async def test_a_call_is_opened_played_in_stopped_and_closed() -> None:
    async with dispatching() as bench:
        opened = await bench.answer(bench.open(generation=7))
        assert isinstance(opened, CallOpened)
        assert (opened.call, opened.generation) == ("call", 7)
        assert bench.calls == ["call"]
        started = await bench.answer(bench.play("song"))
        assert isinstance(started, TrackStarted)
        assert (started.call, started.playback, started.info.title) == ("call", "song", "Song")
        await bench.hand.tick(2)
        request = bench.stop()
        assert await bench.answer(request) == Done(request=RequestId(request))
        assert bench.of(TrackEnded)[0].frames_sent == 2
        request = bench.close_call()
        assert await bench.answer(request) == Done(request=RequestId(request))
        assert bench.calls == []
        kinds = [type(event) for event in bench.hand.events]
        assert kinds == [CallOpened, TrackStarted, TrackEnded, Done, Done]


@asyncio_test
async def test_what_needs_a_call_fails_without_one() -> None:
    async with dispatching() as bench:
        assert await bench.failure(bench.play()) is ErrorCode.NO_SUCH_CALL
        assert await bench.failure(bench.stop()) is ErrorCode.NO_SUCH_CALL


@asyncio_test
async def test_closing_what_is_gone_is_done() -> None:
    async with dispatching() as bench:
        assert isinstance(await bench.answer(bench.close_call()), Done)


@asyncio_test
async def test_intentions_reach_their_call_and_are_not_answered() -> None:
    async with dispatching() as bench:
        bench.open()
        await bench.answer(bench.play("song"))
        call = CallId("call")
        bench.send(Pause(call=call))
        await bench.hand.tick(10)
        assert bench.script.attempts[0].sent.count(b"song 0") == 0
        bench.send(SetVolume(call=call, volume=0.5))
        bench.send(Resume(call=call))
        await bench.hand.tick(1)
        assert bench.script.attempts[0].sent[-1] == b"song 0"
        [session] = bench.dispatcher._sessions.values()
        assert session.player._volume == 0.5
        assert len(bench.hand.events) == 2


@asyncio_test
async def test_intentions_for_a_call_that_is_gone_are_dropped() -> None:
    async with dispatching() as bench:
        call = CallId("gone")
        for command in (Pause(call=call), Resume(call=call), SetVolume(call=call, volume=0.5)):
            bench.send(command)
        await bench.hand.settle()
        assert bench.hand.events == []


@asyncio_test
async def test_what_the_worker_does_itself_is_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    async with dispatching() as bench:
        bench.send(ReportStats(request=RequestId(5)))
        bench.send(Shutdown())
        bench.send(Setup(settings=WorkerSettings()))
        assert (bench.stats_asked, bench.shut_downs) == ([5], 1)
        assert "second Setup" in caplog.text
        assert bench.hand.events == []


@asyncio_test
async def test_a_source_that_cannot_be_played_fails_its_own_request_only() -> None:
    async with dispatching() as bench:
        bench.open()
        await bench.answer(bench.play("good"))
        bench.hand.opener.sources["bad"] = SourceError(ErrorCode.SOURCE_NOT_FOUND, "no such file")
        assert await bench.failure(bench.play("bad")) is ErrorCode.SOURCE_NOT_FOUND
        await bench.hand.tick(20)
        assert [(event.playback, event.reason) for event in bench.of(TrackEnded)] == [
            ("good", EndReason.FINISHED)
        ]


@asyncio_test
async def test_a_defect_of_ours_is_an_answer_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with dispatching() as bench:
        bench.open()
        bench.hand.opener.sources["odd"] = ZeroDivisionError("oops")
        answer = await bench.answer(bench.play("odd"))
        assert isinstance(answer, Failed)
        assert answer.error.code is ErrorCode.INTERNAL
        assert "ZeroDivisionError" in answer.error.text
        assert "Traceback" in caplog.text
        assert isinstance(await bench.answer(bench.play("fine")), TrackStarted)


# Servers that go, members that are verified.


@asyncio_test
async def test_a_server_that_is_gone_reaches_its_call_unless_it_is_history() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open(generation=2))
        bench.send(ServerGone(call=CallId("call"), generation=1))
        bench.send(ServerGone(call=CallId("gone"), generation=1))
        await bench.hand.settle()
        assert bench.of(ServerWanted) == []
        bench.send(ServerGone(call=CallId("call"), generation=2))
        await bench.hand.settle()
        assert bench.of(ServerWanted) == [ServerWanted(call=CallId("call"), generation=2, rejoin=False)]
        assert isinstance(await bench.answer(bench.open(generation=3)), CallOpened)


@asyncio_test
async def test_a_code_is_made_of_the_keys_or_as_the_library_gives_it() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        pair = VerificationPair(3, b"our key", 11, b"their key")
        bench.script.attempts[0].verification_of |= {11: pair, 12: "2" * 45}
        for user, code in ((11, pair.code()), (12, "2" * 45)):
            request = bench.verify(user)
            [answer] = await bench.wait_for_answers(request)
            assert answer == VerificationCode(request=RequestId(request), code=code)


@asyncio_test
async def test_who_cannot_be_verified_is_told_why() -> None:
    async with dispatching() as bench:
        assert await bench.failure(bench.verify(11)) is ErrorCode.NO_SUCH_CALL
        await bench.answer(bench.open())
        bench.send(ServerGone(call=CallId("call"), generation=1))
        assert await bench.failure(bench.verify(11)) is ErrorCode.UNVERIFIABLE


@asyncio_test
async def test_a_playback_is_stopped_by_its_name() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        await bench.answer(bench.play("song"))
        request = bench.send(Stop(request=RequestId(99), call=CallId("call"), playback=PlaybackId("another")))
        assert await bench.answer(request) == Done(request=RequestId(99))
        assert bench.of(TrackEnded) == []
        request = bench.send(Stop(request=RequestId(98), call=CallId("call"), playback=PlaybackId("song")))
        await bench.answer(request)
        assert [event.playback for event in bench.of(TrackEnded)] == ["song"]


# Calls that come and go.


@asyncio_test
async def test_a_full_worker_refuses_new_calls_and_no_others() -> None:
    async with dispatching(max_calls=2) as bench:
        bench.open("a")
        bench.open("b")
        refused = await bench.answer(bench.open("c"))
        assert isinstance(refused, Failed)
        assert (refused.error.code, refused.error.data) == (ErrorCode.WORKER_FULL, {"calls": 2})
        assert isinstance(await bench.answer(bench.open("a", generation=2)), CallOpened)
        await bench.answer(bench.close_call("b"))
        assert isinstance(await bench.answer(bench.open("c")), CallOpened)
        assert bench.calls == ["a", "c"]


@asyncio_test
async def test_a_call_that_could_not_be_opened_takes_no_place() -> None:
    async with dispatching(max_calls=1) as bench:
        bench.script.opens_at_once = False
        request = bench.open("a")
        await bench.hand.settle()
        bench.script.attempts[0].outcome.set_exception(CallError(ErrorCode.AUTHENTICATION, "4004"))
        assert await bench.failure(request) is ErrorCode.AUTHENTICATION
        assert bench.calls == []
        bench.script.opens_at_once = True
        assert isinstance(await bench.answer(bench.open("b")), CallOpened)


@asyncio_test
async def test_a_move_that_fails_for_good_ends_the_call_and_what_plays_in_it() -> None:
    async with dispatching() as bench:
        bench.open(generation=1)
        await bench.answer(bench.play("song"))
        bench.script.opens_at_once = False
        request = bench.open(generation=2)
        await bench.hand.settle()
        bench.script.attempts[1].outcome.set_exception(CallError(ErrorCode.CERTIFICATE, "expired"))
        assert await bench.failure(request) is ErrorCode.CERTIFICATE
        [ended] = bench.of(TrackEnded)
        assert ended.error is not None
        assert (ended.reason, ended.error.code) == (EndReason.FAILED, ErrorCode.CERTIFICATE)
        assert await bench.failure(bench.stop()) is ErrorCode.NO_SUCH_CALL


@asyncio_test
async def test_an_open_that_is_overtaken_fails_and_the_call_lives() -> None:
    async with dispatching() as bench:
        bench.script.opens_at_once = False
        first = bench.open(generation=1)
        await bench.hand.settle()
        bench.script.opens_at_once = True
        second = bench.open(generation=2)
        assert isinstance(await bench.answer(second), CallOpened)
        assert await bench.failure(first) is ErrorCode.SUPERSEDED
        assert bench.calls == ["call"]


@asyncio_test
async def test_a_close_overtakes_an_open() -> None:
    async with dispatching() as bench:
        bench.script.opens_at_once = False
        opening = bench.open()
        await bench.hand.settle()
        closing = bench.close_call()
        assert isinstance(await bench.answer(closing), Done)
        assert await bench.failure(opening) is ErrorCode.SUPERSEDED
        assert bench.of(CallOpened) == []


@asyncio_test
async def test_a_lost_call_is_forgotten_and_gives_its_place_back() -> None:
    async with dispatching(max_calls=1) as bench:
        bench.open("a")
        await bench.answer(bench.play("song", "a"))
        bench.script.attempts[0].lose(KICKED)
        await bench.hand.settle()
        assert [event.error.code for event in bench.of(CallClosed)] == [ErrorCode.CLOSED_BY_SERVER]
        assert await bench.failure(bench.play("other", "a")) is ErrorCode.NO_SUCH_CALL
        assert isinstance(await bench.answer(bench.open("b")), CallOpened)
        assert len(bench.of(TrackEnded)) == 1


@asyncio_test
async def test_a_slow_call_holds_up_no_other() -> None:
    async with dispatching() as bench:
        bench.script.opens_at_once = False
        slow = bench.open("slow")
        await bench.hand.settle()
        bench.script.opens_at_once = True
        assert isinstance(await bench.answer(bench.open("quick")), CallOpened)
        assert isinstance(await bench.answer(bench.play("song", "quick")), TrackStarted)
        assert bench.answers(slow) == []
        bench.script.attempts[0].outcome.set_result(None)
        assert isinstance(await bench.answer(slow), CallOpened)


# The end.


@asyncio_test
async def test_close_answers_what_is_under_way_and_ends_every_call() -> None:
    async with dispatching() as bench:
        bench.open("a")
        await bench.answer(bench.play("song", "a"))
        bench.hand.opener.sources["never"] = asyncio.get_running_loop().create_future()
        playing = bench.play("never", "a")
        bench.script.opens_at_once = False
        opening = bench.open("b")
        await bench.hand.settle()
        # Taken on, and not begun.
        late_open, late_play = bench.open("c"), bench.play("late", "a")
        await bench.dispatcher.close()
        for request in (playing, opening, late_open):
            assert await bench.failure(request) is ErrorCode.SUPERSEDED
        assert await bench.failure(late_play) is ErrorCode.NO_SUCH_CALL
        assert [event.reason for event in bench.of(TrackEnded)] == [EndReason.STOPPED]
        assert bench.calls == []


@asyncio_test
async def test_close_waits_for_what_is_left_of_lost_and_of_closed_calls() -> None:
    async with dispatching() as bench:
        bench.script.closes_slowly = True
        bench.open("lost")
        bench.open("closed")
        await bench.hand.settle()
        bench.script.attempts[0].lose(KICKED)
        closing = bench.close_call("closed")
        await bench.hand.settle()
        leaving = asyncio.create_task(bench.dispatcher.close())
        await bench.hand.settle()
        assert not leaving.done()
        bench.script.attempts[0].may_close.set()
        await bench.hand.settle()
        assert not leaving.done()
        bench.script.attempts[1].may_close.set()
        await leaving
        assert isinstance(await bench.answer(closing), Done)


@asyncio_test
async def test_no_secret_of_a_command_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with dispatching() as bench:
            bench.script.opens_at_once = False
            failing = bench.open()
            await bench.hand.settle()
            bench.script.attempts[0].outcome.set_exception(ZeroDivisionError())
            assert await bench.failure(failing) is ErrorCode.INTERNAL
            bench.send(Pause(call=CallId("gone")))
    assert "SECRET" not in caplog.text + repr(bench.hand.events)


STEPS = ["open", "close_call", "play", "stop", "verify", "settle", "tick", "lose", "fail", "succeed"]
SWITCHES = ["slow", "quick", "gone", "interrupt"]


async def do(bench: Bench, step: str, call: str, number: int) -> int:
    """Do one thing; its request, 0 if it has none."""
    undecided = [attempt for attempt in bench.script.attempts if not attempt.outcome.done()]
    live = [attempt for attempt in bench.script.attempts if attempt.opened]
    if step in {"open", "close_call", "stop"}:
        return int(getattr(bench, step)(call))
    if step == "play":
        return bench.play(f"song {number}", call)
    if step == "verify":
        for attempt in live:
            attempt.verification_of[11] = "1" * 45
        return bench.verify(11, call)
    if step == "settle":
        await bench.hand.settle()
    elif step == "tick":
        await bench.hand.tick(5)
    elif step == "lose" and live:
        live[-1].lose(KICKED)
    elif step == "fail" and undecided:
        undecided[-1].outcome.set_exception(CallError(ErrorCode.CONNECT_REFUSED, "nobody"))
    elif step == "succeed" and undecided:
        undecided[-1].outcome.set_result(None)
    return 0


def switch(bench: Bench, step: str, call: str) -> None:
    """Do what is over at once."""
    if step == "gone":
        bench.send(ServerGone(call=CallId(call), generation=1))
    elif step == "interrupt":
        for attempt in bench.script.attempts:
            attempt.lose(LOST)
    else:
        bench.script.opens_at_once = step == "quick"


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([*STEPS, *SWITCHES]), st.sampled_from("abc")), max_size=40),
)
def test_whatever_comes_every_request_has_exactly_one_answer(steps: list[tuple[str, str]]) -> None:
    @asyncio_test
    async def scenario() -> None:
        requests: list[int] = []
        async with dispatching(max_calls=2) as bench:
            for number, (step, call) in enumerate(steps):
                if step in SWITCHES:
                    switch(bench, step, call)
                elif request := await do(bench, step, call, number):
                    requests.append(request)
        answered = Counter(
            event.request
            for event in bench.hand.events
            if isinstance(event, CallOpened | Done | Failed | TrackStarted | VerificationCode)
        )
        assert answered == Counter(requests)
        started = Counter(event.playback for event in bench.of(TrackStarted))
        assert Counter(event.playback for event in bench.of(TrackEnded)) == started

    scenario()
