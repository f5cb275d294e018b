"""A state that changes by a table only [pure]: the core of a websocket's, a group's and a call's life.

A machine has a state, a table that says where each input leads, and a memory of its last moves. An input that
the table does not have for the present state is a defect of the caller, and `IllegalMoveError` tells how it
came to that. Limits and endings are rows of the table like all others: nothing else sets the state.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, Generic, TypeVar

__all__ = ["IllegalMoveError", "StateMachine", "TransitionTable"]

StateT = TypeVar("StateT", bound=enum.Enum)
InputT = TypeVar("InputT", bound=enum.Enum)


class IllegalMoveError(Exception):
    """A caller's move that the present state does not allow: a defect of the caller.

    Parameters
    ----------
    state
        Where the machine was, and stays.
    attempted
        The move: an input's value, or the name of what was asked for.
    recent
        The moves that led there, oldest first.
    """

    def __init__(self, state: enum.Enum, attempted: str, recent: tuple[str, ...]) -> None:
        story = ", ".join(recent) or "none"
        super().__init__(f"{attempted} is not allowed in state {state.value}; moves so far: {story}")
        self.state = state
        self.attempted = attempted
        self.recent = recent


class TransitionTable(Mapping[tuple[StateT, InputT], StateT], Generic[StateT, InputT]):
    """An immutable mapping of ``(state, input)`` to the state that follows.

    Parameters
    ----------
    rows
        Copied.
    """

    __slots__ = ("_later", "_rows")

    def __init__(self, rows: Mapping[tuple[StateT, InputT], StateT]) -> None:
        self._rows: Final = dict(rows)
        self._later: Final = {
            state: self._inputs_later(state)
            for state in {*self._rows.values(), *(row[0] for row in self._rows)}
        }

    def __getitem__(self, row: tuple[StateT, InputT]) -> StateT:
        return self._rows[row]

    def __iter__(self) -> Iterator[tuple[StateT, InputT]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def inputs_later(self, state: StateT) -> frozenset[InputT]:
        """Return the inputs that some state takes which can be reached from this one by at least one move."""
        return self._later.get(state, frozenset())

    def _inputs_later(self, start: StateT) -> frozenset[InputT]:
        ahead: set[StateT] = set()
        frontier = [start]
        while frontier:
            source = frontier.pop()
            reached = {target for (state, _), target in self._rows.items() if state is source} - ahead
            ahead |= reached
            frontier += reached
        return frozenset(received for state, received in self._rows if state in ahead)


class StateMachine(Generic[StateT, InputT]):
    """Holds a state, moves it by a table, remembers the last moves.

    Parameters
    ----------
    table
        Every move there is; shared by the machines of a kind.
    initial
        Where it starts.
    moves_kept
        How many moves to remember, for errors and logs.
    """

    __slots__ = ("_moves", "_state", "_table")

    def __init__(
        self, table: TransitionTable[StateT, InputT], initial: StateT, *, moves_kept: int = 8
    ) -> None:
        self._table = table
        self._state = initial
        self._moves: deque[str] = deque(maxlen=moves_kept)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}>"

    @property
    def state(self) -> StateT:
        """Where it stands."""
        return self._state

    @property
    def recent(self) -> tuple[str, ...]:
        """The last moves, oldest first, as ``state -input-> state``; after the time where one was given."""
        return tuple(self._moves)

    def accepts(self, received: InputT) -> bool:
        """Whether `move` would succeed now."""
        return (self._state, received) in self._table

    def will_accept(self, received: InputT) -> bool:
        """Whether a state that can still be reached, by one move or more, takes this input."""
        return received in self._table.inputs_later(self._state)

    def move(self, received: InputT, *, now: float | None = None) -> StateT:
        """Change the state; the only method that does.

        Parameters
        ----------
        received
            What happened.
        now
            Time in seconds to remember with the move; by None, the order alone is remembered.

        Raises
        ------
        IllegalMoveError
            If the table has no such row. The state is as before.
        """
        target = self._table.get((self._state, received))
        if target is None:
            raise IllegalMoveError(self._state, received.value, self.recent)
        when = "" if now is None else f"{now:.3f} "
        self._moves.append(f"{when}{self._state.value} -{received.value}-> {target.value}")
        self._state = target
        return target
