"""The real clock, without measuring it: what it promises to end a wait, and what a thread's class becomes."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from voicepool.workers.clock import (
    MonotonicClock,
    lift_thread,
    lower_thread_priority,
    raise_thread_priority,
    sharpen_timers,
)

SAFETY_S = 30.0
T = TypeVar("T")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has these classes")


def in_thread(work: Callable[[], T]) -> T:
    """Run on a thread of its own: a scheduling class cannot be left again."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(SAFETY_S)
    return results[0]


def test_it_reads_the_monotonic_clock() -> None:
    clock = MonotonicClock()
    before = time.monotonic_ns()
    assert before <= clock.now_ns() <= time.monotonic_ns()


def test_a_wait_ends_not_before_its_deadline() -> None:
    clock = MonotonicClock()
    deadline_ns = clock.now_ns() + 3_000_000
    assert clock.sleep_until(deadline_ns) is False
    assert clock.now_ns() >= deadline_ns


def test_a_deadline_that_has_passed_is_no_wait() -> None:
    clock = MonotonicClock()
    assert clock.sleep_until(clock.now_ns() - 1) is False
    assert clock.sleep_until(0) is False


@pytest.mark.parametrize("deadline_ns", [None, 0, 1 << 62])
def test_a_wake_that_came_before_ends_the_next_wait_and_no_other(deadline_ns: int | None) -> None:
    clock = MonotonicClock()
    clock.wake()
    clock.wake()
    assert clock.sleep_until(deadline_ns) is True
    assert clock.sleep_until(0) is False, "two wakes are one"


@pytest.mark.parametrize("deadline_ns", [None, 1 << 62])
def test_a_wake_from_another_thread_ends_a_wait_under_way(deadline_ns: int | None) -> None:
    clock = MonotonicClock()
    about_to = threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        about_to.set()
        woken.append(clock.sleep_until(deadline_ns))

    thread = threading.Thread(target=wait)
    thread.start()
    assert about_to.wait(SAFETY_S)
    clock.wake()
    thread.join(SAFETY_S)
    assert woken == [True]


@pytest.mark.parametrize("wake_in_step", [None, 1, 3])
def test_the_way_of_windows_waits_in_steps(monkeypatch: pytest.MonkeyPatch, wake_in_step: int | None) -> None:
    clock = MonotonicClock()
    now_ns = 1_000
    steps: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_ns
        steps.append(seconds)
        now_ns += round(seconds * 1e9)
        if len(steps) == wake_in_step:
            clock.wake()

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    assert clock.sleep_until(1_000 + 12_000_000) is (wake_in_step is not None)
    expected = [0.005, 0.005, 0.002]
    assert steps == pytest.approx(expected[:wake_in_step])


@linux_only
def test_timers_are_sharpened_to_a_nanosecond() -> None:
    get_timer_slack = 30

    def sharpened() -> tuple[bool, int]:
        return sharpen_timers(), ctypes.CDLL(None).prctl(get_timer_slack)

    assert in_thread(sharpened) == (True, 1)


def test_elsewhere_there_is_nothing_to_sharpen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sharpen_timers() is False


@linux_only
def test_the_lower_class_is_idle_and_is_the_threads_own() -> None:
    before = os.sched_getscheduler(0)

    def lowered() -> tuple[str, int]:
        return lower_thread_priority(), os.sched_getscheduler(0)

    assert in_thread(lowered) == ("idle", os.SCHED_IDLE)
    assert os.sched_getscheduler(0) == before


@linux_only
def test_the_higher_class_is_fifo_where_it_may_be_had() -> None:
    def raised() -> tuple[str, int]:
        got = raise_thread_priority()
        return got, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK

    assert in_thread(raised) in [("fifo", os.SCHED_FIFO), ("normal", os.SCHED_OTHER)]


@linux_only
@pytest.mark.parametrize("change", [lower_thread_priority, raise_thread_priority])
def test_a_kernel_that_refuses_leaves_the_normal_class(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert change() == "normal"


@pytest.mark.parametrize("change", [lower_thread_priority, raise_thread_priority])
def test_elsewhere_every_thread_is_normal(monkeypatch: pytest.MonkeyPatch, change: Callable[[], str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert change() == "normal"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has these classes")
def test_a_real_thread_is_lifted_where_the_kernel_allows_it() -> None:
    lowered, let_go = threading.Event(), threading.Event()

    def rest() -> None:
        lower_thread_priority()
        lowered.set()
        assert let_go.wait(SAFETY_S)

    thread = threading.Thread(target=rest)
    thread.start()
    try:
        assert lowered.wait(SAFETY_S)
        assert thread.native_id is not None
        lifted = lift_thread(thread.native_id)
        assert os.sched_getscheduler(thread.native_id) == (os.SCHED_OTHER if lifted else os.SCHED_IDLE)
    finally:
        let_go.set()
        thread.join(SAFETY_S)


def test_a_kernel_that_refuses_leaves_the_thread_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    assert lift_thread(threading.get_native_id()) is False


def test_elsewhere_no_thread_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert lift_thread(threading.get_native_id()) is False
