"""The garbage of a worker: cycles go, in steps, and Python starts no full collection by itself."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from voicepool.workers.garbage import ENDS_PER_CALL, FEWEST_ENDS, GarbageSteps


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


def test_a_young_cycle_goes_as_ever(steps: GarbageSteps) -> None:
    knot = tie()
    kept = [[number] for number in range(2 * gc.get_threshold()[0])]
    assert (len(kept), knot()) == (2 * gc.get_threshold()[0], None)
    assert not steps.step(calls=1, sending=True)


def test_a_frozen_object_goes_with_its_last_reference(steps: GarbageSteps) -> None:
    class Plain:
        pass

    kept: Plain | None = Plain()
    gone = weakref.ref(kept)
    steps.step(calls=1, sending=True)
    kept = None
    assert gone() is None


def test_a_frozen_cycle_stays_until_enough_has_ended(steps: GarbageSteps) -> None:
    kept: Knot | None = Knot()
    knot = weakref.ref(kept)
    steps.step(calls=1, sending=True)
    kept = None
    steps.ends = FEWEST_ENDS - 1
    assert not steps.step(calls=1, sending=True)
    assert knot() is not None
    steps.ends += 1
    assert steps.step(calls=1, sending=True)
    assert knot() is None
    assert steps.ends == 0


def test_the_more_calls_the_more_must_have_ended(steps: GarbageSteps) -> None:
    calls = FEWEST_ENDS
    steps.ends = calls * ENDS_PER_CALL - 1
    assert not steps.step(calls=calls, sending=True)
    steps.ends += 1
    assert steps.step(calls=calls, sending=True)


def test_while_nothing_is_sent_one_end_is_enough(steps: GarbageSteps) -> None:
    assert not steps.step(calls=500, sending=False)
    steps.ends = 1
    assert steps.step(calls=500, sending=False)


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
        assert steps.step(calls=1, sending=True)
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
