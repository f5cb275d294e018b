"""Where we stand towards the group, and the only place where that changes [pure].

Membership is one of two things that move in a call. The other is the protocol version in force, which says
what frames look like, and changes only when a transition is executed (`transitions`). They are apart because
they go apart: while a call is upgraded there is a group already but frames still leave in the clear, and
after an invalid commit there is no group but frames may still be read by those who keep the old keys.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["TRANSITIONS", "DaveInput", "DaveMachine", "DaveState", "IllegalDaveMoveError"]

_MOVES_KEPT: Final = 16


class DaveState(enum.Enum):
    """Our membership."""

    NO_GROUP = "no_group"
    """No version above 0 has been announced, or the one announced is beyond us."""
    PENDING = "pending"
    """A key package is sent; a welcome, or our own commit, is awaited."""
    MEMBER = "member"
    """In the group."""
    RECOVERING = "recovering"
    """Something was invalid: reported, group forgotten, a new key package sent; a welcome is awaited."""
    BROKEN = "broken"
    """Recovering did not help. Only a new group or a new session does."""


class DaveInput(enum.Enum):
    """What moves it."""

    START = "start"
    """A version above 0 from opcode 4, or epoch 1 from opcode 24: a new group."""
    ADMITTED = "admitted"
    """A welcome or a commit was processed."""
    INVALID = "invalid"
    """A welcome or commit that was meant for us could not be processed."""
    GIVE_UP = "give_up"
    """Recovered too often, or the library cannot start a group."""
    LEAVE = "leave"
    """Opcode 4 with version 0: a session without a group."""


TRANSITIONS: Final[Mapping[tuple[DaveState, DaveInput], DaveState]] = MappingProxyType(
    {
        **{(state, DaveInput.START): DaveState.PENDING for state in DaveState},
        **{(state, DaveInput.LEAVE): DaveState.NO_GROUP for state in DaveState},
        **{(state, DaveInput.GIVE_UP): DaveState.BROKEN for state in DaveState},
        (DaveState.PENDING, DaveInput.ADMITTED): DaveState.MEMBER,
        (DaveState.MEMBER, DaveInput.ADMITTED): DaveState.MEMBER,
        (DaveState.RECOVERING, DaveInput.ADMITTED): DaveState.MEMBER,
        (DaveState.PENDING, DaveInput.INVALID): DaveState.RECOVERING,
        (DaveState.MEMBER, DaveInput.INVALID): DaveState.RECOVERING,
        (DaveState.RECOVERING, DaveInput.INVALID): DaveState.RECOVERING,
    },
)


class IllegalDaveMoveError(Exception):
    """A move that the table does not have: a defect of the caller.

    Parameters
    ----------
    state
        Where the machine was, and stays.
    attempted
        The move.
    recent
        The moves that led there, oldest first.
    """

    def __init__(self, state: DaveState, attempted: DaveInput, recent: tuple[str, ...]) -> None:
        story = ", ".join(recent) or "none"
        super().__init__(f"{attempted.value} is not allowed in state {state.value}; moves so far: {story}")
        self.state = state
        self.attempted = attempted
        self.recent = recent


class DaveMachine:
    """Holds the state, moves it by the table, remembers the last moves."""

    __slots__ = ("_moves", "_state")

    def __init__(self) -> None:
        self._state = DaveState.NO_GROUP
        self._moves: deque[str] = deque(maxlen=_MOVES_KEPT)

    def __repr__(self) -> str:
        return f"<DaveMachine {self._state.value}>"

    @property
    def state(self) -> DaveState:
        """Where it stands."""
        return self._state

    @property
    def recent(self) -> tuple[str, ...]:
        """The last moves, oldest first, as ``state -input-> state``."""
        return tuple(self._moves)

    def move(self, received: DaveInput) -> DaveState:
        """Change the state; the only method that does.

        Raises
        ------
        IllegalDaveMoveError
            If the table has no such entry.
        """
        target = TRANSITIONS.get((self._state, received))
        if target is None:
            raise IllegalDaveMoveError(self._state, received, self.recent)
        self._moves.append(f"{self._state.value} -{received.value}-> {target.value}")
        self._state = target
        return target
