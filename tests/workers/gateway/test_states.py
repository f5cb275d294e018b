from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.gateway.states import (
    TRANSITIONS,
    GatewayInput,
    GatewayMachine,
    GatewayState,
    IllegalMoveError,
)

inputs = st.lists(st.sampled_from(GatewayInput), max_size=60)


@given(inputs)
def test_random_walks_follow_the_table_and_nothing_else(walk: list[GatewayInput]) -> None:
    machine = GatewayMachine()
    for received in walk:
        before, recent = machine.state, machine.recent
        if (before, received) in TRANSITIONS:
            assert machine.accepts(received)
            assert machine.move(received) is machine.state is TRANSITIONS[before, received]
        else:
            assert not machine.accepts(received)
            with pytest.raises(IllegalMoveError):
                machine.move(received)
            assert (machine.state, machine.recent) == (before, recent)
        assert len(machine.recent) <= 8


@given(inputs)
def test_will_accept_says_whether_some_way_leads_there(walk: list[GatewayInput]) -> None:
    machine = GatewayMachine()
    promised = {received: machine.will_accept(received) for received in GatewayInput}
    for received in walk:
        if machine.accepts(received):
            machine.move(received)
            for later in GatewayInput:
                # What was ruled out once stays ruled out.
                assert promised[later] or not machine.accepts(later)
            promised = {later: machine.will_accept(later) for later in GatewayInput}


def test_what_is_kept_back_and_what_is_not() -> None:
    machine = GatewayMachine()
    machine.move(GatewayInput.OPENED_TO_IDENTIFY)
    assert machine.will_accept(GatewayInput.SESSION_DESCRIPTION)
    assert not machine.will_accept(GatewayInput.RESUMED)
    machine.move(GatewayInput.READY)
    assert not machine.will_accept(GatewayInput.READY)


def test_every_state_but_closed_can_end_and_closed_is_the_end() -> None:
    for state in GatewayState:
        ends = (state, GatewayInput.LOST) in TRANSITIONS
        assert ends is (state is not GatewayState.CLOSED)
    assert not [source for source, _ in TRANSITIONS if source is GatewayState.CLOSED]


def test_an_illegal_move_tells_its_story() -> None:
    machine = GatewayMachine()
    machine.move(GatewayInput.OPENED_TO_IDENTIFY)
    machine.move(GatewayInput.READY)
    with pytest.raises(IllegalMoveError) as caught:
        machine.move(GatewayInput.RESUMED)
    assert caught.value.state is GatewayState.SELECTING
    assert "new -opened_to_identify-> identifying, identifying -ready-> selecting" in str(caught.value)
