"""Which workers take calls, which wait, which leave."""

from __future__ import annotations

from typing import Any

import pytest

from voicepool._fleet.spares import Crew, Member, Part
from voicepool.stats import WorkerState


class FakeSlot:
    """A slot whose worker comes and goes as the test says."""

    def __init__(self, index: int, core: int | None = None) -> None:
        self.index = index
        self.core = core
        self.state = WorkerState.READY

    @property
    def worker(self) -> object | None:
        return self if self.state is WorkerState.READY else None


def member(index: int, part: Part = Part.ACTIVE, core: int | None = None) -> Member:
    slot: Any = FakeSlot(index, core)
    return Member(slot, part)


def crew_of(*members: Member, wanted: int | None = None) -> tuple[Crew, list[tuple[int, int | None]]]:
    moved: list[tuple[int, int | None]] = []
    crew = Crew(lambda each: moved.append((each.slot.index, each.slot.core)))
    for each in members:
        crew.add(each)
    crew.wanted = len(crew.of(Part.ACTIVE)) if wanted is None else wanted
    return crew, moved


def lose(each: Member, state: WorkerState = WorkerState.RESTARTING) -> None:
    each.slot.state = state  # type: ignore[misc]  # the fake's


def parts(crew: Crew) -> list[Part]:
    return [each.part for each in crew]


@pytest.mark.parametrize("state", [WorkerState.RESTARTING, WorkerState.LOOPING, WorkerState.STOPPED])
def test_a_spare_takes_the_part_and_the_core_of_one_that_is_lost(state: WorkerState) -> None:
    crew, moved = crew_of(member(0, core=5), member(1, core=6), member(2, Part.SPARE))
    crew.balance()
    assert parts(crew) == [Part.ACTIVE, Part.ACTIVE, Part.SPARE]
    first, _, spare = crew
    lose(first, state)
    crew.balance()
    assert parts(crew) == [Part.SPARE, Part.ACTIVE, Part.ACTIVE]
    assert (first.slot.core, spare.slot.core) == (None, 5)
    assert moved == [(2, 5)]
    lose(first, WorkerState.READY)
    crew.balance()
    assert parts(crew) == [Part.SPARE, Part.ACTIVE, Part.ACTIVE], "what comes back is the new spare"


def test_without_a_spare_that_is_up_the_slot_waits_for_its_own() -> None:
    crew, moved = crew_of(member(0), member(1, Part.SPARE))
    for each in crew:
        lose(each)
    crew.balance()
    assert parts(crew) == [Part.ACTIVE, Part.SPARE]
    lose(tuple(crew)[1], WorkerState.READY)
    crew.balance()
    assert parts(crew) == [Part.SPARE, Part.ACTIVE]
    assert moved == [(1, None)]


def test_who_is_started_for_the_first_time_is_waited_for() -> None:
    crew, _ = crew_of(member(0), member(1), member(2, Part.SPARE))
    lose(tuple(crew)[1], WorkerState.STARTING)
    crew.balance()
    assert parts(crew) == [Part.ACTIVE, Part.ACTIVE, Part.SPARE]


def test_spares_fill_up_what_is_wanted() -> None:
    crew, _ = crew_of(member(0), member(1, Part.SPARE), member(2, Part.SPARE), wanted=2)
    crew.balance()
    assert parts(crew) == [Part.ACTIVE, Part.ACTIVE, Part.SPARE]


def test_a_spare_that_becomes_active_gets_a_core_unless_it_has_one() -> None:
    moved: list[tuple[int, int | None]] = []
    crew = Crew(lambda each: moved.append((each.slot.index, each.slot.core)), lambda: 3)
    crew.add(member(0, Part.SPARE))
    crew.add(member(1, Part.SPARE, core=5))
    crew.wanted = 2
    crew.balance()
    assert parts(crew) == [Part.ACTIVE, Part.ACTIVE]
    assert moved == [(0, 3), (1, 5)]


def test_the_index_of_one_who_leaves_is_free() -> None:
    crew, _ = crew_of(member(0), member(1, Part.LEAVING), member(3))
    assert crew.free_index() == 1
    successor = member(1)
    crew.add(successor)
    assert crew.free_index() == 2
    assert [each.slot.index for each in crew] == [0, 1, 1, 3]
    crew.remove(successor)
    assert len(crew) == 3


def test_the_state_tells_the_part() -> None:
    spare, leaving, active = member(0, Part.SPARE), member(1, Part.LEAVING), member(2)
    assert [each.state for each in (spare, leaving, active)] == [
        WorkerState.SPARE,
        WorkerState.DRAINING,
        WorkerState.READY,
    ]
    lose(spare)
    assert spare.state is WorkerState.RESTARTING
