"""The states of one voice websocket, and the only place where they change.

One `GatewayMachine` lives as long as one websocket. Our own inputs (`SELECT_PROTOCOL`, `GIVE_UP` ...) must
be in the table for the present state, else `IllegalMoveError` says which moves led there. Messages of the
server are never illegal: the caller asks `accepts` first, keeps back what `will_accept` says belongs to a
later state, and counts the rest.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["TRANSITIONS", "GatewayInput", "GatewayMachine", "GatewayState", "IllegalMoveError"]

_MOVES_KEPT: Final = 8


class GatewayState(enum.Enum):
    """Where the handshake stands."""

    NEW = "new"
    """There is no websocket yet."""
    IDENTIFYING = "identifying"
    """IDENTIFY is sent; READY is awaited."""
    RESUMING = "resuming"
    """RESUME is sent; RESUMED is awaited, or a close."""
    SELECTING = "selecting"
    """READY has come; our own address is being discovered."""
    AWAITING_KEY = "awaiting_key"
    """SELECT_PROTOCOL is sent; SESSION_DESCRIPTION with the key is awaited."""
    ESTABLISHED = "established"
    """Audio may flow."""
    CLOSING = "closing"
    """We want the websocket closed and read nothing any more."""
    CLOSED = "closed"
    """The websocket is gone; the object has done its duty."""


class GatewayInput(enum.Enum):
    """What moves the state: ours, the server's, and the network's."""

    OPENED_TO_IDENTIFY = "opened_to_identify"
    OPENED_TO_RESUME = "opened_to_resume"
    READY = "ready"
    SELECT_PROTOCOL = "select_protocol"
    SESSION_DESCRIPTION = "session_description"
    RESUMED = "resumed"
    GIVE_UP = "give_up"
    LOST = "lost"


_OPEN: Final = (
    GatewayState.IDENTIFYING,
    GatewayState.RESUMING,
    GatewayState.SELECTING,
    GatewayState.AWAITING_KEY,
    GatewayState.ESTABLISHED,
)

TRANSITIONS: Final[Mapping[tuple[GatewayState, GatewayInput], GatewayState]] = MappingProxyType(
    {
        (GatewayState.NEW, GatewayInput.OPENED_TO_IDENTIFY): GatewayState.IDENTIFYING,
        (GatewayState.NEW, GatewayInput.OPENED_TO_RESUME): GatewayState.RESUMING,
        (GatewayState.NEW, GatewayInput.LOST): GatewayState.CLOSED,
        (GatewayState.IDENTIFYING, GatewayInput.READY): GatewayState.SELECTING,
        (GatewayState.SELECTING, GatewayInput.SELECT_PROTOCOL): GatewayState.AWAITING_KEY,
        (GatewayState.AWAITING_KEY, GatewayInput.SESSION_DESCRIPTION): GatewayState.ESTABLISHED,
        # The server may hand out a key again at any time; whether it is a new one is for the caller to see.
        (GatewayState.ESTABLISHED, GatewayInput.SESSION_DESCRIPTION): GatewayState.ESTABLISHED,
        (GatewayState.RESUMING, GatewayInput.RESUMED): GatewayState.ESTABLISHED,
        (GatewayState.CLOSING, GatewayInput.LOST): GatewayState.CLOSED,
        **{(state, GatewayInput.GIVE_UP): GatewayState.CLOSING for state in _OPEN},
        **{(state, GatewayInput.LOST): GatewayState.CLOSED for state in _OPEN},
    },
)


def _states_ahead(start: GatewayState) -> frozenset[GatewayState]:
    ahead: set[GatewayState] = set()
    frontier = [start]
    while frontier:
        state = frontier.pop()
        for (source, _), target in TRANSITIONS.items():
            if source is state and target not in ahead:
                ahead.add(target)
                frontier.append(target)
    return frozenset(ahead)


_AHEAD: Final = MappingProxyType({state: _states_ahead(state) for state in GatewayState})


class IllegalMoveError(Exception):
    """A caller's move that the present state does not allow: a defect of the caller.

    Parameters
    ----------
    state
        Where the machine was, and stays.
    attempted
        The move.
    recent
        The moves that led there, oldest first.
    """

    def __init__(self, state: GatewayState, attempted: str, recent: tuple[str, ...]) -> None:
        story = ", ".join(recent) or "none"
        super().__init__(f"{attempted} is not allowed in state {state.value}; moves so far: {story}")
        self.state = state
        self.attempted = attempted
        self.recent = recent


class GatewayMachine:
    """Holds the state, moves it by the table, remembers the last moves."""

    __slots__ = ("_moves", "_state")

    def __init__(self) -> None:
        self._state = GatewayState.NEW
        self._moves: deque[str] = deque(maxlen=_MOVES_KEPT)

    def __repr__(self) -> str:
        return f"<GatewayMachine {self._state.value}>"

    @property
    def state(self) -> GatewayState:
        """Where it stands."""
        return self._state

    @property
    def recent(self) -> tuple[str, ...]:
        """The last moves, oldest first, as ``state -input-> state``."""
        return tuple(self._moves)

    def accepts(self, received: GatewayInput) -> bool:
        """Whether `move` would succeed now."""
        return (self._state, received) in TRANSITIONS

    def will_accept(self, received: GatewayInput) -> bool:
        """Whether a state that can still be reached takes this input."""
        return any((state, received) in TRANSITIONS for state in _AHEAD[self._state])

    def move(self, received: GatewayInput) -> GatewayState:
        """Change the state; the only method that does.

        Raises
        ------
        IllegalMoveError
            If the table has no such entry.
        """
        target = TRANSITIONS.get((self._state, received))
        if target is None:
            raise IllegalMoveError(self._state, received.value, self.recent)
        self._moves.append(f"{self._state.value} -{received.value}-> {target.value}")
        self._state = target
        return target
