"""How a call stays up: what follows when a connection is lost, refused or replaced.

Pure. Events go in with the time, `Step`s come out; the session carries them out. What an event does in a
state is one row of `TRANSITIONS`, and a pair that has no row is a defect of ours::

              ┌───────────────── new server ──────────────────┐
              ▼                                               │
    idle ─> identifying ──> connected ──> resuming ──> backing off ──> identifying …
                                └──────> awaiting server (no session any more, or moved, or kicked)

A resume is tried once, at once: the server keeps our session for a while. If that fails, what follows is an
identify, with growing pauses and a limit. What only the main gateway can mend (a session that is void, a
server that is gone, a move) is awaited; if nothing comes in time, the call is over.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import CloseAction, close_policy

__all__ = [
    "TRANSITIONS",
    "CallLifecycle",
    "CallState",
    "Connect",
    "Disconnect",
    "End",
    "Happening",
    "IllegalMoveError",
    "LifecyclePolicy",
    "Step",
    "WantServer",
]

_REMEMBERED_MOVES: Final = 12


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
    TIME = "time"
    """What was waited for is due."""
    CLOSE = "close"
    """The bot leaves."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection: with RESUME if `resume`, otherwise with IDENTIFY."""

    resume: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Let go of whatever connection there is."""


@dataclass(frozen=True, slots=True)
class WantServer:
    """Tell the bot that the call waits for credentials.

    Attributes
    ----------
    rejoin
        Whether the bot should ask Discord for them (op 4); otherwise they come by themselves, or not at all.
    """

    rejoin: bool


@dataclass(frozen=True, slots=True)
class End:
    """The call is over; with an error unless the bot left."""

    error: CallError | None


Step = Connect | Disconnect | WantServer | End


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecyclePolicy:
    """How patient a call is.

    Attributes
    ----------
    first_pause_s, longest_pause_s
        Before the second attempt to identify; it doubles each time up to the longest.
    attempts
        Attempts to identify in a row before the call is given up; likewise connections in a row that broke
        before they were calm.
    await_server_s
        How long new credentials may take after the session or server is gone.
    grace_s
        How long the main gateway may take to say why we were put out.
    calm_s
        A connection that held so long makes the next attempts start over.
    """

    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0
    attempts: int = 8
    await_server_s: float = 30.0
    grace_s: float = 5.0
    calm_s: float = 30.0


class IllegalMoveError(Exception):
    """Something happened that cannot happen in this state; the text tells the last moves."""


_S, _H = CallState, Happening
TRANSITIONS: Final[dict[tuple[CallState, Happening], CallState]] = {
    (_S.IDLE, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.IDLE, _H.SERVER_GONE): _S.IDLE,
    (_S.IDLE, _H.CLOSE): _S.ENDED,
    (_S.IDENTIFYING, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.IDENTIFYING, _H.SERVER_GONE): _S.AWAITING_SERVER,
    (_S.IDENTIFYING, _H.READY): _S.CONNECTED,
    (_S.IDENTIFYING, _H.LOST): _S.BACKING_OFF,
    (_S.IDENTIFYING, _H.SESSION_VOID): _S.AWAITING_SERVER,
    (_S.IDENTIFYING, _H.PUT_OUT): _S.AWAITING_SERVER,
    (_S.IDENTIFYING, _H.REFUSED): _S.ENDED,
    (_S.IDENTIFYING, _H.CLOSE): _S.ENDED,
    (_S.RESUMING, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.RESUMING, _H.SERVER_GONE): _S.AWAITING_SERVER,
    (_S.RESUMING, _H.READY): _S.CONNECTED,
    (_S.RESUMING, _H.LOST): _S.BACKING_OFF,
    # The server has forgotten the session, or its buffer: identifying with the same credentials may still do.
    (_S.RESUMING, _H.SESSION_VOID): _S.BACKING_OFF,
    (_S.RESUMING, _H.PUT_OUT): _S.AWAITING_SERVER,
    (_S.RESUMING, _H.REFUSED): _S.ENDED,
    (_S.RESUMING, _H.CLOSE): _S.ENDED,
    (_S.CONNECTED, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.CONNECTED, _H.SERVER_GONE): _S.AWAITING_SERVER,
    (_S.CONNECTED, _H.LOST): _S.RESUMING,
    (_S.CONNECTED, _H.SESSION_VOID): _S.AWAITING_SERVER,
    (_S.CONNECTED, _H.PUT_OUT): _S.AWAITING_SERVER,
    (_S.CONNECTED, _H.REFUSED): _S.ENDED,
    (_S.CONNECTED, _H.CLOSE): _S.ENDED,
    (_S.BACKING_OFF, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.BACKING_OFF, _H.SERVER_GONE): _S.AWAITING_SERVER,
    (_S.BACKING_OFF, _H.TIME): _S.IDENTIFYING,
    (_S.BACKING_OFF, _H.CLOSE): _S.ENDED,
    (_S.AWAITING_SERVER, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.AWAITING_SERVER, _H.SERVER_GONE): _S.AWAITING_SERVER,
    (_S.AWAITING_SERVER, _H.TIME): _S.ENDED,
    (_S.AWAITING_SERVER, _H.CLOSE): _S.ENDED,
    # Whoever asked has not heard of the end yet.
    (_S.ENDED, _H.NEW_SERVER): _S.IDENTIFYING,
    (_S.ENDED, _H.CLOSE): _S.ENDED,
}

_OF_ACTION: Final = {
    CloseAction.STOP: Happening.REFUSED,
    CloseAction.STOP_AND_BACK_OFF: Happening.REFUSED,
    CloseAction.NEW_SESSION: Happening.SESSION_VOID,
    CloseAction.GRACE_WAIT: Happening.PUT_OUT,
    CloseAction.RESUME: Happening.LOST,
}
_TERMINAL_ERRORS: Final = frozenset(
    {
        ErrorCode.AUTHENTICATION,
        ErrorCode.CERTIFICATE,
        ErrorCode.DAVE_REQUIRED,
        ErrorCode.NO_COMMON_MODE,
    }
)


def happening_of(error: CallError) -> Happening:
    """Return what an error of a connection, or of an attempt at one, means for the call."""
    code = error.data.get("close_code")
    if isinstance(code, int):
        return _OF_ACTION[close_policy(code).action]
    return Happening.REFUSED if error.code in _TERMINAL_ERRORS else Happening.LOST


class CallLifecycle:
    """One call's life, from the first credentials to its end.

    Until it has been connected with the credentials at hand, nothing is tried again: who handed them over is
    told at once what is wrong.

    Parameters
    ----------
    policy
        How patient it is.
    jitter
        Returns a number in [0, 1); pauses are shortened by up to half of themselves, so that calls which
        broke together do not come back together.
    """

    def __init__(
        self, policy: LifecyclePolicy | None = None, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._policy = policy or LifecyclePolicy()
        self._jitter = jitter
        self._state = CallState.IDLE
        self._moves: deque[str] = deque(maxlen=_REMEMBERED_MOVES)
        self._deadline: float | None = None
        self._error: CallError | None = None
        self._failures = 0
        self._flaps = 0
        self._was_connected = False
        self._connected_since: float | None = None

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._state

    @property
    def next_deadline(self) -> float | None:
        """When to call `tick`, in the clock of `now`; None while nothing is waited for."""
        return self._deadline

    # What happens. Each returns what is to be done, in order.

    def new_server(self, now: float) -> list[Step]:
        """Take note of credentials that replace any others."""
        self._failures = self._flaps = 0
        self._was_connected = False
        self._move(Happening.NEW_SERVER, now)
        return [Disconnect(), Connect(resume=False)]

    def server_gone(self, now: float) -> list[Step]:
        """Take note that the server is gone and the main gateway will name another."""
        before = self._state
        self._move(Happening.SERVER_GONE, now)
        if before is CallState.IDLE:
            return []
        self._deadline = now + self._policy.await_server_s
        self._error = CallError(
            ErrorCode.CONNECT_TIMEOUT,
            "the voice server went away and Discord named no other in time. Join the channel again.",
        )
        return [] if before is CallState.AWAITING_SERVER else [Disconnect(), WantServer(rejoin=False)]

    def ready(self, now: float) -> list[Step]:
        """Take note that the connection is set up."""
        self._move(Happening.READY, now)
        self._was_connected = True
        self._connected_since = now
        return []

    def failed(self, error: CallError, now: float) -> list[Step]:
        """Take note that a connection broke, or an attempt at one."""
        happening = happening_of(error)
        if not self._was_connected:
            happening = Happening.REFUSED
        self._error = error
        before = self._state
        if self._connected_since is not None:
            calm = now - self._connected_since >= self._policy.calm_s
            self._failures, self._flaps = (0, 0) if calm else (self._failures, self._flaps + 1)
        self._connected_since = None
        self._move(happening, now)
        if self._flaps >= self._policy.attempts:
            # It comes back each time and never stays: nobody is served by a call like that.
            return self._give_up()
        match self._state:
            case CallState.RESUMING:
                # Without letting go: sound goes on over the old UDP socket meanwhile.
                return [Connect(resume=True)]
            case CallState.BACKING_OFF:
                return self._back_off(now, at_once=before is CallState.RESUMING)
            case CallState.AWAITING_SERVER:
                rejoin = happening is Happening.SESSION_VOID
                patience_s = self._policy.await_server_s if rejoin else self._policy.grace_s
                self._deadline = now + patience_s
                return [Disconnect(), WantServer(rejoin=rejoin)]
            case _:
                return [Disconnect(), End(error)]

    def broken(self, error: CallError, now: float) -> list[Step]:
        """Take note that a connection is of no use any more, though its websocket may stand."""
        steps = self.failed(error, now)
        return self.failed(error, now) if self._state is CallState.RESUMING else steps

    def tick(self, now: float) -> list[Step]:
        """Do what is due."""
        if self._deadline is None or now < self._deadline:
            return []
        self._move(Happening.TIME, now)
        if self._state is CallState.IDENTIFYING:
            return [Connect(resume=False)]
        return [End(self._error)]

    def close(self, now: float) -> list[Step]:
        """Leave. A second time changes nothing."""
        over = self._state is CallState.ENDED
        self._move(Happening.CLOSE, now)
        return [] if over else [Disconnect(), End(None)]

    # How it is done.

    def _back_off(self, now: float, *, at_once: bool) -> list[Step]:
        policy = self._policy
        if not at_once:
            self._failures += 1
        if self._failures >= policy.attempts:
            return self._give_up()
        pause_s = 0.0
        if self._failures:
            longest_s = min(policy.first_pause_s * 2 ** (self._failures - 1), policy.longest_pause_s)
            pause_s = longest_s * (1 - self._jitter() / 2)
        self._deadline = now + pause_s
        return [Disconnect()]

    def _give_up(self) -> list[Step]:
        """End at a limit of the policy, which no row of the table knows."""
        self._state = CallState.ENDED
        return [Disconnect(), End(self._error)]

    def _move(self, happening: Happening, now: float) -> None:
        """Change the state; the only place where that is done, `_give_up` apart."""
        following = TRANSITIONS.get((self._state, happening))
        self._moves.append(f"{now:.3f} {self._state.value} + {happening.value}")
        if following is None:
            raise IllegalMoveError(
                f"{happening.value} cannot happen to a call that is {self._state.value}; "
                f"it went: {', '.join(self._moves)}"
            )
        self._state = following
        self._deadline = None
