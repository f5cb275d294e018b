"""How a call stays up: what follows when a connection is lost, refused or replaced [pure].

Events go in with the time, `Step`s come out; the session carries them out. The states, and where each event
leads from them, are the table in `callstates`.

A resume is tried once, at once: the server keeps our session for a while. If that fails, what follows is an
identify, with growing pauses and a limit. What only the main gateway can mend (a session that is void, a
server that is gone, a move) is awaited; if nothing comes in time, the call is over.

Who asks for a call for the first time is told at once what is wrong with it: until a call has been up,
nothing is tried again. From then on it is mended, also with credentials that have never worked yet, because
Discord may name a voice server some moments before that server listens. A call that was up at another worker
has been up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicepool.ipc.commands import WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.callstates import TRANSITIONS, CallState, Happening
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import CloseAction, close_policy
from voicepool.workers.statemachine import StateMachine

__all__ = [
    "CallLifecycle",
    "Connect",
    "Disconnect",
    "End",
    "LifecyclePolicy",
    "Step",
    "WantServer",
]

_MOVES_KEPT: Final = 12
_DOUBLINGS: Final = 32
"""More of them than any pause can take."""


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
    error
        What happened; None if Discord took the server away and will name another.
    """

    rejoin: bool
    error: CallError | None = None


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
        Before the second attempt to identify, or the second request to join again; it doubles each time up to
        the longest.
    attempts
        Attempts to identify in a row before the call is given up; likewise sessions in a row that were void,
        and connections in a row that broke before they were calm.
    await_server_s
        How long new credentials may take after the session or server is gone.
    grace_s
        How long the main gateway may take to say why we were put out.
    calm_s
        A connection that held so long makes all counting start over.
    """

    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0
    attempts: int = 8
    await_server_s: float = 30.0
    grace_s: float = 5.0
    calm_s: float = 30.0

    @classmethod
    def of(cls, settings: WorkerSettings) -> LifecyclePolicy:
        """Return what the bot's config asks for."""
        return cls(
            first_pause_s=settings.reconnect_first_pause_s,
            longest_pause_s=settings.reconnect_longest_pause_s,
            attempts=settings.reconnect_attempts,
            await_server_s=settings.server_wait_s,
            grace_s=settings.removal_grace_s,
        )


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
        self._machine = StateMachine(TRANSITIONS, CallState.IDLE, moves_kept=_MOVES_KEPT)
        self._deadline: float | None = None
        self._error: CallError | None = None
        self._has_been_up = False
        self._connected_since: float | None = None
        self._failures = 0
        """Attempts to identify in vain, with the credentials at hand."""
        self._voids = 0
        """Sessions that were void."""
        self._flaps = 0
        """Connections that broke before they were calm."""

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._machine.state

    @property
    def next_deadline(self) -> float | None:
        """When to call `tick`, in the clock of `now`; None while nothing is waited for."""
        return self._deadline

    # What happens. Each returns what is to be done, in order.

    def new_server(self, now: float, *, takes_over: bool = False) -> list[Step]:
        """Take note of credentials that replace any others; and of a call that was up elsewhere."""
        self._has_been_up = self._has_been_up or takes_over
        self._count_calm(now)
        self._failures = 0
        self._move(Happening.NEW_SERVER, now)
        return [Disconnect(), Connect(resume=False)]

    def server_gone(self, now: float) -> list[Step]:
        """Take note that the server is gone and the main gateway will name another."""
        self._count_calm(now)
        before = self.state
        if self._move(Happening.SERVER_GONE, now) is not CallState.AWAITING_SERVER:
            return []
        self._deadline = now + self._policy.await_server_s
        self._error = CallError(
            ErrorCode.CONNECT_TIMEOUT,
            "the voice server went away and Discord named no other within "
            f"{self._policy.await_server_s:g} s. Join the channel again.",
        )
        return [] if before is CallState.AWAITING_SERVER else [Disconnect(), WantServer(rejoin=False)]

    def ready(self, now: float) -> list[Step]:
        """Take note that the connection is set up."""
        self._move(Happening.READY, now)
        self._has_been_up = True
        self._connected_since = now
        return []

    def failed(self, error: CallError, now: float) -> list[Step]:
        """Take note that a connection broke, or an attempt at one."""
        self._error = error
        before = self.state
        happening = self._judge(error, now)
        match self._move(happening, now):
            case CallState.RESUMING:
                # Without letting go: sound goes on over the old UDP socket meanwhile.
                return [Connect(resume=True)]
            case CallState.BACKING_OFF:
                # After a resume at once: that was no attempt to identify.
                self._deadline = now + self._pause_s(0 if before is CallState.RESUMING else self._failures)
                return [Disconnect()]
            case CallState.REJOINING:
                self._deadline = now + self._pause_s(self._voids - 1)
                return [Disconnect()]
            case CallState.AWAITING_SERVER:
                self._deadline = now + self._policy.grace_s
                return [Disconnect(), WantServer(rejoin=False, error=error)]
            case _:
                return [Disconnect(), End(error)]

    def broken(self, error: CallError, now: float) -> list[Step]:
        """Take note that a connection is of no use any more, though its websocket may stand."""
        steps = self.failed(error, now)
        return self.failed(error, now) if self.state is CallState.RESUMING else steps

    def tick(self, now: float) -> list[Step]:
        """Do what is due."""
        if self._deadline is None or now < self._deadline:
            return []
        match self._move(Happening.TIME, now):
            case CallState.IDENTIFYING:
                return [Connect(resume=False)]
            case CallState.AWAITING_SERVER:
                self._deadline = now + self._policy.await_server_s
                return [WantServer(rejoin=True, error=self._error)]
            case _:
                return [End(self._error)]

    def close(self, now: float) -> list[Step]:
        """Leave. A second time changes nothing."""
        over = self.state is CallState.ENDED
        self._move(Happening.CLOSE, now)
        return [] if over else [Disconnect(), End(None)]

    # How it is done.

    def _judge(self, error: CallError, now: float) -> Happening:
        """Return what a failure is here, after counting it."""
        if not self._has_been_up:
            return Happening.REFUSED
        happening = happening_of(error)
        was_connected = self._connected_since is not None
        self._count_calm(now)
        if happening not in {Happening.LOST, Happening.SESSION_VOID} or self.state is CallState.RESUMING:
            return happening
        self._flaps += was_connected
        if happening is Happening.SESSION_VOID:
            self._voids += 1
        elif not was_connected:
            self._failures += 1
        patient = max(self._flaps, self._voids, self._failures) < self._policy.attempts
        return happening if patient else Happening.EXHAUSTED

    def _count_calm(self, now: float) -> None:
        """Forget all failures if the connection that is over, if any, was a calm one."""
        since, self._connected_since = self._connected_since, None
        if since is not None and now - since >= self._policy.calm_s:
            self._failures = self._voids = self._flaps = 0

    def _pause_s(self, number: int) -> float:
        """Return how long to wait before trying the same thing for the `number`-th time again."""
        if number == 0:
            return 0.0
        policy = self._policy
        longest_s = min(policy.first_pause_s * 2.0 ** min(number - 1, _DOUBLINGS), policy.longest_pause_s)
        return longest_s * (1 - self._jitter() / 2)

    def _move(self, happening: Happening, now: float) -> CallState:
        following = self._machine.move(happening, now=now)
        self._deadline = None
        return following
