from __future__ import annotations

import pytest

from voicepool.workers.dave.states import TRANSITIONS, DaveInput, DaveMachine, DaveState, IllegalMoveError


def test_a_group_can_always_be_started_left_and_given_up() -> None:
    for state in DaveState:
        assert TRANSITIONS[state, DaveInput.START] is DaveState.PENDING
        assert TRANSITIONS[state, DaveInput.LEAVE] is DaveState.NO_GROUP
        assert TRANSITIONS[state, DaveInput.GIVE_UP] is DaveState.BROKEN


def test_only_who_has_a_group_can_be_admitted_or_fail() -> None:
    having = {DaveState.PENDING, DaveState.MEMBER, DaveState.RECOVERING}
    for received in (DaveInput.ADMITTED, DaveInput.INVALID):
        assert {state for state, moved in TRANSITIONS if moved is received} == having


def test_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS.values()) == set(DaveState)


def test_the_machine_moves_by_the_table_and_tells_its_story() -> None:
    machine = DaveMachine()
    assert machine.state is DaveState.NO_GROUP
    assert machine.move(DaveInput.START) is DaveState.PENDING
    machine.move(DaveInput.ADMITTED)
    machine.move(DaveInput.LEAVE)
    with pytest.raises(IllegalMoveError, match="pending -admitted-> member, member -leave") as caught:
        machine.move(DaveInput.ADMITTED)
    assert (caught.value.state, caught.value.attempted) == (DaveState.NO_GROUP, "admitted")
    assert machine.state is DaveState.NO_GROUP
    assert repr(machine) == "<DaveMachine no_group>"


def test_the_story_is_bounded() -> None:
    machine = DaveMachine()
    for _ in range(100):
        machine.move(DaveInput.START)
    assert len(machine.recent) == 16


def test_an_error_without_a_story() -> None:
    with pytest.raises(IllegalMoveError, match="moves so far: none"):
        DaveMachine().move(DaveInput.INVALID)
