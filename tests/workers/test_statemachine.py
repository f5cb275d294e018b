from __future__ import annotations

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.statemachine import IllegalMoveError, StateMachine, TransitionTable


class Door(enum.Enum):
    OPEN = "open"
    SHUT = "shut"
    LOCKED = "locked"
    WALLED_UP = "walled_up"


class Hand(enum.Enum):
    PUSH = "push"
    PULL = "pull"
    TURN = "turn"
    BRICK = "brick"


ROWS = {
    (Door.SHUT, Hand.PUSH): Door.OPEN,
    (Door.OPEN, Hand.PULL): Door.SHUT,
    (Door.SHUT, Hand.TURN): Door.LOCKED,
    (Door.LOCKED, Hand.TURN): Door.SHUT,
    **{(state, Hand.BRICK): Door.WALLED_UP for state in (Door.OPEN, Door.SHUT, Door.LOCKED)},
}
TABLE = TransitionTable(ROWS)


class DoorMachine(StateMachine[Door, Hand]):
    __slots__ = ()

    def __init__(self, *, moves_kept: int = 8) -> None:
        super().__init__(TABLE, Door.SHUT, moves_kept=moves_kept)


def test_it_starts_where_it_is_told_and_moves_by_the_table() -> None:
    door = DoorMachine()
    states = [door.state, door.move(Hand.PUSH), door.state]
    assert states == [Door.SHUT, Door.OPEN, Door.OPEN]
    assert repr(door) == "<DoorMachine open>"


def test_a_move_without_a_row_changes_nothing_and_tells_the_story() -> None:
    door = DoorMachine()
    door.move(Hand.TURN)
    door.move(Hand.TURN)
    before = door.recent
    with pytest.raises(IllegalMoveError) as caught:
        door.move(Hand.PULL)
    assert str(caught.value) == (
        "pull is not allowed in state shut; moves so far: shut -turn-> locked, locked -turn-> shut"
    )
    assert (caught.value.state, caught.value.attempted, caught.value.recent) == (Door.SHUT, "pull", before)
    assert (door.state, door.recent) == (Door.SHUT, before)


def test_an_illegal_first_move_has_no_story() -> None:
    with pytest.raises(IllegalMoveError, match="moves so far: none"):
        DoorMachine().move(Hand.PULL)


def test_the_time_is_remembered_with_a_move_where_it_is_given() -> None:
    door = DoorMachine()
    door.move(Hand.PUSH, now=1.25)
    door.move(Hand.PULL)
    assert door.recent == ("1.250 shut -push-> open", "open -pull-> shut")


@pytest.mark.parametrize("kept", [1, 3, 12])
def test_no_more_moves_are_remembered_than_asked_for(kept: int) -> None:
    door = DoorMachine(moves_kept=kept)
    for _ in range(20):
        door.move(Hand.PUSH)
        door.move(Hand.PULL)
    assert len(door.recent) == kept
    assert door.recent[-1] == "open -pull-> shut"


def test_will_accept_looks_ahead_by_at_least_one_move() -> None:
    door = DoorMachine()
    assert not door.accepts(Hand.PULL)
    assert door.will_accept(Hand.PULL)
    door.move(Hand.BRICK)
    assert not any(door.accepts(received) or door.will_accept(received) for received in Hand)


def test_what_is_possible_only_now_is_not_promised_for_later() -> None:
    table = TransitionTable({(Door.SHUT, Hand.PUSH): Door.OPEN, (Door.OPEN, Hand.BRICK): Door.WALLED_UP})
    machine = StateMachine(table, Door.SHUT)
    assert machine.accepts(Hand.PUSH)
    assert not machine.will_accept(Hand.PUSH)
    assert table.inputs_later(Door.SHUT) == {Hand.BRICK}
    assert table.inputs_later(Door.LOCKED) == set(), "a state that no row knows leads nowhere"


def test_the_table_is_a_copy_that_reads_like_a_mapping() -> None:
    rows = dict(ROWS)
    table = TransitionTable(rows)
    rows.clear()
    assert dict(table) == ROWS
    assert len(table) == len(ROWS)
    assert table[Door.SHUT, Hand.PUSH] is Door.OPEN
    assert (Door.WALLED_UP, Hand.PUSH) not in table
    assert table.get((Door.WALLED_UP, Hand.PUSH)) is None


def test_machines_of_one_table_are_apart() -> None:
    one, other = DoorMachine(), DoorMachine()
    one.move(Hand.PUSH)
    assert (other.state, other.recent) == (Door.SHUT, ())


@given(
    rows=st.dictionaries(st.tuples(st.sampled_from(Door), st.sampled_from(Hand)), st.sampled_from(Door)),
    walk=st.lists(st.sampled_from(Hand), max_size=30),
)
def test_on_any_table_what_was_ruled_out_once_stays_so(
    rows: dict[tuple[Door, Hand], Door], walk: list[Hand]
) -> None:
    machine = StateMachine(TransitionTable(rows), Door.SHUT)
    promised = {received: machine.will_accept(received) for received in Hand}
    for received in walk:
        before = machine.state
        if (before, received) not in rows:
            assert not machine.accepts(received)
            with pytest.raises(IllegalMoveError):
                machine.move(received)
            assert machine.state is before
            continue
        assert machine.accepts(received)
        assert machine.move(received) is machine.state is rows[before, received]
        for later in Hand:
            assert promised[later] or not (machine.accepts(later) or machine.will_accept(later))
        promised = {later: machine.will_accept(later) for later in Hand}
