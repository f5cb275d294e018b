"""The normal thread comes to the rescue of the idle one, and leaves again."""

from __future__ import annotations

import pytest

from tests.workers.audio.encoder_bench import MS, EncoderBench, S
from voicepool.workers.audio.encoding import Role
from voicepool.workers.audio.frame import FRAME_NS

# Rescue.


def test_half_a_ring_of_lag_calls_the_rescue_and_less_does_not(encoders: EncoderBench) -> None:
    late = encoders.work("late", 20, 20)
    encoders.submit(late)
    encoders.time.settle()
    encoders.starve()
    due_ns = encoders.time.now_ns + 20 * MS
    encoders.time.advance(20 * MS + 4 * FRAME_NS)
    encoders.threads.watch(due_ns + 4 * FRAME_NS)
    assert (encoders.threads.role, encoders.threads.rescues) == ("idle", 0)
    encoders.threads.watch(due_ns + 4 * FRAME_NS + 1)
    assert (encoders.threads.role, encoders.threads.rescues) == ("normal", 1)
    encoders.time.settle(encoders.time.clocks[1])
    assert late.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]


def test_a_newcomer_that_waits_too_does_not_hide_who_is_late(encoders: EncoderBench) -> None:
    encoders.submit(encoders.work("late", 20, 20))
    encoders.time.settle()
    encoders.starve()
    encoders.submit(encoders.work("new"))
    encoders.threads.watch(encoders.time.advance(500 * MS))
    assert encoders.threads.rescues == 1


def test_newcomers_alone_are_no_lag(encoders: EncoderBench) -> None:
    encoders.starve()
    encoders.submit(encoders.work("a"), encoders.work("b"))
    encoders.threads.watch(encoders.time.advance(500 * MS))
    assert encoders.threads.rescues == 0


def test_what_the_starved_thread_still_held_is_taken_over_when_it_is_put_back(encoders: EncoderBench) -> None:
    late = encoders.work("late", 20, None)
    encoders.submit(late)
    encoders.time.settle()
    hog, gate = encoders.starve()
    encoders.threads.watch(encoders.time.advance(500 * MS))
    idle, normal = encoders.time.clocks
    encoders.time.settle(normal)
    assert normal.deadline_ns is None, "the rescue has nothing left to do and sleeps until it is woken"
    hog.again_ms = [5]
    gate.open()
    encoders.time.settle()
    assert idle.deadline_ns is None
    encoders.advance(20)
    assert hog.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]


def test_it_returns_after_a_calm_time_that_doubles_with_every_rescue(encoders: EncoderBench) -> None:
    # Once a rescue is over, what is due is always in time.
    for rescue, calm_s in enumerate([2, 4, 8, 16, 32, 60, 60], start=1):
        late = encoders.work("late", 20, None)
        encoders.submit(late)
        encoders.time.settle()
        _, gate = encoders.starve()
        encoders.threads.watch(encoders.time.advance(500 * MS))
        assert (encoders.threads.role, encoders.threads.rescues) == ("normal", rescue)
        gate.open()
        encoders.time.settle()
        began_ns = encoders.time.now_ns
        encoders.threads.watch(began_ns + calm_s * S)
        roles = [encoders.threads.role]
        encoders.threads.watch(began_ns + calm_s * S + 1)
        roles.append(encoders.threads.role)
        assert roles == ["normal", "idle"]
        encoders.advance(calm_s * 1_000 + 1)


def test_a_late_moment_starts_the_calm_time_anew(encoders: EncoderBench) -> None:
    late = encoders.work("late", 20, 1_000, None)
    encoders.submit(late)
    encoders.time.settle()
    _, gate = encoders.starve()
    began_ns = encoders.time.advance(500 * MS)
    encoders.threads.watch(began_ns)
    encoders.time.settle(encoders.time.clocks[1])
    gate.open()
    encoders.time.settle()
    encoders.threads.watch(began_ns + 1_000 * MS + FRAME_NS + 1)
    encoders.threads.watch(began_ns + 2_000 * MS + 1)
    assert encoders.threads.role == "normal"


def test_after_the_return_the_idle_thread_works_again(encoders: EncoderBench) -> None:
    encoders.submit(encoders.work("late", 20, None))
    encoders.time.settle()
    _, gate = encoders.starve()
    encoders.threads.watch(encoders.time.advance(500 * MS))
    gate.open()
    encoders.time.settle()
    encoders.threads.watch(encoders.advance(2_001))
    work = encoders.work("a")
    encoders.submit(work)
    encoders.time.settle()
    assert work.threads == ["voicepool-encoder-idle"]


@pytest.mark.parametrize("may_lift", [False, True])
def test_the_starved_thread_is_lifted_where_that_is_allowed_and_lowered_when_it_works_again(
    *, may_lift: bool
) -> None:
    encoders = EncoderBench(may_lift=may_lift)
    try:
        [(_, idle_thread)] = encoders.classes
        encoders.submit(encoders.work("late", 20, None))
        encoders.time.settle()
        _, gate = encoders.starve()
        encoders.threads.watch(encoders.time.advance(500 * MS))
        assert encoders.classes[1:] == [("lifted", idle_thread)]
        gate.open()
        encoders.time.settle()
        assert len(encoders.classes) == 2, "it rests, in whatever class"
        encoders.threads.watch(encoders.advance(2_001))
        encoders.time.settle()
        assert encoders.classes[2:] == [("lowered", idle_thread)] * may_lift
        work = encoders.work("a", 20, 20)
        encoders.submit(work)
        encoders.time.settle()
        encoders.advance(20)
        assert work.threads == ["voicepool-encoder-idle"] * 2
        assert len(encoders.classes) == 2 + may_lift, "once is enough"
    finally:
        encoders.close()


# Without an idle class.


@pytest.mark.parametrize(("role", "got"), [("idle", "normal"), ("normal", "idle")])
def test_without_the_idle_class_one_normal_thread_does_it_all(role: Role, got: str) -> None:
    encoders = EncoderBench(role=role, got=got)
    try:
        assert (encoders.got, encoders.threads.role) == ("normal", "normal")
        work = encoders.work("a", 20, 20)
        encoders.submit(work)
        encoders.time.settle()
        encoders.advance(20)
        assert encoders.log == ["a", "a"]
        assert len(encoders.time.clocks) == 1
        encoders.threads.watch(encoders.time.now_ns + 60 * S)
        assert (encoders.threads.role, encoders.threads.rescues) == ("normal", 0)
    finally:
        encoders.close()
