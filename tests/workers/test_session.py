"""A session's orders of events: opening, losing, closing."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.scripted_connection import open_command
from tests.workers.session_bench import CALL, KICKED, LOST, SessionBench, code_of
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    EndReason,
    ServerWanted,
    TrackEnded,
    TrackStarted,
)
from voicepool.ipc.ids import RequestId
from voicepool.workers.dave.events import EncryptionChanged
from voicepool.workers.errors import CallError

# Opening.


@asyncio_test
async def test_an_opened_call_is_reported_and_can_be_played_in() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(request=9, generation=4))
        assert bench.hand.events == [
            CallOpened(request=RequestId(9), call=CALL, generation=4, mode="aead_aes256_gcm_rtpsize", ssrc=1)
        ]
        source = await bench.play("a", 3)
        await bench.hand.tick(20)
        assert bench.script.attempts[0].sent[:3] == source.packets(3)
        stats = bench.session.stats()
        assert (stats.gateway_rtt_ms, stats.messages_skipped) == (12.5, 3)
        await bench.close()


@asyncio_test
async def test_what_is_counted_of_connections_outlives_them() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.attempts[0].tell_dave(EncryptionChanged(1, is_sending=True))
        bench.script.attempts[0].frames_failed = 4
        assert (bench.session.stats().dave_version, bench.session.stats().dave_failures) == (1, 4)
        await bench.session.open(open_command(generation=2))
        bench.script.attempts[1].frames_failed = 3
        assert bench.session.stats().dave_failures == 7
        bench.session.server_gone(2)
        assert bench.session.stats().dave_failures == 7
        assert bench.session.stats().reconnects == 0
        await bench.close()


@asyncio_test
async def test_a_handshake_that_fails_is_raised_and_nothing_is_reported() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        task = bench.start()
        attempt = await bench.script.wait_for_attempt(1)
        attempt.outcome.set_exception(CallError(ErrorCode.CONNECT_REFUSED, "nobody"))
        assert await code_of(task) is ErrorCode.CONNECT_REFUSED
        assert bench.hand.events == []
        assert bench.session.stats().gateway_rtt_ms is None
        await bench.close()


@asyncio_test
async def test_a_newer_open_supersedes_one_under_way() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        first = bench.start(open_command(request=1, generation=1))
        await bench.script.wait_for_attempt(1)
        bench.script.opens_at_once = True
        await bench.session.open(open_command(request=2, generation=2))
        assert await code_of(first) is ErrorCode.SUPERSEDED
        assert [(event.request, event.generation) for event in bench.of(CallOpened)] == [(2, 2)]
        assert [attempt.closed for attempt in bench.script.attempts] == [True, False]
        await bench.close()


@asyncio_test
async def test_a_failure_that_a_newer_open_overtakes_is_superseded() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        first = bench.start(open_command(request=1, generation=1))
        attempt = await bench.script.wait_for_attempt(1)
        second: list[asyncio.Task[None]] = []

        def begin_next() -> None:
            bench.script.opens_at_once = True
            second.append(bench.start(open_command(request=2, generation=2)))

        attempt.outcome.set_exception(CallError(ErrorCode.CONNECT_REFUSED, "nobody"))
        # After the attempt has failed, and a round of the loop before the one that asked for it hears of it.
        asyncio.get_running_loop().call_soon(begin_next)
        # Either is true; what matters is that the newer one is not drawn into it.
        assert await code_of(first) in {ErrorCode.SUPERSEDED, ErrorCode.CONNECT_REFUSED}
        await second[0]
        assert [event.generation for event in bench.of(CallOpened)] == [2]
        await bench.close()


@asyncio_test
async def test_close_supersedes_an_open_under_way() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        task = bench.start()
        await bench.script.wait_for_attempt(1)
        await bench.session.close()
        assert await code_of(task) is ErrorCode.SUPERSEDED
        assert bench.hand.events == []
        assert bench.script.attempts[0].closed
        await bench.close()


@asyncio_test
async def test_close_waits_until_the_attempt_under_way_is_closed() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once, bench.script.closes_slowly = False, True
        opening = bench.start()
        attempt = await bench.script.wait_for_attempt(1)
        closing = asyncio.create_task(bench.session.close())
        await bench.hand.settle()
        assert attempt.closing
        assert not closing.done()
        attempt.may_close.set()
        await closing
        assert await code_of(opening) is ErrorCode.SUPERSEDED


@asyncio_test
async def test_a_cancelled_open_ends_its_attempt() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.opens_at_once = False
        task = bench.start()
        attempt = await bench.script.wait_for_attempt(1)
        task.cancel()
        await asyncio.wait({task})
        await bench.session.close()
        assert task.cancelled()
        assert attempt.closed


# Opening anew.


@asyncio_test
async def test_opened_anew_what_plays_goes_on_where_it_was() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        bench.script.opens_at_once = False
        task = bench.start(open_command(generation=2))
        second = await bench.script.wait_for_attempt(2)
        await bench.hand.tick(10)
        second.outcome.set_result(None)
        await task
        await bench.hand.tick(20)
        first = bench.script.attempts[0]
        assert first.closed
        assert first.sent + second.sent[:5] == source.packets(9)
        assert [event.generation for event in bench.of(CallOpened)] == [1, 2]
        assert [event.reason for event in bench.of(TrackEnded)] == [EndReason.FINISHED]
        await bench.close()


@asyncio_test
async def test_the_old_connection_is_closed_before_the_new_one_begins() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        first = bench.script.attempts[0]
        first.may_close.clear()
        task = bench.start(open_command(generation=2))
        await bench.hand.settle()
        assert first.closing
        assert len(bench.script.attempts) == 1
        first.may_close.set()
        await task
        assert [attempt.closed for attempt in bench.script.attempts] == [True, False]
        await bench.close()


@asyncio_test
async def test_a_loss_of_what_is_being_replaced_is_no_news() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        await bench.play("a", 9)
        task = bench.start(open_command(generation=2))
        # The task that opens anew has been made, and has not run yet, when the old server hangs up.
        asyncio.get_running_loop().call_soon(bench.script.attempts[0].lose, KICKED)
        await task
        assert bench.of(CallClosed) == []
        assert bench.of(TrackEnded) == []
        assert bench.forgotten == []
        await bench.close()


# Losing.


@asyncio_test
async def test_a_lost_call_is_reported_once_and_then_what_played_in_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=3))
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        attempt = bench.script.attempts[0]
        for _ in range(2):
            attempt.lose(KICKED)
        await bench.hand.settle()
        [_, _, call, track] = bench.hand.events
        assert isinstance(track, TrackEnded)
        assert (track.reason, track.error, track.frames_sent) == (EndReason.FAILED, KICKED.info, 4)
        assert call == CallClosed(call=CALL, generation=3, error=KICKED.info)
        assert bench.forgotten == [CALL]
        assert attempt.closed
        assert source.closes == 1
        await bench.hand.tick(10)
        assert len(attempt.sent) == 4
        await bench.close()
        assert len(bench.hand.events) == 4


@asyncio_test
async def test_lost_in_the_moment_it_opens_it_is_closed_after_it_was_opened() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        loop = asyncio.get_running_loop()
        bench.script.at_open = lambda attempt: loop.call_soon(attempt.lose, KICKED)
        await bench.session.open(open_command())
        await bench.hand.settle()
        assert [type(event) for event in bench.hand.events] == [CallOpened, CallClosed]
        await bench.close()


@asyncio_test
async def test_sending_that_breaks_is_mended_by_a_new_session() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        broken = bench.script.attempts[0]

        def exhausted(_: bytes) -> None:
            raise RuntimeError("nonces are used up")

        bench.session.player.bind(lambda header, frame: header + frame, exhausted, 1)
        source = await bench.play("a", 9)
        await bench.hand.tick(1)
        mended = await bench.script.wait_for_attempt(2)
        await bench.hand.settle()
        await bench.hand.tick(20)
        [interrupted] = bench.of(CallInterrupted)
        assert interrupted.error.code is ErrorCode.INTERNAL
        assert "nonces are used up" in interrupted.error.text
        [restored] = bench.of(CallRestored)
        assert (restored.resumed, restored.ssrc) == (False, 2)
        assert broken.closed
        assert mended.sent[:8] == source.packets(9)[1:], "one frame was lost with the transport"
        assert [event.reason for event in bench.of(TrackEnded)] == [EndReason.FINISHED]
        await bench.close()


@asyncio_test
async def test_a_lost_websocket_is_resumed_and_the_sound_never_stops() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=7))
        attempt = bench.script.attempts[0]
        source = await bench.play("a", 9)
        await bench.hand.tick(3)
        attempt.lose(LOST)
        await bench.hand.tick(2)
        assert attempt.sent == source.packets(9)[:5], "UDP goes on while the websocket is away"
        attempt.resumption.set_result(None)
        await bench.hand.settle()
        kinds = [type(event) for event in bench.hand.events]
        assert kinds == [CallOpened, TrackStarted, CallInterrupted, CallRestored]
        restored = bench.hand.events[-1]
        assert isinstance(restored, CallRestored)
        assert (restored.generation, restored.resumed, restored.gap_ms) == (7, True, 0.0)
        assert len(bench.script.attempts) == 1
        await bench.close()


@asyncio_test
async def test_a_resume_that_fails_is_followed_by_a_new_session_where_the_song_goes_on() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        first = bench.script.attempts[0]
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        first.lose(LOST)
        await bench.hand.settle()
        first.resumption.set_exception(CallError(ErrorCode.CLOSED_BY_SERVER, "forgotten", close_code=4006))
        second = await bench.script.wait_for_attempt(2)
        await bench.hand.settle()
        await bench.hand.tick(20)
        assert first.closed
        assert first.sent + second.sent[:5] == source.packets(9)
        [restored] = bench.of(CallRestored)
        assert (restored.resumed, restored.ssrc) == (False, 2)
        assert bench.of(CallClosed) == []
        await bench.close()


@asyncio_test
async def test_a_void_session_waits_for_new_credentials_and_goes_on_with_them() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        first = bench.script.attempts[0]
        source = await bench.play("a", 9)
        await bench.hand.tick(4)
        first.lose(CallError(ErrorCode.CLOSED_BY_SERVER, "timed out", close_code=4009))
        await bench.hand.settle()
        [wanted] = bench.of(ServerWanted)
        assert (wanted.generation, wanted.rejoin) == (1, True)
        assert wanted.error is not None
        assert wanted.error.data == {"close_code": 4009}
        await bench.hand.tick(5)
        await bench.session.open(open_command(generation=2))
        await bench.hand.tick(20)
        second = bench.script.attempts[1]
        assert first.sent + second.sent[:5] == source.packets(9)
        await bench.close()


@asyncio_test
async def test_put_out_without_news_from_the_main_gateway_is_the_end() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch, removal_grace_s=0.0)
        await bench.session.open(open_command())
        bench.script.attempts[0].lose(CallError(ErrorCode.CLOSED_BY_SERVER, "kicked", close_code=4014))
        await bench.over.wait()
        [wanted] = bench.of(ServerWanted)
        assert not wanted.rejoin
        assert wanted.error is not None
        assert wanted.error.data == {"close_code": 4014}
        assert bench.forgotten == [CALL]
        await bench.close()


@asyncio_test
async def test_close_waits_for_what_is_left_of_a_lost_connection() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        bench.script.closes_slowly = True
        await bench.session.open(open_command())
        attempt = bench.script.attempts[0]
        attempt.lose(KICKED)
        closing = asyncio.create_task(bench.session.close())
        await bench.hand.settle()
        assert not closing.done()
        attempt.may_close.set()
        await closing
        assert attempt.closed


# Closing.


@pytest.mark.parametrize("error", [None, KICKED])
def test_close_ends_what_plays_with_its_reason(error: CallError | None) -> None:
    @asyncio_test
    async def scenario() -> None:
        with pytest.MonkeyPatch.context() as patch:
            bench = SessionBench(patch)
            await bench.session.open(open_command())
            await bench.play("a", 9)
            await bench.session.close(error)
            await bench.session.close()
            [ended] = bench.of(TrackEnded)
            assert ended.reason is (EndReason.STOPPED if error is None else EndReason.FAILED)
            assert ended.error == (None if error is None else error.info)
            assert bench.of(CallClosed) == []
            assert bench.forgotten == []
            await bench.close()

    scenario()
