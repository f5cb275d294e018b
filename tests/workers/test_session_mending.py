"""A call that was up and is handed new credentials, or loses its server to Discord."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.scripted_connection import open_command
from tests.workers.session_bench import LOST, REFUSED, SessionBench, code_of
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    ServerWanted,
    TrackEnded,
    TrackStarted,
)
from voicepool.workers.errors import CallError


@asyncio_test
async def test_a_new_server_that_is_not_up_yet_is_tried_until_it_is() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch, reconnect_first_pause_s=0.0)
        await bench.session.open(open_command(request=1, generation=1))
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        bench.script.opens_at_once = False
        task = bench.start(open_command(request=2, generation=2))
        for number, error in enumerate((REFUSED, LOST, REFUSED), start=2):
            (await bench.script.wait_for_attempt(number)).outcome.set_exception(error)
        last = await bench.script.wait_for_attempt(5)
        assert not task.done(), "the answer waits for what comes of it"
        last.outcome.set_result(None)
        await task
        await bench.hand.tick(20)
        of_tracks = TrackStarted | TrackEnded
        news: list[Any] = [event for event in bench.hand.events if not isinstance(event, of_tracks)]
        assert [(type(event), event.generation) for event in news] == [
            (CallOpened, 1),
            (CallInterrupted, 2),
            (CallOpened, 2),
            (CallRestored, 2),
        ]
        [interrupted] = bench.of(CallInterrupted)
        assert interrupted.error == REFUSED.info
        assert bench.of(CallOpened)[1].request == 2
        [restored] = bench.of(CallRestored)
        assert (restored.resumed, restored.ssrc) == (False, 5)
        assert restored.gap_ms > 0.0
        assert bench.script.attempts[0].sent + last.sent[:5] == source.packets(9)
        await bench.close()


@asyncio_test
async def test_a_move_that_goes_well_is_no_interruption() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        await bench.session.open(open_command(generation=2))
        assert [type(event) for event in bench.hand.events] == [CallOpened, CallOpened]
        await bench.close()


@asyncio_test
async def test_a_new_server_that_never_comes_up_fails_with_the_last_error() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch, reconnect_first_pause_s=0.0, reconnect_attempts=2)
        await bench.session.open(open_command(generation=1))
        bench.script.opens_at_once = False
        task = bench.start(open_command(generation=2))
        (await bench.script.wait_for_attempt(2)).outcome.set_exception(LOST)
        (await bench.script.wait_for_attempt(3)).outcome.set_exception(REFUSED)
        assert await code_of(task) is REFUSED.code
        # Whoever asked has heard of it, and closes.
        assert bench.of(CallClosed) == []
        await bench.close()


@asyncio_test
async def test_a_new_server_that_refuses_for_good_is_not_tried_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.opens_at_once = False
        task = bench.start(open_command(generation=2))
        error = CallError(ErrorCode.DAVE_REQUIRED, "encrypted calls only", close_code=4017)
        (await bench.script.wait_for_attempt(2)).outcome.set_exception(error)
        assert await code_of(task) is ErrorCode.DAVE_REQUIRED
        assert bench.of(CallInterrupted) == []
        await bench.close()


@asyncio_test
async def test_an_endpoint_that_is_none_is_an_answer_like_any_other() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch, reconnect_first_pause_s=0.0, reconnect_attempts=2)
        bench.script.unmakeable = REFUSED
        assert await code_of(bench.start()) is REFUSED.code
        await bench.close()


@asyncio_test
async def test_newer_credentials_overtake_attempts_that_are_being_made() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.opens_at_once = False
        second = bench.start(open_command(generation=2))
        (await bench.script.wait_for_attempt(2)).outcome.set_exception(REFUSED)
        await bench.hand.settle()
        bench.script.opens_at_once = True
        await bench.session.open(open_command(generation=3))
        assert await code_of(second) is ErrorCode.SUPERSEDED
        assert [event.generation for event in bench.of(CallOpened)] == [1, 3]
        assert [event.generation for event in bench.of(CallRestored)] == [3]
        await bench.close()


@asyncio_test
async def test_a_fresh_session_that_is_void_at_once_wants_another() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.opens_at_once = False
        task = bench.start(open_command(generation=2))
        error = CallError(ErrorCode.CLOSED_BY_SERVER, "no such session", close_code=4006)
        (await bench.script.wait_for_attempt(2)).outcome.set_exception(error)
        await bench.hand.settle()
        [wanted] = bench.of(ServerWanted)
        assert (wanted.generation, wanted.rejoin, wanted.error) == (2, True, error.info)
        assert not task.done()
        bench.script.opens_at_once = True
        await bench.session.open(open_command(generation=3))
        assert await code_of(task) is ErrorCode.SUPERSEDED
        await bench.close()


# A server that Discord takes away.


@asyncio_test
async def test_a_server_that_is_gone_is_let_go_and_what_plays_is_kept() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        first = bench.script.attempts[0]
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        bench.session.server_gone(1)
        await bench.hand.settle()
        assert first.closed
        [wanted] = bench.of(ServerWanted)
        assert (wanted.generation, wanted.rejoin, wanted.error) == (1, False, None)
        assert bench.of(CallInterrupted) == [], "the bot knows; it is from there that it came"
        bench.session.server_gone(1)
        assert len(bench.of(ServerWanted)) == 1
        await bench.session.open(open_command(generation=2))
        await bench.hand.tick(20)
        assert first.sent + bench.script.attempts[1].sent[:5] == source.packets(9)
        assert [event.generation for event in bench.of(CallRestored)] == [2]
        await bench.close()


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_the_end_of_another_generations_server_is_history(generation: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        with pytest.MonkeyPatch.context() as patch:
            bench = SessionBench(patch)
            await bench.session.open(open_command(generation=1))
            await bench.session.open(open_command(generation=2))
            bench.session.server_gone(generation)
            await bench.hand.settle()
            assert bench.of(ServerWanted) == []
            assert not bench.script.attempts[1].closing
            await bench.close()

    scenario()


@asyncio_test
async def test_a_server_that_goes_in_mid_handshake_ends_the_attempt_and_the_next_one_answers() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        task = bench.start(open_command(generation=1))
        attempt = await bench.script.wait_for_attempt(1)
        bench.session.server_gone(1)
        await bench.hand.settle()
        assert attempt.closed
        assert not task.done()
        bench.script.opens_at_once = True
        await bench.session.open(open_command(generation=2))
        assert await code_of(task) is ErrorCode.SUPERSEDED
        await bench.close()


@asyncio_test
async def test_no_other_server_in_time_is_the_end() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch, server_wait_s=0.0)
        await bench.session.open(open_command(generation=1))
        bench.session.server_gone(1)
        await bench.over.wait()
        [closed] = bench.of(CallClosed)
        assert closed.error.code is ErrorCode.CONNECT_TIMEOUT
        bench.session.server_gone(1)
        await bench.close()
        bench.session.server_gone(1)
