"""The garbage of a worker: cycles go, in steps, and Python starts no full collection by itself."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from voicepool.workers.garbage import FEWEST_ENDS, GROWTH_BYTES, GarbageSteps, ends_worth_a_pause

MEMORY = 200 << 20


class Knot:
    """An object that only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def steps() -> Iterator[GarbageSteps]:
    steps = GarbageSteps()
    steps.start()
    yield steps
    steps.stop()


def tie() -> weakref.ref[Knot]:
    return weakref.ref(Knot())


def grow_old() -> None:
    """Have everything be of the oldest generation, as after some young and middle collections."""
    gc.collect(1)
    gc.collect(1)


def test_a_young_cycle_goes_as_ever(steps: GarbageSteps) -> None:
    knot = tie()
    kept = [[number] for number in range(2 * gc.get_threshold()[0])]
    assert (len(kept), knot()) == (2 * gc.get_threshold()[0], None)
    assert not steps.step(calls=1, sending=True, memory_bytes=MEMORY)


def test_a_frozen_object_goes_with_its_last_reference(steps: GarbageSteps) -> None:
    class Plain:
        pass

    kept: Plain | None = Plain()
    gone = weakref.ref(kept)
    steps.step(calls=1, sending=True, memory_bytes=MEMORY)
    kept = None
    assert gone() is None


def test_an_old_cycle_stays_until_enough_has_ended(steps: GarbageSteps) -> None:
    kept: Knot | None = Knot()
    knot = weakref.ref(kept)
    grow_old()
    kept = None
    steps.ends = FEWEST_ENDS - 1
    assert not steps.step(calls=1, sending=True, memory_bytes=MEMORY)
    assert knot() is not None
    steps.ends += 1
    assert steps.step(calls=1, sending=True, memory_bytes=MEMORY)
    assert knot() is None
    assert steps.ends == 0


def test_what_one_end_costs_all_listeners_does_not_grow_with_the_calls() -> None:
    assert ends_worth_a_pause(0) == ends_worth_a_pause(90) == FEWEST_ENDS
    # The pause, times those it makes late, by ends.
    costs = [calls * calls / ends_worth_a_pause(calls) for calls in (130, 200, 500, 2_000)]
    assert max(costs) < 1.1 * min(costs)


def test_the_more_calls_the_more_must_have_ended(steps: GarbageSteps) -> None:
    steps.ends = ends_worth_a_pause(500) - 1
    assert not steps.step(calls=500, sending=True, memory_bytes=MEMORY)
    steps.ends += 1
    assert steps.step(calls=500, sending=True, memory_bytes=MEMORY)


def test_a_worker_that_grows_looks_sooner(steps: GarbageSteps) -> None:
    def step(memory_bytes: int) -> bool:
        return steps.step(calls=500, sending=True, memory_bytes=memory_bytes)

    assert not step(MEMORY)
    steps.ends = 249
    grown = MEMORY + MEMORY // 4 + 1
    assert not step(grown)
    steps.ends += 1
    assert not step(grown - 1)
    assert step(grown)
    # From there on it has to grow again.
    steps.ends = 250
    assert not step(grown)
    assert not step(grown + GROWTH_BYTES)
    assert step(2 * grown)


def test_growth_without_ends_is_not_of_our_making(steps: GarbageSteps) -> None:
    def step(ends: int) -> bool:
        steps.ends = ends
        return steps.step(calls=1, sending=True, memory_bytes=2 * MEMORY)

    assert not steps.step(calls=1, sending=True, memory_bytes=MEMORY)
    assert [step(15), step(16)] == [False, True]


def test_memory_is_given_back_when_everything_was_looked_at_and_only_then() -> None:
    told: list[str] = []
    steps = GarbageSteps(give_back=lambda: told.append("back"))
    steps.start()
    try:
        assert not steps.step(calls=1, sending=True, memory_bytes=MEMORY)
        assert told == []
        steps.ends = FEWEST_ENDS
        assert steps.step(calls=1, sending=True, memory_bytes=MEMORY)
        assert told == ["back"]
    finally:
        steps.stop()


def test_while_nothing_is_sent_one_end_is_enough(steps: GarbageSteps) -> None:
    assert not steps.step(calls=500, sending=False, memory_bytes=MEMORY)
    steps.ends = 1
    assert steps.step(calls=500, sending=False, memory_bytes=MEMORY)


def test_python_starts_no_full_collection(steps: GarbageSteps) -> None:
    full: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            full.append(info["generation"])

    gc.callbacks.append(note)
    try:
        kept = [[number] for number in range(200_000)]
        assert (len(kept), full) == (200_000, [])
        steps.ends = FEWEST_ENDS
        assert steps.step(calls=1, sending=True, memory_bytes=MEMORY)
        assert full == [2]
    finally:
        gc.callbacks.remove(note)


def test_afterwards_all_is_as_python_has_it() -> None:
    before = gc.get_threshold()
    steps = GarbageSteps()
    steps.start()
    assert gc.get_threshold() != before
    assert gc.get_freeze_count() > 0
    steps.stop()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    steps.stop()
