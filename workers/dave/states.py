"""Where we stand towards the group, and the only place where that changes [pure].

Membership is one of two things that move in a call. The other is the protocol version in force, which says
what frames look like, and changes only when a transition is executed (`transitions`). They are apart because
they go apart: while a call is upgraded there is a group already but frames still leave in the clear, and
after an invalid commit there is no group but frames may still be read by those who keep the old keys.
"""

from __future__ import annotations

import enum
from typing import Final

from voicepool.workers.statemachine import IllegalMoveError, StateMachine, TransitionTable

__all__ = ["TRANSITIONS", "DaveInput", "DaveMachine", "DaveState", "IllegalMoveError"]

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


TRANSITIONS: Final = TransitionTable(
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


class DaveMachine(StateMachine[DaveState, DaveInput]):
    """Our membership in one call's group."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(TRANSITIONS, DaveState.NO_GROUP, moves_kept=_MOVES_KEPT)
