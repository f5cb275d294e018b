"""The encoder threads on a time moved by hand: what is filled, in which order, and how it ends."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import cast

import pytest

from tests.workers.audio.encoder_bench import MS, SAFETY_S, EncoderBench, S, Work
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.playback import Playback
from voicepool.workers.clock import MonotonicClock, lower_thread_priority

# Order.


def test_what_is_submitted_is_filled_at_once_by_the_idle_thread(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20)
    encoders.submit(work)
    encoders.time.settle()
    assert work.threads == ["voicepool-encoder-idle"]
    assert (encoders.got, encoders.threads.role) == ("idle", "idle")


def test_the_most_urgent_comes_first(encoders: EncoderBench) -> None:
    works = [encoders.work("late", 300), encoders.work("first", 100), encoders.work("second", 200)]
    encoders.submit(*works)
    encoders.time.settle()
    encoders.log.clear()
    encoders.advance(400)
    assert encoders.log == ["first", "second", "late"]


def test_a_newcomer_goes_before_what_is_overdue(encoders: EncoderBench) -> None:
    playing = [encoders.work(name, 50) for name in "abc"]
    encoders.submit(*playing)
    encoders.time.settle()
    _, gate = encoders.starve()
    encoders.time.advance(60 * MS)
    encoders.submit(encoders.work("new"))
    encoders.log.clear()
    gate.open()
    encoders.time.settle()
    assert encoders.log[0] == "new"
    assert sorted(encoders.log[1:]) == ["a", "b", "c", "hog"]


def test_what_falls_due_within_10_ms_is_done_in_one_go(encoders: EncoderBench) -> None:
    encoders.submit(encoders.work("a", 3), encoders.work("b", 9))
    encoders.time.settle()
    encoders.log.clear()
    encoders.advance(9)
    assert encoders.log == []
    encoders.advance(1)
    assert encoders.log == ["a", "b"]


def test_what_has_ended_is_let_go(encoders: EncoderBench) -> None:
    work = encoders.work("a", None)
    encoders.submit(work)
    encoders.time.settle()
    encoders.advance(10_000)
    assert encoders.log == ["a"]
    encoders.threads.stop()
    assert work.closes == 0, "it has closed itself"


# The end.


def test_stop_ends_the_threads_and_closes_what_is_held(encoders: EncoderBench) -> None:
    works = [encoders.work("a", 50), encoders.work("b", 5_000), encoders.work("c", None)]
    encoders.submit(*works)
    encoders.time.settle()
    encoders.threads.stop()
    assert [work.closes for work in works] == [1, 1, 0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voicepool-encoder")]
    encoders.threads.stop()
    assert [work.closes for work in works] == [1, 1, 0]
    assert encoders.threads.cpu_s == 0.0


def test_stop_closes_what_is_parked_and_what_comes_too_late(encoders: EncoderBench) -> None:
    parked, late = encoders.work("a", 20), encoders.work("b", 20)
    parked.may_park_answers = [True]
    encoders.submit(parked)
    encoders.time.settle()
    assert parked.parked
    encoders.threads.stop()
    encoders.submit(late)
    encoders.hurry(parked)
    encoders.nudge(parked)
    encoders.threads.stop()
    assert (parked.closes, late.closes) == (1, 1)
    assert encoders.log == ["a"]


def test_what_was_never_started_can_be_stopped() -> None:
    threads = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "idle")
    threads.watch(1)
    threads.stop()


def test_a_thread_that_dies_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: ended.set())
    encoders = EncoderBench(role="normal")

    def break_down() -> None:
        raise ZeroDivisionError

    work = encoders.work("a")
    work.during_fill = break_down
    with caplog.at_level(logging.CRITICAL):
        encoders.submit(work)
        assert ended.wait(SAFETY_S)
    assert "an encoder thread died" in caplog.text
    encoders.close()


# The real clock and class.


def test_the_real_threads_fill_and_tell_their_cpu_time() -> None:
    threads = EncoderThreads(make_clock=MonotonicClock, lower_priority=lower_thread_priority)
    got = threads.start()
    try:
        done = threading.Event()
        work = Work("a", [], 1, 1, 1, None)

        def count() -> None:
            if len(work.threads) == 4:
                done.set()

        work.during_fill = count
        threads.submit(cast("Playback", work))
        assert done.wait(SAFETY_S)
        if sys.platform == "linux":
            assert threads.cpu_s > 0.0
            assert got == "idle"
    finally:
        threads.stop()


class Busy(Work):
    """Sees to it that no two threads are at work on it, and that no wish is left lying."""

    def __init__(self) -> None:
        super().__init__("busy", [])
        self.wished = 0
        self.carried_out = 0
        self.at_once = 0
        self.overlaps = 0
        self.news = threading.Condition()
        self.began = threading.Event()

    @property
    def may_park(self) -> bool:
        return self.carried_out == self.wished

    def fill(self, now_ns: int) -> int | None:
        self.at_once += 1
        self.overlaps += self.at_once > 1
        # Read once, so that a wish or an end that comes from here on is one for the next turn.
        wished, cancelled = self.wished, self.cancelled
        self.began.set()
        # Long enough that the other thread often comes by.
        for _ in range(2_000):
            pass
        self.at_once -= 1
        with self.news:
            self.carried_out = wished
            if cancelled and not self.closes:
                self.close()
            self.news.notify_all()
        # Whatever is missed now stays missed.
        return None if cancelled else now_ns + 1_000_000 * S

    def wait_for(self, what: Callable[[], bool]) -> bool:
        with self.news:
            return self.news.wait_for(what, SAFETY_S)


def test_no_wish_is_lost_between_real_threads_and_none_fills_what_another_fills() -> None:
    threads = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "idle")
    threads.start()
    works = [Busy() for _ in range(3)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for work in works:
            threads.submit(cast("Playback", work))
        for turn in range(500):
            work, other = works[turn % 3], works[(turn + 1) % 3]
            # The second wish comes while the first is carried out, and often when the other thread works.
            for role in ("normal", "idle") if turn % 2 else ("idle", "normal"):
                work.began.clear()
                for wisher in (work, other):
                    wisher.wished += 1
                    threads.hurry(cast("Playback", wisher))
                    threads.nudge(cast("Playback", wisher))
                assert work.began.wait(SAFETY_S)
                threads._hand_over(role)
            for wisher in (work, other):
                assert wisher.wait_for(lambda: wisher.may_park), "a wish is left lying"  # noqa: B023  # called here
        for work in works:
            work.cancelled = True
            threads.hurry(cast("Playback", work))
        for work in works:
            assert work.wait_for(lambda: work.closes > 0)  # noqa: B023  # called here
    finally:
        sys.setswitchinterval(interval_s)
        threads.stop()
    assert [work.closes for work in works] == [1] * 3
    assert [work.overlaps for work in works] == [0] * 3


# What is told of the threads.


def test_time_at_work_is_all_time_but_the_sleep(encoders: EncoderBench) -> None:
    def worked_s() -> float:
        return encoders.threads.worked_s(encoders.time.now_ns)

    encoders.advance(10_000)
    assert worked_s() == 0.0
    _, gate = encoders.starve()
    encoders.time.advance(300 * MS)
    assert worked_s() == pytest.approx(0.3), "also while it is at it"
    gate.open()
    encoders.time.settle()
    encoders.advance(10_000)
    assert worked_s() == pytest.approx(0.3)


def test_the_time_of_both_threads_counts(encoders: EncoderBench) -> None:
    encoders.submit(encoders.work("a", 40))
    encoders.time.settle()
    _, gate = encoders.starve()
    encoders.hand_over()
    gate.open()
    encoders.time.settle()
    before_s = encoders.threads.worked_s(encoders.time.now_ns)
    assert before_s == pytest.approx(0.5)
    _, gate = encoders.starve()
    encoders.time.advance(100 * MS)
    assert encoders.threads.worked_s(encoders.time.now_ns) == pytest.approx(before_s + 0.1)


def test_the_lag_is_that_of_the_earliest(encoders: EncoderBench) -> None:
    assert encoders.threads.lag_ns(encoders.time.now_ns) == 0
    encoders.submit(encoders.work("a", 40), encoders.work("b", 60))
    encoders.time.settle()
    assert encoders.threads.lag_ns(encoders.time.now_ns) == 0
    _, gate = encoders.starve()
    assert encoders.threads.lag_ns(encoders.time.advance(100 * MS)) == 60 * MS
    gate.open()
    encoders.time.settle()
    assert encoders.threads.lag_ns(encoders.time.now_ns) == 0
