"""What a pool has counted: nothing ever falls, and nothing is counted twice."""

from __future__ import annotations

import pytest

from tests.fakes.figures import call_figures, report
from voicepool._watching import ledger as _ledger
from voicepool._watching.ledger import CALL_COUNTERS, WORKER_COUNTERS, Ledger
from voicepool.ipc.ids import CallId
from voicepool.pool_events import CallMoved, ExitReason, MoveReason, PoolScaled, WorkerLost
from voicepool.stutters import StutterCause


class Books:
    """A ledger and the calls there are."""

    def __init__(self) -> None:
        self.guilds = {CallId("a"): 1, CallId("b"): 2}
        self.ledger = Ledger(lambda: self.guilds)

    def worker(self, slot: str = "w0") -> dict[str, float]:
        counts = self.ledger.photograph().slots[slot].counts()
        return dict(zip(WORKER_COUNTERS, counts, strict=True))

    def call(self, guild: int = 1) -> dict[str, float]:
        [sheet] = [sheet for each, sheet in self.ledger.photograph().calls if each == guild]
        return dict(zip(CALL_COUNTERS, sheet.counts(), strict=True))


def lost(worker: str, reason: ExitReason = ExitReason.KILLED) -> WorkerLost:
    return WorkerLost(slot=0, worker=worker, reason=reason, text="gone", calls=1)


def moved(guild: int = 1, reason: MoveReason = MoveReason.LOST, gap_ms: float = 240.0) -> CallMoved:
    return CallMoved(guild_id=guild, old="w0.1", new="w1.1", reason=reason, gap_ms=gap_ms)


def test_a_worker_that_died_keeps_what_it_had_counted() -> None:
    books = Books()
    books.ledger.take_report(report("w0.1", [100] * 5, frames_sent=500, uptime_s=9.0), 1.0)
    assert books.worker()["frames_sent"] == 500
    books.ledger.take_event(lost("w0.1"), 2.0)
    assert books.worker()["frames_sent"] == 500
    books.ledger.take_report(report("w0.2", [9_000], frames_sent=20, uptime_s=0.5), 3.0)
    assert books.worker()["frames_sent"] == 520
    assert books.worker()["cpu_s"] == 4.0
    lateness = books.ledger.photograph().slots["w0"].lateness()
    assert (lateness.total, lateness.max_us) == (6, 9_000)


def test_two_processes_share_a_place_while_one_replaces_the_other() -> None:
    books = Books()
    for name, sent, uptime_s in [
        ("w0.1", 500, 9.0),
        ("w0.2", 10, 0.5),
        ("w0.1", 550, 10.0),
        ("w0.2", 60, 1.5),
    ]:
        books.ledger.take_report(report(name, frames_sent=sent, uptime_s=uptime_s), 1.0)
    assert books.worker()["frames_sent"] == 610
    books.ledger.take_event(lost("w0.1", ExitReason.ASKED), 2.0)
    assert books.worker()["frames_sent"] == 610


def test_reports_that_come_late_or_twice_change_nothing() -> None:
    books = Books()
    first = report("w0.1", frames_sent=500, uptime_s=9.0)
    books.ledger.take_report(report("w0.1", frames_sent=600, uptime_s=10.0), 1.0)
    books.ledger.take_report(first, 1.0)
    assert books.worker()["frames_sent"] == 600
    books.ledger.take_event(lost("w0.1"), 2.0)
    books.ledger.take_report(report("w0.1", frames_sent=700, uptime_s=11.0), 3.0)
    assert books.worker()["frames_sent"] == 600


def test_processes_of_whose_end_nobody_told_are_bounded() -> None:
    books = Books()
    for number in range(1, 20):
        books.ledger.take_report(report(f"w0.{number}", frames_sent=10), 1.0)
    assert len(books.ledger.photograph().slots["w0"].instances) == _ledger.MOST_INSTANCES
    assert books.worker()["frames_sent"] == 190


def test_a_call_that_moved_keeps_what_it_had_counted() -> None:
    books = Books()
    old, new = call_figures(frames_sent=300, frames_nulled=2), call_figures(frames_sent=40, frames_nulled=1)
    books.ledger.take_report(report("w0.1", calls=[old]), 1.0)
    books.ledger.take_report(report("w1.1", calls=[new]), 2.0)
    assert books.call()["frames_sent"] == 340
    assert books.call()["frames_nulled"] == 3
    [(_, sheet)] = books.ledger.photograph().calls
    assert sheet.worker == "w1.1"


def test_a_worker_that_prepares_a_call_does_not_have_it_yet() -> None:
    books = Books()
    prepared = call_figures(frames_sent=0)
    for round_ in range(1, 4):
        sending = call_figures(frames_sent=100 * round_)
        books.ledger.take_report(report("w0.1", calls=[sending], uptime_s=float(round_)), 1.0)
        books.ledger.take_report(report("w1.1", calls=[prepared], uptime_s=float(round_)), 1.0)
    assert books.call()["frames_sent"] == 300
    [(_, sheet)] = books.ledger.photograph().calls
    assert (sheet.worker, sheet.last.frames_sent) == ("w0.1", 300)


def test_a_call_may_come_back_to_a_worker_it_was_at() -> None:
    books = Books()
    for name, sent, uptime_s in [("w0.1", 300, 1.0), ("w1.1", 50, 1.0), ("w0.1", 20, 2.0)]:
        figures = call_figures(frames_sent=sent)
        books.ledger.take_report(report(name, calls=[figures], uptime_s=uptime_s), 1.0)
    assert books.call()["frames_sent"] == 370


def test_a_call_that_wanders_is_bounded() -> None:
    books = Books()
    for number in range(30):
        books.ledger.take_report(report(f"w{number}.1", calls=[call_figures(frames_sent=10)]), 1.0)
    [(_, sheet)] = books.ledger.photograph().calls
    assert len(sheet.at) == _ledger.MOST_INSTANCES
    assert (sheet.worker, books.call()["frames_sent"]) == ("w29.1", 300)


def test_calls_that_have_ended_stay_in_the_sums_and_are_not_counted_twice() -> None:
    books = Books()
    books.ledger.take_report(report("w0.1", calls=[call_figures(send_errors=3), call_figures("b")]), 1.0)
    del books.guilds[CallId("a")]
    photograph = books.ledger.photograph()
    assert dict(zip(CALL_COUNTERS, photograph.gone, strict=True))["send_errors"] == 3
    late = report("w0.1", calls=[call_figures(send_errors=4)], uptime_s=11.0)
    books.ledger.take_report(late, 2.0)
    assert books.ledger.photograph().gone == photograph.gone
    assert [guild for guild, _ in photograph.calls] == [2]


def test_forgotten_calls_do_not_pile_up_when_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledger, "_SPARE_SHEETS", 10)
    books = Books()
    books.ledger._most_calls = 10
    for number in range(100):
        figures = call_figures(f"stranger {number}", frames_sent=1)
        books.ledger.take_report(report("w0.1", calls=[figures], uptime_s=float(number)), 1.0)
        assert len(books.ledger._calls) <= 11


def test_stutters_are_counted_by_cause_and_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books()
    starved = call_figures(frames_nulled=5, nulled_by_source=5)
    books.ledger.take_report(report("w0.1", calls=[starved], ticks_skipped=0, uptime_s=1.0), 10.0)
    both = call_figures(frames_nulled=9, nulled_by_source=7)
    books.ledger.take_report(report("w0.1", calls=[both], ticks_skipped=0, uptime_s=2.0), 11.0)
    photograph = books.ledger.photograph()
    assert photograph.stutters == {StutterCause.SOURCE: 2, StutterCause.ENCODER: 1}
    assert dict(photograph.calls[0][1].stutters) == photograph.stutters
    told = [(each.cause, each.frames, each.at_s, each.worker) for each in books.ledger.stutters(1)]
    assert told == [
        (StutterCause.SOURCE, 5, 10.0, "w0.1"),
        (StutterCause.SOURCE, 2, 11.0, "w0.1"),
        (StutterCause.ENCODER, 2, 11.0, "w0.1"),
    ]
    assert books.ledger.stutters(2) == ()


def test_an_encoder_that_is_behind_after_it_did_what_it_could_is_overloaded() -> None:
    books = Books()
    books.ledger.take_report(report("w0.1", ticks_skipped=0, calls=[call_figures()], complexity=9), 1.0)
    behind = call_figures(frames_nulled=5)
    shed = report("w0.1", ticks_skipped=0, calls=[behind], complexity=7, uptime_s=11.0)
    books.ledger.take_report(shed, 2.0)
    assert books.ledger.photograph().stutters == {StutterCause.OVERLOAD: 1}


def test_a_stall_is_a_deficit_of_what_plays() -> None:
    books = Books()
    calls = [call_figures("a"), call_figures("b", playing=False)]
    books.ledger.take_report(report("w0.1", ticks_skipped=4, calls=calls), 1.0)
    books.ledger.take_report(report("w0.1", ticks_skipped=10, calls=calls, uptime_s=11.0), 2.0)
    assert {guild: sheet.deficit for guild, sheet in books.ledger.photograph().calls} == {1: 10, 2: 0}


def test_events_are_counted() -> None:
    books = Books()
    calls = [call_figures("a"), call_figures("b")]
    books.ledger.take_report(report("w0.1", ticks_skipped=0, calls=calls), 1.0)
    books.ledger.take_event(lost("w0.1"), 1.0)
    books.ledger.take_event(moved(), 1.5)
    books.ledger.take_event(moved(2, MoveReason.DRAINED, 12_000.0), 2.0)
    books.ledger.take_event(PoolScaled(before=1, after=2, reason="scale"), 2.0)
    books.ledger.count_lost_call()
    photograph = books.ledger.photograph()
    assert photograph.exits == {ExitReason.KILLED: 1}
    assert (photograph.recovered, photograph.moved, photograph.lost) == (1, 1, 1)
    gaps = photograph.gaps
    assert (gaps.count, gaps.sum_ms, gaps.max_ms) == (2, 12_240.0, 12_000.0)
    assert dict(gaps.buckets)[200.0] == 0
    assert dict(gaps.buckets)[300.0] == dict(gaps.buckets)[10_000.0] == 1
    assert photograph.stutters == {StutterCause.WORKER_LOST: 1, StutterCause.MOVED: 1}
    assert [each.frames for each in books.ledger.stutters()] == [12, 600]
    assert dict(photograph.calls[0][1].stutters) == {StutterCause.WORKER_LOST: 1}


def test_nobody_hears_that_a_call_without_sound_moves() -> None:
    books = Books()
    silent = call_figures("a", playing=False)
    books.ledger.take_report(report("w0.1", ticks_skipped=0, calls=[silent]), 1.0)
    books.ledger.take_event(moved(1), 2.0)
    books.ledger.take_event(moved(2), 2.0)
    photograph = books.ledger.photograph()
    assert (photograph.recovered, photograph.gaps.count, photograph.stutters) == (2, 2, {})


@pytest.mark.parametrize("order", ["event first", "report first"])
def test_a_call_without_sound_is_where_it_was_said_to_go(order: str) -> None:
    books = Books()

    def where() -> str:
        return books.ledger.photograph().calls[0][1].worker

    silent = call_figures("a", playing=False, silence_sent=5)
    books.ledger.take_report(report("w0.1", calls=[silent]), 1.0)
    if order == "report first":
        books.ledger.take_report(report("w1.1", calls=[call_figures("a", playing=False)]), 2.0)
        assert where() == "w0.1", "it is prepared there, no more"
    books.ledger.take_event(moved(reason=MoveReason.DRAINED), 3.0)
    books.ledger.take_report(report("w1.1", calls=[call_figures("a", playing=False)], uptime_s=12.0), 4.0)
    assert where() == "w1.1"
    books.ledger.take_report(report("w0.1", calls=[silent], uptime_s=12.0), 5.0)
    assert where() == "w1.1", "the one before takes a while to leave it"
    books.ledger.take_event(lost("w0.1"), 5.0)
    assert books.call()["silence_sent"] == 5


def test_a_photograph_does_not_change() -> None:
    books = Books()
    books.ledger.take_report(report("w0.1", calls=[call_figures(frames_sent=5)]), 1.0)
    photograph = books.ledger.photograph()
    before = repr(photograph.slots["w0"].counts()), repr(photograph.calls)
    later = report("w0.1", calls=[call_figures(frames_sent=50)], frames_sent=99, uptime_s=20.0)
    books.ledger.take_report(later, 2.0)
    books.ledger.take_event(lost("w0.1"), 3.0)
    assert (repr(photograph.slots["w0"].counts()), repr(photograph.calls)) == before
    assert photograph.exits == {}
