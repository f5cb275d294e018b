"""The states of one voice websocket, and the only place where they change.

One `GatewayMachine` lives as long as one websocket. Our own inputs (`SELECT_PROTOCOL`, `GIVE_UP` ...) must
be in the table for the present state, else `IllegalMoveError` says which moves led there. Messages of the
server are never illegal: the caller asks `accepts` first, keeps back what `will_accept` says belongs to a
later state, and counts the rest.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from voicepool.workers.statemachine import IllegalMoveError, StateMachine, TransitionTable

__all__ = ["AWAITED", "TRANSITIONS", "GatewayInput", "GatewayMachine", "GatewayState", "IllegalMoveError"]


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

TRANSITIONS: Final = TransitionTable(
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

AWAITED: Final[Mapping[GatewayState, str]] = MappingProxyType(
    {
        GatewayState.IDENTIFYING: "READY",
        GatewayState.RESUMING: "RESUMED",
        GatewayState.AWAITING_KEY: "SESSION_DESCRIPTION",
    },
)
"""What the server is to send, where it is its turn."""


class GatewayMachine(StateMachine[GatewayState, GatewayInput]):
    """The state of one websocket."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(TRANSITIONS, GatewayState.NEW)
