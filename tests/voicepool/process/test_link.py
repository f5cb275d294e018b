"""Requests and their answers: whoever waits gets one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool._process import flood
from voicepool._process import link as _link
from voicepool._process.link import CallEvent, Link, Request, fresh_copy
from voicepool.errors import (
    CallGoneError,
    ClosedByServerError,
    InternalError,
    WorkerError,
    WorkerLostError,
    WorkerTimeoutError,
)
from voicepool.ipc.channel import ForkedError, LinkFullError, MessageTooLargeError
from voicepool.ipc.commands import Pause, Ping, ReportStats, Stop, Verify
from voicepool.ipc.errors import ErrorCode, ErrorInfo, UnreadableMessageError
from voicepool.ipc.events import (
    Bye,
    CallClosed,
    CallOpened,
    CallStats,
    Done,
    EndReason,
    Event,
    Failed,
    MembersChanged,
    ServerWanted,
    Speaking,
    Stats,
    TrackEnded,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, UserId, WorkerId

CALL = CallId("call")
LONG_S = 600.0


class FakeEnd:
    """The bot's end, without a socket."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.full = False
        self.received_bytes = 0
        self.failure: Exception | None = None

    @property
    def has_message(self) -> bool:
        return not self.events.empty()

    def post(self, message: Any, attachments: Any = (), *, lossy: bool = False) -> None:
        if self.full:
            raise LinkFullError("4096 messages wait to be sent")
        if self.failure is not None:
            raise self.failure
        self.posted.append(message)

    async def receive(self) -> tuple[Event, list[bytes]]:
        event = await self.events.get()
        if isinstance(event, Exception):
            raise event
        return event, []


class Listener:
    """Writes down what it hears."""

    def __init__(self, *, broken: bool = False) -> None:
        self.heard: list[Any] = []
        self.broken = broken

    def take(self, thing: Any) -> None:
        self.heard.append(thing)
        if self.broken:
            raise RuntimeError("a mistake of one call")

    on_track_event = on_call_closed = on_call_event = on_stats = on_worker_lost = take


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, FakeEnd]]:
    end = FakeEnd()
    link = Link(end, worker=WorkerId("w0.1"))  # type: ignore[arg-type]  # only what a link uses of it
    reader = asyncio.create_task(link.run())
    try:
        yield link, end
    finally:
        reader.cancel()
        await asyncio.wait({reader})


def stop(link: Link, timeout_s: float = LONG_S) -> Request[Done]:
    return link.request(lambda number: Stop(request=number, call=CALL), Done, timeout_s=timeout_s)


def stats(**more: Any) -> Stats:
    fields: dict[str, Any] = {
        "worker": WorkerId("w0.1"),
        "cpu_s": 0.0,
        "uptime_s": 0.0,
        "rss_bytes": 0,
        "frames_sent": 0,
        "frames_nulled": 0,
        "ticks_skipped": 0,
        "lateness_counts": [],
        "lateness_max_us": 0,
        "encoder_class": "idle",
    }
    return Stats(**fields | more)


@asyncio_test
async def test_answers_find_their_requests_in_any_order() -> None:
    async with linked() as (link, end):
        first, second = stop(link), stop(link)
        assert [command.request for command in end.posted] == [1, 2]
        end.events.put_nowait(Done(request=RequestId(2)))
        end.events.put_nowait(Done(request=RequestId(1)))
        assert (await second.answer()).request == 2
        assert (await first.answer()).request == 1


@asyncio_test
async def test_a_failure_is_raised_as_its_class() -> None:
    async with linked() as (link, end):
        request = stop(link)
        info = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        end.events.put_nowait(Failed(request=RequestId(1), error=info))
        with pytest.raises(ClosedByServerError, match="kicked") as caught:
            await request.answer()
        assert caught.value.close_code == 4014


@asyncio_test
async def test_an_answer_of_the_wrong_kind_is_a_defect() -> None:
    async with linked() as (link, end):
        request = stop(link)
        end.events.put_nowait(stats(request=RequestId(1)))
        with pytest.raises(InternalError, match="answered Stop with Stats"):
            await request.answer()


@asyncio_test
async def test_no_answer_is_a_timeout_and_a_late_one_is_ignored() -> None:
    async with linked() as (link, end):
        with pytest.raises(WorkerTimeoutError, match=r"w0\.1 has not answered Stop within 0\.01 s"):
            await stop(link, 0.01).answer()
        end.events.put_nowait(Done(request=RequestId(1)))
        request = stop(link)
        end.events.put_nowait(Done(request=RequestId(2)))
        await request.answer()
        assert link._pending == {}


@asyncio_test
async def test_an_answer_may_be_allowed_more_time() -> None:
    async with linked() as (link, end):
        request = stop(link, 1.0)
        request.allow(0.5)
        assert request._timeout_s == 1.0
        request.allow(LONG_S)
        waiting = asyncio.create_task(request.answer())
        await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        assert request._deadline is not None
        at_first = request._deadline.when()
        assert at_first is not None
        assert at_first > now + LONG_S - 1.0
        request.allow(1.0)
        assert request._deadline.when() == at_first, "never less"
        request.allow(2 * LONG_S)
        later = request._deadline.when()
        assert later is not None
        assert later > now + 2 * LONG_S - 1.0
        end.events.put_nowait(Done(request=RequestId(1)))
        await waiting
        request.allow(3 * LONG_S)


@asyncio_test
async def test_cancelling_who_waits_forgets_the_request() -> None:
    async with linked() as (link, end):
        waiting = asyncio.create_task(stop(link).answer())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert link._pending == {}
        end.events.put_nowait(Done(request=RequestId(1)))
        request = stop(link)
        end.events.put_nowait(Done(request=RequestId(2)))
        await request.answer()


@asyncio_test
async def test_the_loss_of_the_worker_ends_everything() -> None:
    async with linked() as (link, _):
        waiting = [asyncio.create_task(stop(link).answer()) for _ in range(3)]
        listener = Listener()
        link.listen(CALL, listener)
        await asyncio.sleep(0)
        error = WorkerLostError("worker w0.1 was killed by SIGKILL", worker="w0.1")
        link.lose(error)
        link.lose(WorkerLostError("again"))
        for task in waiting:
            with pytest.raises(WorkerLostError, match="SIGKILL"):
                await task
        assert [str(thing) for thing in listener.heard] == ["worker w0.1 was killed by SIGKILL"]
        for use in (stop, lambda link: link.post(Pause(call=CALL))):
            with pytest.raises(WorkerLostError, match="SIGKILL") as caught:
                use(link)
            assert caught.value is not error
            assert caught.value.data == {"worker": "w0.1"}


@asyncio_test
async def test_nobody_hears_of_an_abandoned_request() -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context))
    async with linked() as (link, _):
        before, after, never = stop(link), stop(link), stop(link)
        before.abandon()
        link.lose(WorkerLostError("gone"))
        after.abandon()
        with pytest.raises(WorkerLostError):
            await never.answer()
    del before, after, never
    gc.collect()
    await asyncio.sleep(0)
    assert noise == []


@asyncio_test
async def test_a_worker_that_reads_nothing_is_stuck() -> None:
    async with linked() as (link, end):
        end.full = True
        with pytest.raises(WorkerTimeoutError, match=r"w0\.1 is stuck"):
            stop(link)
        with pytest.raises(WorkerTimeoutError):
            link.post(Pause(call=CALL))
        assert link._pending == {}


@asyncio_test
async def test_a_worker_that_owes_too_many_answers_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "MAX_PENDING_REQUESTS", 2)
    async with linked() as (link, end):
        requests = [stop(link), stop(link)]
        with pytest.raises(WorkerTimeoutError, match="owes 2 answers"):
            stop(link)
        assert len(end.posted) == 2
        requests[0].abandon()
        stop(link).abandon()
        requests[1].abandon()


@asyncio_test
async def test_news_goes_to_the_calls_listener_in_order() -> None:
    async with linked() as (link, end):
        listener, other = Listener(), Listener()
        link.listen(CALL, listener)
        link.listen(CallId("other"), other)
        ended = TrackEnded(call=CALL, playback=PlaybackId("p"), reason=EndReason.FINISHED, frames_sent=1)
        closed = CallClosed(call=CALL, generation=1, error=ErrorInfo(code=ErrorCode.PROTOCOL, text="x"))
        figures = CallStats(call=CALL)
        wanted = ServerWanted(call=CALL, generation=1, rejoin=True)
        for event in (ended, stats(calls=[figures]), wanted, closed):
            end.events.put_nowait(event)
        await _drained(link, end)
        assert listener.heard == [ended, figures, wanted, closed]
        assert other.heard == []
        link.unlisten(CALL)
        end.events.put_nowait(ended)
        await _drained(link, end)
        assert len(listener.heard) == 4


@asyncio_test
async def test_that_a_call_is_open_is_news_before_it_is_an_answer() -> None:
    async with linked() as (link, end):
        request = link.request(
            lambda number: Verify(request=number, call=CALL, user=UserId(3)), CallOpened, timeout_s=LONG_S
        )
        heard: list[bool] = []

        class Impatient(Listener):
            def on_call_event(self, event: CallEvent) -> None:
                heard.append(request._future.done())

        link.listen(CALL, Impatient())
        end.events.put_nowait(CallOpened(request=RequestId(1), call=CALL, generation=1, mode="m", ssrc=1))
        assert (await request.answer()).ssrc == 1
        assert heard == [False]


@asyncio_test
async def test_news_of_members_and_of_codes_arrives() -> None:
    async with linked() as (link, end):
        listener = Listener()
        link.listen(CALL, listener)
        joined = MembersChanged(call=CALL, joined=[3])
        speaking = Speaking(call=CALL, user=3, ssrc=7, flags=1)
        end.events.put_nowait(joined)
        end.events.put_nowait(speaking)
        request = link.request(
            lambda number: Verify(request=number, call=CALL, user=UserId(3)),
            VerificationCode,
            timeout_s=LONG_S,
        )
        end.events.put_nowait(VerificationCode(request=RequestId(1), code="45"))
        assert (await request.answer()).code == "45"
        assert listener.heard == [joined, speaking]


@asyncio_test
async def test_one_calls_mistake_does_not_make_the_others_deaf(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (link, end):
        broken, good = Listener(broken=True), Listener()
        link.listen(CALL, broken)
        link.listen(CallId("other"), good)
        ended = TrackEnded(call=CALL, playback=PlaybackId("p"), reason=EndReason.FINISHED, frames_sent=1)
        end.events.put_nowait(ended)
        await _drained(link, end)
        link.lose(WorkerLostError("gone"))
        assert len(broken.heard) == 2
        assert [str(error) for error in good.heard] == ["gone"]
    assert "cannot handle TrackEnded" in caplog.text


@asyncio_test
async def test_unreadable_messages_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (link, end):
        for _ in range(3):
            end.events.put_nowait(UnreadableMessageError("3 bytes are no message of this contract"))
        await _drained(link, end)
        assert link.unreadable == 3
    assert caplog.text.count("3 bytes are no message") == 1


@asyncio_test
async def test_the_cpu_share_is_that_of_the_last_span() -> None:
    async with linked() as (link, end):
        shares = []
        for cpu_s, uptime_s in ((1.0, 10.0), (1.5, 11.0), (1.5, 11.001), (1.75, 12.0)):
            end.events.put_nowait(stats(cpu_s=cpu_s, uptime_s=uptime_s))
            await _drained(link, end)
            shares.append(link.cpu_share)
        assert shares == [None, 0.5, 0.5, 0.25]
        assert link.stats is not None
        assert link.stats.uptime_s == 12.0


def test_a_fresh_copy_is_equal_and_another() -> None:
    error = CallGoneError("gone", guild=5)
    copy = fresh_copy(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.data) == (CallGoneError, "gone", {"guild": 5})


# Signs of life.


@asyncio_test
async def test_everything_that_comes_is_a_sign_of_life(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (link, end):
        before = link.heard_at
        for event in (Done(request=RequestId(99)), UnreadableMessageError("tongues"), stats()):
            end.events.put_nowait(event)
            await _drained(link, end)
        assert link.messages == 6
        assert link.heard_at >= before
    assert "an unreadable message" in caplog.text


@asyncio_test
async def test_one_ping_is_on_its_way_at_a_time_and_its_round_trip_is_known() -> None:
    async with linked() as (link, end):
        assert link.rtt_ms is None
        link.ping()
        link.ping()
        (ping,) = end.posted
        assert isinstance(ping, Ping)
        end.events.put_nowait(Done(request=ping.request))
        await _drained(link, end)
        assert link.rtt_ms is not None
        assert link.rtt_ms >= 0.0
        link.ping()
        assert len([command for command in end.posted if isinstance(command, Ping)]) == 2


@asyncio_test
async def test_a_ping_that_finds_the_worker_stuck_may_be_repeated() -> None:
    async with linked() as (link, end):
        end.full = True
        with pytest.raises(WorkerTimeoutError):
            link.ping()
        end.full = False
        link.ping()
        assert len(end.posted) == 1


@asyncio_test
async def test_catching_up_takes_in_what_is_there() -> None:
    async with linked() as (link, end):
        for _ in range(500):
            end.events.put_nowait(Bye())
        await link.catch_up()
        assert link.messages == 500


@asyncio_test
async def test_catching_up_has_an_end_however_much_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "LONGEST_CATCH_UP_S", 0.02)
    async with linked() as (link, end):
        chatter = asyncio.create_task(_chatter(end))
        await link.catch_up()
        assert link.messages > 0
        chatter.cancel()
        await asyncio.wait({chatter})


@asyncio_test
async def test_a_flood_leaves_the_loop_its_turns_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "MAX_MESSAGES_PER_S", 200.0)
    floods: list[int] = []
    end = EndlessEnd()
    link = Link(end, worker=WorkerId("w0.1"), on_flood=lambda: floods.append(link.messages))  # type: ignore[arg-type]
    reader = asyncio.create_task(link.run())
    turns = 0
    while not reader.done():
        await asyncio.sleep(0)
        turns += 1
    (messages,) = floods
    assert messages > 1_000
    assert turns >= messages / _link.MESSAGES_A_TURN


@asyncio_test
async def test_reports_are_handed_on() -> None:
    reports: list[Stats] = []
    end = FakeEnd()
    link = Link(end, worker=WorkerId("w0.1"), on_stats=reports.append)  # type: ignore[arg-type]
    reader = asyncio.create_task(link.run())
    end.events.put_nowait(stats(pss_bytes=5))
    await _drained(link, end)
    assert [report.pss_bytes for report in reports] == [5]
    link.lose(WorkerLostError("gone"))
    end.events.put_nowait(stats(pss_bytes=6))
    await asyncio.wait({reader})


@asyncio_test
async def test_the_calls_of_a_lost_worker_are_counted() -> None:
    async with linked() as (link, _end):
        link.listen(CALL, Listener())
        link.listen(CallId("other"), Listener())
        assert link.calls == 2
        link.unlisten(CALL)
        assert link.calls == 1
        link.lose(WorkerLostError("gone"))
        assert link.calls == 1


@pytest.mark.parametrize(
    ("raised", "error", "text"),
    [
        (ForkedError("made in process 7"), WorkerLostError, "another process's: made in process 7"),
        (MessageTooLargeError("9 bytes"), WorkerError, "cannot be sent Stop: 9 bytes"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_ours(
    raised: Exception, error: type[WorkerError], text: str
) -> None:
    @asyncio_test
    async def run() -> None:
        async with linked() as (link, end):
            end.failure = raised
            with pytest.raises(error, match=text):
                stop(link)

    run()


class EndlessEnd(FakeEnd):
    """One whose worker always has something to say."""

    @property
    def has_message(self) -> bool:
        return True

    async def receive(self) -> tuple[Event, list[bytes]]:
        return Bye(), []


async def _chatter(end: FakeEnd) -> None:
    while True:
        end.events.put_nowait(Bye())
        await asyncio.sleep(0)


async def _drained(link: Link, end: FakeEnd) -> None:
    """Return when all events were taken: the answer to a request comes after them."""
    request = link.request(lambda number: ReportStats(request=number), Done, timeout_s=LONG_S)
    end.events.put_nowait(Done(request=end.posted[-1].request))
    await request.answer()
