"""How often a worker looks at its load, with a clock in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool.workers.governor import LOOK_S
from voicepool.workers.looking import ALERT_S, REST_LOOK_S, Looks
from voicepool.workers.meters import LoopLag


class Timer:
    """A timer of `Clock`."""

    def __init__(self, due_s: float, call: Callable[[], None]) -> None:
        self.due_s, self.call, self.is_cancelled = due_s, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Clock:
    """The time, and the timers of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.timers: list[Timer] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, pause_s: float, call: Callable[..., None], *arguments: Any) -> Timer:
        timer = Timer(self.now_s + pause_s, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def fire(self, *, late_s: float = 0.0) -> float:
        """Fire the timer that waits; return how long it had waited."""
        (timer,) = self.waiting
        self.timers.clear()
        before_s, self.now_s = self.now_s, timer.due_s + late_s
        timer.call()
        return round(timer.due_s - before_s, 6)


def test_it_looks_often_while_frames_are_made_and_seldom_while_none_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = 0
    seen: list[int] = []

    @asyncio_test
    async def run() -> None:
        nonlocal made
        with monkeypatch.context() as patch:
            clock = Clock(patch)
            looks = Looks(LoopLag(), seen.append, frames_made=lambda: made, clock=lambda: clock.now_s)
            looks.start()
            assert clock.fire() == LOOK_S
            assert clock.fire() == REST_LOOK_S
            made += 1
            assert clock.fire() == REST_LOOK_S
            made += 1
            assert clock.fire() == LOOK_S
            assert clock.fire() == LOOK_S
            assert clock.fire() == REST_LOOK_S
            looks.stop()
            looks.stop()
            assert clock.waiting == []

    run()
    assert len(seen) == 6
    assert seen[0] == round((100.0 + LOOK_S) * 1e9)


def test_work_that_may_have_come_is_looked_at_as_soon_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    @asyncio_test
    async def run() -> None:
        nonlocal made
        with monkeypatch.context() as patch:
            clock = Clock(patch)
            looks = Looks(
                LoopLag(), lambda _now_ns: None, frames_made=lambda: made, clock=lambda: clock.now_s
            )
            looks.hurry()
            assert clock.waiting == []
            looks.start()
            clock.fire()
            looks.hurry()
            hurried_s = clock.now_s
            # Its source is being opened.
            while clock.now_s < hurried_s + ALERT_S:
                assert clock.fire() == LOOK_S
            assert clock.fire() == REST_LOOK_S
            made += 1
            clock.fire()
            # One that comes soon is not put off, however many commands there are.
            (timer,) = clock.waiting
            looks.hurry()
            assert clock.waiting == [timer]
            looks.stop()
            looks.hurry()
            assert clock.waiting == []

    run()


def test_each_look_tells_how_late_the_loop_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lag = LoopLag()

    @asyncio_test
    async def run() -> None:
        with monkeypatch.context() as patch:
            clock = Clock(patch)
            looks = Looks(lag, lambda _now_ns: None, frames_made=lambda: 0, clock=lambda: clock.now_s)
            looks.start()
            clock.fire(late_s=0.25)
            clock.fire()

    run()
    assert lag.worst_s == pytest.approx(0.25)
