"""Where a call can stand, what can happen to it, and where that leads [pure].

One row of `TRANSITIONS` for each event in each state; a pair that has no row is a defect of ours::

              ┌───────────────── new server ──────────────────┐
              ▼                                               │
    idle ─> identifying ──> connected ──> resuming ──> backing off ──> identifying …
                │               └──> rejoining ──> awaiting server
                └─ rejoining …       (void session)  (also: moved, kicked, server gone)

`lifecycle` says when each of these happens, and what is to be done then.
"""

from __future__ import annotations

import enum
from typing import Final

from voicepool.workers.statemachine import TransitionTable

__all__ = ["TRANSITIONS", "CallState", "Happening"]


class CallState(enum.Enum):
    """Where a call stands."""

    IDLE = "idle"
    """Nothing to connect to yet."""
    IDENTIFYING = "identifying"
    """A new session is being set up."""
    RESUMING = "resuming"
    """The session that we have is being taken up again over a new websocket."""
    CONNECTED = "connected"
    """Sound can be sent."""
    BACKING_OFF = "backing_off"
    """The next attempt waits for its time."""
    REJOINING = "rejoining"
    """The session is void; the bot is asked for another as soon as the pause before that is over."""
    AWAITING_SERVER = "awaiting_server"
    """The session or the server is gone; the main gateway must name another."""
    ENDED = "ended"
    """Over."""


class Happening(enum.Enum):
    """What can happen to a call."""

    NEW_SERVER = "new_server"
    """The bot handed over credentials."""
    SERVER_GONE = "server_gone"
    """The main gateway said that the server is gone and another will follow (endpoint null)."""
    READY = "ready"
    """The connection is set up."""
    LOST = "lost"
    """The connection broke in a way that leaves the session at the server untouched."""
    SESSION_VOID = "session_void"
    """The server does not know our session any more."""
    PUT_OUT = "put_out"
    """The server ended our part: moved, kicked, or the call is over. The main gateway knows which."""
    REFUSED = "refused"
    """The server refuses us for good."""
    EXHAUSTED = "exhausted"
    """The connection broke once more often than the policy has patience for."""
    TIME = "time"
    """What was waited for is due."""
    CLOSE = "close"
    """The bot leaves."""


_S, _H = CallState, Happening
TRANSITIONS: Final = TransitionTable(
    {
        (_S.IDLE, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.IDLE, _H.SERVER_GONE): _S.IDLE,
        (_S.IDLE, _H.CLOSE): _S.ENDED,
        (_S.IDENTIFYING, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.IDENTIFYING, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.IDENTIFYING, _H.READY): _S.CONNECTED,
        (_S.IDENTIFYING, _H.LOST): _S.BACKING_OFF,
        (_S.IDENTIFYING, _H.SESSION_VOID): _S.REJOINING,
        (_S.IDENTIFYING, _H.PUT_OUT): _S.AWAITING_SERVER,
        (_S.IDENTIFYING, _H.REFUSED): _S.ENDED,
        (_S.IDENTIFYING, _H.EXHAUSTED): _S.ENDED,
        (_S.IDENTIFYING, _H.CLOSE): _S.ENDED,
        (_S.RESUMING, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.RESUMING, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.RESUMING, _H.READY): _S.CONNECTED,
        (_S.RESUMING, _H.LOST): _S.BACKING_OFF,
        # The server has forgotten the session, or its buffer: identifying with the same credentials may do.
        (_S.RESUMING, _H.SESSION_VOID): _S.BACKING_OFF,
        (_S.RESUMING, _H.PUT_OUT): _S.AWAITING_SERVER,
        (_S.RESUMING, _H.REFUSED): _S.ENDED,
        (_S.RESUMING, _H.CLOSE): _S.ENDED,
        (_S.CONNECTED, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.CONNECTED, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.CONNECTED, _H.LOST): _S.RESUMING,
        (_S.CONNECTED, _H.SESSION_VOID): _S.REJOINING,
        (_S.CONNECTED, _H.PUT_OUT): _S.AWAITING_SERVER,
        (_S.CONNECTED, _H.REFUSED): _S.ENDED,
        (_S.CONNECTED, _H.EXHAUSTED): _S.ENDED,
        (_S.CONNECTED, _H.CLOSE): _S.ENDED,
        (_S.BACKING_OFF, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.BACKING_OFF, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.BACKING_OFF, _H.TIME): _S.IDENTIFYING,
        (_S.BACKING_OFF, _H.CLOSE): _S.ENDED,
        (_S.REJOINING, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.REJOINING, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.REJOINING, _H.TIME): _S.AWAITING_SERVER,
        (_S.REJOINING, _H.CLOSE): _S.ENDED,
        (_S.AWAITING_SERVER, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.AWAITING_SERVER, _H.SERVER_GONE): _S.AWAITING_SERVER,
        (_S.AWAITING_SERVER, _H.TIME): _S.ENDED,
        (_S.AWAITING_SERVER, _H.CLOSE): _S.ENDED,
        # Whoever asked, or the bot, has not heard of the end yet.
        (_S.ENDED, _H.NEW_SERVER): _S.IDENTIFYING,
        (_S.ENDED, _H.SERVER_GONE): _S.ENDED,
        (_S.ENDED, _H.CLOSE): _S.ENDED,
    }
)
