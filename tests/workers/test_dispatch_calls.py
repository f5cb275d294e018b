"""Calls that come and go, and the end of all: each request is answered exactly once all the same."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.running import asyncio_test
from tests.workers.dispatch_bench import KICKED, LOST, Bench, dispatching
from voicepool.ipc.commands import (
    Pause,
    ServerGone,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallOpened,
    Done,
    EndReason,
    Failed,
    TrackEnded,
    TrackReady,
    VerificationCode,
)
from voicepool.ipc.ids import CallId
from voicepool.workers.errors import CallError

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
        assert bench.dispatcher.calls == 2


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
        assert isinstance(await bench.answer(bench.play("song", "quick")), TrackReady)
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
            if isinstance(event, CallOpened | Done | Failed | TrackReady | VerificationCode)
        )
        assert answered == Counter(requests)
        started = Counter(event.playback for event in bench.of(TrackReady))
        assert Counter(event.playback for event in bench.of(TrackEnded)) == started

    scenario()
