"""The encoder threads on a time moved by hand: what is filled, by which thread, in which order."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tests.fakes.hand_time import HandTime
from voicepool.workers.audio.encoding import EncoderThreads, Role
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.playback import Playback
from voicepool.workers.clock import MonotonicClock, lower_thread_priority

MS = 1_000_000
S = 1_000 * MS
SAFETY_S = 30.0


class Work:
    """Stands for a playback: each fill is written down and says when it wants the next."""

    def __init__(self, name: str, log: list[str], *again_ms: int | None) -> None:
        self.name = name
        self.log = log
        self.again_ms = list(again_ms)
        self.cancelled = False
        self.parked = False
        self.hurried = False
        self.ticket = -1
        self.busy = threading.Lock()
        self.closes = 0
        self.threads: list[str] = []
        self.may_park_answers: list[bool] = []
        self.during_fill: Callable[[], object] = lambda: None
        self.at_look: Callable[[], object] = lambda: None

    @property
    def may_park(self) -> bool:
        self.at_look()
        return self.may_park_answers.pop(0) if self.may_park_answers else False

    def fill(self, now_ns: int) -> int | None:
        self.log.append(self.name)
        self.threads.append(threading.current_thread().name)
        self.during_fill()
        if self.cancelled:
            if not self.closes:
                self.close()
            return None
        again_ms = self.again_ms.pop(0) if self.again_ms else None
        return None if again_ms is None else now_ns + again_ms * MS

    def close(self) -> None:
        self.closes += 1


class Gate:
    """Holds the thread that comes to it until the test lets it go."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self._came.set()
        assert self._open.wait(SAFETY_S)

    def wait_for_thread(self) -> None:
        assert self._came.wait(SAFETY_S)

    def open(self) -> None:
        self._open.set()


class Bench:
    """Encoder threads on a hand-moved time."""

    def __init__(self, *, role: Role = "idle", got: str = "idle", may_lift: bool = False) -> None:
        self.time = HandTime()
        self.log: list[str] = []
        self.lower_gives = got
        self.may_lift = may_lift
        self.classes: list[tuple[str, int]] = []
        """What was done to the class of which thread."""
        self.threads = EncoderThreads(
            make_clock=self.time.make_clock,
            lower_priority=self._lower,
            lift=self._lift,
            role=role,
            ring_frames=8,
        )
        self.gates: list[Gate] = []
        self.got = self.threads.start()
        self.time.settle()

    def _lower(self) -> str:
        self.classes.append(("lowered", threading.get_native_id()))
        return self.lower_gives

    def _lift(self, native_id: int) -> bool:
        self.classes.append(("lifted", native_id))
        return self.may_lift

    def work(self, name: str, *again_ms: int | None) -> Work:
        return Work(name, self.log, *again_ms)

    def gate(self) -> Gate:
        self.gates.append(Gate())
        return self.gates[-1]

    def submit(self, *works: Work) -> None:
        for work in works:
            self.threads.submit(cast("Playback", work))

    def nudge(self, work: Work) -> None:
        self.threads.nudge(cast("Playback", work))

    def hurry(self, work: Work) -> None:
        self.threads.hurry(cast("Playback", work))

    def hand_over(self) -> None:
        """Call the rescue, since something is late."""
        self.threads.watch(self.time.advance(500 * MS))
        assert self.threads.role == "normal"

    def advance(self, by_ms: int) -> int:
        now_ns = self.time.advance(by_ms * MS)
        self.time.settle()
        return now_ns

    def starve(self) -> tuple[Work, Gate]:
        """Keep the idle thread from its work, as a foreign process on its core would."""
        gate = self.gate()
        hog = self.work("hog", 0)
        hog.during_fill = gate
        self.submit(hog)
        gate.wait_for_thread()
        return hog, gate

    def close(self) -> None:
        for gate in self.gates:
            gate.open()
        self.threads.stop()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


# Order.


def test_what_is_submitted_is_filled_at_once_by_the_idle_thread(bench: Bench) -> None:
    work = bench.work("a", 20)
    bench.submit(work)
    bench.time.settle()
    assert work.threads == ["voicepool-encoder-idle"]
    assert (bench.got, bench.threads.role) == ("idle", "idle")


def test_the_most_urgent_comes_first(bench: Bench) -> None:
    works = [bench.work("late", 300), bench.work("first", 100), bench.work("second", 200)]
    bench.submit(*works)
    bench.time.settle()
    bench.log.clear()
    bench.advance(400)
    assert bench.log == ["first", "second", "late"]


def test_a_newcomer_goes_before_what_is_overdue(bench: Bench) -> None:
    playing = [bench.work(name, 50) for name in "abc"]
    bench.submit(*playing)
    bench.time.settle()
    _, gate = bench.starve()
    bench.time.advance(60 * MS)
    bench.submit(bench.work("new"))
    bench.log.clear()
    gate.open()
    bench.time.settle()
    assert bench.log[0] == "new"
    assert sorted(bench.log[1:]) == ["a", "b", "c", "hog"]


def test_what_falls_due_within_10_ms_is_done_in_one_go(bench: Bench) -> None:
    bench.submit(bench.work("a", 3), bench.work("b", 9))
    bench.time.settle()
    bench.log.clear()
    bench.advance(9)
    assert bench.log == []
    bench.advance(1)
    assert bench.log == ["a", "b"]


def test_what_has_ended_is_let_go(bench: Bench) -> None:
    work = bench.work("a", None)
    bench.submit(work)
    bench.time.settle()
    bench.advance(10_000)
    assert bench.log == ["a"]
    bench.threads.stop()
    assert work.closes == 0, "it has closed itself"


# Parking.


def test_a_parked_playback_costs_nothing_until_it_is_nudged(bench: Bench) -> None:
    work = bench.work("a", 20, 20)
    work.may_park_answers = [True]
    bench.submit(work)
    bench.time.settle()
    assert work.parked
    bench.advance(60_000)
    assert bench.log == ["a"]
    bench.nudge(work)
    bench.time.settle()
    assert bench.log == ["a", "a"]
    assert not work.parked


def test_a_nudge_for_one_that_is_not_parked_adds_no_second_turn(bench: Bench) -> None:
    work = bench.work("a", 20, 20, 20)
    bench.submit(work)
    bench.time.settle()
    for _ in range(5):
        bench.nudge(work)
    bench.time.settle()
    assert bench.log == ["a"]
    bench.advance(20)
    assert bench.log == ["a", "a"]


def test_a_call_that_sends_again_while_it_is_filled_is_not_parked(bench: Bench) -> None:
    work = bench.work("a", 20)
    # Its call is switched on while it is filled, and the nudge comes too early to find it parked.
    work.during_fill = lambda: bench.nudge(work)
    work.may_park_answers = [False]
    bench.submit(work)
    bench.time.settle()
    assert not work.parked
    bench.advance(20)
    assert bench.log == ["a", "a"]


def test_what_is_cancelled_on_the_way_is_not_parked_but_closed(bench: Bench) -> None:
    work = bench.work("a", 20)
    work.may_park_answers = [True]
    # After `fill` has looked, and just before it would be parked.
    work.at_look = lambda: setattr(work, "cancelled", True)
    bench.submit(work)
    bench.time.settle()
    assert not work.parked
    bench.advance(20)
    assert work.closes == 1


def test_a_parked_playback_that_is_cancelled_and_nudged_closes_on_the_encoder_thread(bench: Bench) -> None:
    work = bench.work("a", 20)
    work.may_park_answers = [True]
    bench.submit(work)
    bench.time.settle()
    work.cancelled = True
    bench.nudge(work)
    bench.time.settle()
    assert work.closes == 1
    assert work.threads[-1].startswith("voicepool-encoder")


# Hurry.


def test_a_parked_playback_is_hurried(bench: Bench) -> None:
    work = bench.work("a", 20, 20)
    work.may_park_answers = [True]
    bench.submit(work)
    bench.time.settle()
    assert work.parked
    bench.hurry(work)
    bench.time.settle()
    assert bench.log == ["a", "a"]
    assert not work.parked


def test_one_that_waits_for_its_turn_is_hurried_and_its_old_turn_is_void(bench: Bench) -> None:
    work = bench.work("a", 100, 200, 200)
    bench.submit(work)
    bench.time.settle()
    bench.hurry(work)
    bench.time.settle()
    assert bench.log == ["a", "a"]
    bench.advance(190)
    assert bench.log == ["a", "a"], "the old turn has gone by"
    bench.advance(10)
    assert bench.log == ["a", "a", "a"]


def test_one_that_is_hurried_while_it_is_filled_is_filled_again_at_once(bench: Bench) -> None:
    work = bench.work("a", 100, 100, 100)
    gate = bench.gate()
    work.during_fill = gate
    bench.submit(work)
    gate.wait_for_thread()
    bench.hurry(work)
    assert bench.log == ["a"]
    gate.open()
    bench.time.settle()
    assert bench.log == ["a", "a"]
    bench.advance(100)
    assert bench.log == ["a", "a", "a"], "and has one turn from then on"


def test_one_that_is_hurried_when_it_would_be_parked_is_not(bench: Bench) -> None:
    work = bench.work("a", 20, 20)
    work.may_park_answers = [True, True]

    def hurry_once() -> None:
        if len(bench.log) == 1:
            bench.hurry(work)

    work.during_fill = hurry_once
    bench.submit(work)
    bench.time.settle()
    assert bench.log == ["a", "a"]
    assert work.parked, "only when that was done"


def test_hurried_again_and_again_it_has_one_turn(bench: Bench) -> None:
    work = bench.work("a", 1_000, 1_000)
    bench.submit(work)
    bench.time.settle()
    _, gate = bench.starve()
    for _ in range(1_000):
        bench.hurry(work)
    assert len(bench.threads._heap) == 2, "the void turn and the new one: a hurry without end takes no room"
    gate.open()
    bench.time.settle()
    assert bench.log == ["a", "hog", "a", "hog"]


def test_one_that_the_other_thread_fills_is_left_to_it(bench: Bench) -> None:
    late, work = bench.work("late", 20, 1_000), bench.work("a", 1_000, 1_000, None)
    # Parked it would be, had the other thread not just thrown away the turn that it was hurried for.
    work.may_park_answers = [True]
    bench.submit(late)
    bench.time.settle()
    gate = bench.gate()
    work.during_fill = gate
    bench.submit(work)
    gate.wait_for_thread()
    bench.hand_over()
    _, normal = bench.time.clocks
    bench.time.settle(normal)
    bench.hurry(work)
    bench.time.settle(normal)
    assert work.threads == ["voicepool-encoder-idle"], "not by two threads at once"
    gate.open()
    bench.time.settle()
    assert work.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]
    bench.advance(1_000)
    assert len(work.threads) == 3


def test_one_that_is_handed_over_while_it_is_in_a_hurry_is_filled_by_the_other(bench: Bench) -> None:
    late, work = bench.work("late", 20, 1_000), bench.work("a", 900, 1_000)
    bench.submit(late, work)
    bench.time.settle()
    _, gate = bench.starve()
    bench.hurry(work)
    bench.hand_over()
    bench.time.settle(bench.time.clocks[1])
    assert work.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]
    gate.open()
    bench.time.settle()
    assert len(work.threads) == 2


def test_one_that_is_cancelled_and_hurried_closes_once(bench: Bench) -> None:
    work = bench.work("a", 1_000)
    bench.submit(work)
    bench.time.settle()
    work.cancelled = True
    bench.hurry(work)
    bench.time.settle()
    bench.hurry(work)
    bench.nudge(work)
    bench.advance(2_000)
    bench.threads.stop()
    assert work.closes == 1
    assert bench.log == ["a", "a"]


# Rescue.


def test_half_a_ring_of_lag_calls_the_rescue_and_less_does_not(bench: Bench) -> None:
    late = bench.work("late", 20, 20)
    bench.submit(late)
    bench.time.settle()
    bench.starve()
    due_ns = bench.time.now_ns + 20 * MS
    bench.time.advance(20 * MS + 4 * FRAME_NS)
    bench.threads.watch(due_ns + 4 * FRAME_NS)
    assert (bench.threads.role, bench.threads.rescues) == ("idle", 0)
    bench.threads.watch(due_ns + 4 * FRAME_NS + 1)
    assert (bench.threads.role, bench.threads.rescues) == ("normal", 1)
    bench.time.settle(bench.time.clocks[1])
    assert late.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]


def test_a_newcomer_that_waits_too_does_not_hide_who_is_late(bench: Bench) -> None:
    bench.submit(bench.work("late", 20, 20))
    bench.time.settle()
    bench.starve()
    bench.submit(bench.work("new"))
    bench.threads.watch(bench.time.advance(500 * MS))
    assert bench.threads.rescues == 1


def test_newcomers_alone_are_no_lag(bench: Bench) -> None:
    bench.starve()
    bench.submit(bench.work("a"), bench.work("b"))
    bench.threads.watch(bench.time.advance(500 * MS))
    assert bench.threads.rescues == 0


def test_what_the_starved_thread_still_held_is_taken_over_when_it_is_put_back(bench: Bench) -> None:
    late = bench.work("late", 20, None)
    bench.submit(late)
    bench.time.settle()
    hog, gate = bench.starve()
    bench.threads.watch(bench.time.advance(500 * MS))
    idle, normal = bench.time.clocks
    bench.time.settle(normal)
    assert normal.deadline_ns is None, "the rescue has nothing left to do and sleeps until it is woken"
    hog.again_ms = [5]
    gate.open()
    bench.time.settle()
    assert idle.deadline_ns is None
    bench.advance(20)
    assert hog.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]


def test_it_returns_after_a_calm_time_that_doubles_with_every_rescue(bench: Bench) -> None:
    # Once a rescue is over, what is due is always in time.
    for rescue, calm_s in enumerate([2, 4, 8, 16, 32, 60, 60], start=1):
        late = bench.work("late", 20, None)
        bench.submit(late)
        bench.time.settle()
        _, gate = bench.starve()
        bench.threads.watch(bench.time.advance(500 * MS))
        assert (bench.threads.role, bench.threads.rescues) == ("normal", rescue)
        gate.open()
        bench.time.settle()
        began_ns = bench.time.now_ns
        bench.threads.watch(began_ns + calm_s * S)
        roles = [bench.threads.role]
        bench.threads.watch(began_ns + calm_s * S + 1)
        roles.append(bench.threads.role)
        assert roles == ["normal", "idle"]
        bench.advance(calm_s * 1_000 + 1)


def test_a_late_moment_starts_the_calm_time_anew(bench: Bench) -> None:
    late = bench.work("late", 20, 1_000, None)
    bench.submit(late)
    bench.time.settle()
    _, gate = bench.starve()
    began_ns = bench.time.advance(500 * MS)
    bench.threads.watch(began_ns)
    bench.time.settle(bench.time.clocks[1])
    gate.open()
    bench.time.settle()
    bench.threads.watch(began_ns + 1_000 * MS + FRAME_NS + 1)
    bench.threads.watch(began_ns + 2_000 * MS + 1)
    assert bench.threads.role == "normal"


def test_after_the_return_the_idle_thread_works_again(bench: Bench) -> None:
    bench.submit(bench.work("late", 20, None))
    bench.time.settle()
    _, gate = bench.starve()
    bench.threads.watch(bench.time.advance(500 * MS))
    gate.open()
    bench.time.settle()
    bench.threads.watch(bench.advance(2_001))
    work = bench.work("a")
    bench.submit(work)
    bench.time.settle()
    assert work.threads == ["voicepool-encoder-idle"]


@pytest.mark.parametrize("may_lift", [False, True])
def test_the_starved_thread_is_lifted_where_that_is_allowed_and_lowered_when_it_works_again(
    *, may_lift: bool
) -> None:
    bench = Bench(may_lift=may_lift)
    try:
        [(_, idle_thread)] = bench.classes
        bench.submit(bench.work("late", 20, None))
        bench.time.settle()
        _, gate = bench.starve()
        bench.threads.watch(bench.time.advance(500 * MS))
        assert bench.classes[1:] == [("lifted", idle_thread)]
        gate.open()
        bench.time.settle()
        assert len(bench.classes) == 2, "it rests, in whatever class"
        bench.threads.watch(bench.advance(2_001))
        bench.time.settle()
        assert bench.classes[2:] == [("lowered", idle_thread)] * may_lift
        work = bench.work("a", 20, 20)
        bench.submit(work)
        bench.time.settle()
        bench.advance(20)
        assert work.threads == ["voicepool-encoder-idle"] * 2
        assert len(bench.classes) == 2 + may_lift, "once is enough"
    finally:
        bench.close()


# Without an idle class.


@pytest.mark.parametrize(("role", "got"), [("idle", "normal"), ("normal", "idle")])
def test_without_the_idle_class_one_normal_thread_does_it_all(role: Role, got: str) -> None:
    bench = Bench(role=role, got=got)
    try:
        assert (bench.got, bench.threads.role) == ("normal", "normal")
        work = bench.work("a", 20, 20)
        bench.submit(work)
        bench.time.settle()
        bench.advance(20)
        assert bench.log == ["a", "a"]
        assert len(bench.time.clocks) == 1
        bench.threads.watch(bench.time.now_ns + 60 * S)
        assert (bench.threads.role, bench.threads.rescues) == ("normal", 0)
    finally:
        bench.close()


# The end.


def test_stop_ends_the_threads_and_closes_what_is_held(bench: Bench) -> None:
    works = [bench.work("a", 50), bench.work("b", 5_000), bench.work("c", None)]
    bench.submit(*works)
    bench.time.settle()
    bench.threads.stop()
    assert [work.closes for work in works] == [1, 1, 0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voicepool-encoder")]
    bench.threads.stop()
    assert [work.closes for work in works] == [1, 1, 0]
    assert bench.threads.cpu_s == 0.0


def test_stop_closes_what_is_parked_and_what_comes_too_late(bench: Bench) -> None:
    parked, late = bench.work("a", 20), bench.work("b", 20)
    parked.may_park_answers = [True]
    bench.submit(parked)
    bench.time.settle()
    assert parked.parked
    bench.threads.stop()
    bench.submit(late)
    bench.hurry(parked)
    bench.nudge(parked)
    bench.threads.stop()
    assert (parked.closes, late.closes) == (1, 1)
    assert bench.log == ["a"]


def test_what_was_never_started_can_be_stopped() -> None:
    threads = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "idle")
    threads.watch(1)
    threads.stop()


def test_a_thread_that_dies_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: ended.set())
    bench = Bench(role="normal")

    def break_down() -> None:
        raise ZeroDivisionError

    work = bench.work("a")
    work.during_fill = break_down
    with caplog.at_level(logging.CRITICAL):
        bench.submit(work)
        assert ended.wait(SAFETY_S)
    assert "an encoder thread died" in caplog.text
    bench.close()


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


def test_time_at_work_is_all_time_but_the_sleep(bench: Bench) -> None:
    def worked_s() -> float:
        return bench.threads.worked_s(bench.time.now_ns)

    bench.advance(10_000)
    assert worked_s() == 0.0
    _, gate = bench.starve()
    bench.time.advance(300 * MS)
    assert worked_s() == pytest.approx(0.3), "also while it is at it"
    gate.open()
    bench.time.settle()
    bench.advance(10_000)
    assert worked_s() == pytest.approx(0.3)


def test_the_time_of_both_threads_counts(bench: Bench) -> None:
    bench.submit(bench.work("a", 40))
    bench.time.settle()
    _, gate = bench.starve()
    bench.hand_over()
    gate.open()
    bench.time.settle()
    before_s = bench.threads.worked_s(bench.time.now_ns)
    assert before_s == pytest.approx(0.5)
    _, gate = bench.starve()
    bench.time.advance(100 * MS)
    assert bench.threads.worked_s(bench.time.now_ns) == pytest.approx(before_s + 0.1)


def test_the_lag_is_that_of_the_earliest(bench: Bench) -> None:
    assert bench.threads.lag_ns(bench.time.now_ns) == 0
    bench.submit(bench.work("a", 40), bench.work("b", 60))
    bench.time.settle()
    assert bench.threads.lag_ns(bench.time.now_ns) == 0
    _, gate = bench.starve()
    assert bench.threads.lag_ns(bench.time.advance(100 * MS)) == 60 * MS
    gate.open()
    bench.time.settle()
    assert bench.threads.lag_ns(bench.time.now_ns) == 0
