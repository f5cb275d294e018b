"""Which calls of lost workers are begun again next, and when: `RecoveryQueue`, and `Recovery`, which does it.

Whoever is heard comes first, then what is held, then idle calls. A call that was just opening a source when
its worker died comes after all of those, since that source may be what the worker died of: should it take the
next one along, the innocent are elsewhere by then, and stay out of suspicion.

The rate is bounded, so that the workers that are left are not drowned in handshakes and sources to be opened.
A call is in the queue once at most.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.errors import (
    CallGoneError,
    InternalError,
    PoolFullError,
    VoicePoolError,
    WorkerError,
    WorkerLostError,
)
from voicepool.ipc.ids import CallId

__all__ = ["Recovery", "RecoveryQueue", "Urgency"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

BURST_S: Final = 0.1
"""How much of the rate that was not used may be caught up on: timers are late by some milliseconds."""
_EPSILON_S: Final = 1e-9
_DOUBLINGS: Final = 32
"""More of them than any pause can take."""


class Urgency(enum.IntEnum):
    """How soon a call is begun again; the lowest first."""

    PLAYING = 0
    PAUSED = 1
    IDLE = 2
    SUSPECT = 3
    """It was opening a source when its worker died."""


@dataclasses.dataclass(slots=True)
class _Entry:
    urgency: Urgency
    number: int
    not_before: float


class RecoveryQueue:
    """[pure] The calls that wait to be begun again. All times are seconds of a monotonic clock.

    Parameters
    ----------
    rate_hz
        How many may begin each second.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._entries: dict[CallId, _Entry] = {}
        self._numbers = 0
        self._free_at = float("-inf")
        """When the next may begin as far as the rate is concerned."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._entries)

    def __contains__(self, call: object) -> bool:
        """Tell whether a call waits."""
        return call in self._entries

    def add(self, call: CallId, urgency: Urgency, *, not_before: float = float("-inf")) -> None:
        """Take in a call; one that waits already is put where it belongs now."""
        self._numbers += 1
        self._entries[call] = _Entry(urgency, self._numbers, not_before)

    def discard(self, call: CallId) -> None:
        """Take out a call, if it waits."""
        self._entries.pop(call, None)

    def next_at(self) -> float | None:
        """Return when `take` gives a call; None if none waits."""
        if not self._entries:
            return None
        return max(min(entry.not_before for entry in self._entries.values()), self._free_at)

    def take(self, now: float) -> CallId | None:
        """Take out the call that is to begin now; None if it is not time for any."""
        if now + _EPSILON_S < self._free_at:
            return None
        due = [call for call, entry in self._entries.items() if entry.not_before <= now + _EPSILON_S]
        if not due:
            return None
        call = min(due, key=lambda each: (self._entries[each].urgency, self._entries[each].number))
        del self._entries[call]
        self._free_at = max(self._free_at, now - BURST_S) + 1 / self.rate_hz
        return call


class Recoverable(Protocol):
    """What `Recovery` needs of a connection."""

    @property
    def call_id(self) -> CallId:
        """Identity of the call."""

    @property
    def guild_id(self) -> int:
        """ID of the guild."""

    @property
    def urgency(self) -> Urgency:
        """How soon it is to be begun again."""

    @property
    def seeks_worker(self) -> bool:
        """Whether no worker holds it."""

    @property
    def error(self) -> VoicePoolError | None:
        """Why it has ended; None while it has not, and if it was left."""

    async def begin_again(self) -> None:
        """Go on at another worker. See `voicepool.connection.BaseVoiceConnection`."""

    def give_up(self, error: VoicePoolError) -> None:
        """End."""


@dataclasses.dataclass(slots=True)
class _Effort:
    """What has been tried for one call since it was last up."""

    connection: Recoverable
    began_at: float
    failures: int = 0


class Recovery:
    """Begins calls again that have lost their workers, until they are up, or for too long in vain.

    Parameters
    ----------
    config
        The pool's.
    spawn
        Starts a task that someone else sees to the end of.
    now
        The clock, in seconds; None for that of the event loop.
    """

    def __init__(
        self,
        config: PoolConfig,
        *,
        spawn: Callable[[Coroutine[None, None, None], str], asyncio.Task[None]],
        now: Callable[[], float] | None = None,
    ) -> None:
        self.on_given_up: Callable[[], None] = lambda: None
        """Told of each call that could not be begun again. To be set by the pool."""
        self._config = config
        self._spawn = spawn
        self._now = now if now is not None else _loop_time
        self._queue = RecoveryQueue(config.recovery_rate_hz)
        self._efforts: dict[CallId, _Effort] = {}
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def configure(self, config: PoolConfig) -> None:
        """Go by other settings from now on."""
        self._config = config
        self._queue.rate_hz = config.recovery_rate_hz

    def add(self, connection: Recoverable, *, was_opening: bool = False) -> None:
        """Begin a call again when its turn has come.

        Parameters
        ----------
        connection
            Whose call.
        was_opening
            Whether it was opening a source when its worker died.
        """
        now = self._now()
        effort = self._efforts.get(connection.call_id)
        if effort is None:
            effort = self._efforts[connection.call_id] = _Effort(connection, now)
            not_before = now
        else:
            # The worker that took it over has died too.
            effort.failures += 1
            not_before = now + self._pause_s(effort.failures)
        if effort.failures >= self._config.reconnect_attempts:
            self._give_up(
                effort,
                WorkerLostError(
                    f"guild {connection.guild_id}: {effort.failures + 1} workers in a row were lost with the "
                    "call, as many as reconnect_attempts allows; see the log for what they died of"
                ),
            )
            return
        self._enter(effort, not_before, was_opening=was_opening)

    def discard(self, call: CallId) -> None:
        """Forget a call: it has ended, or is up."""
        self._efforts.pop(call, None)
        self._queue.discard(call)
        self._changed.set()

    # How it is done.

    def _enter(self, effort: _Effort, not_before: float, *, was_opening: bool = False) -> None:
        urgency = Urgency.SUSPECT if was_opening else effort.connection.urgency
        self._queue.add(effort.connection.call_id, urgency, not_before=not_before)
        self._changed.set()
        if self._runner is None or self._runner.done():
            self._runner = self._spawn(self._run(), "recovery")

    async def _run(self) -> None:
        while (due := self._queue.next_at()) is not None:
            call = self._queue.take(self._now())
            if call is not None:
                effort = self._efforts[call]
                self._spawn(self._begin(effort), f"recovery of guild {effort.connection.guild_id}")
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(max(due - self._now(), 0.0)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _begin(self, effort: _Effort) -> None:
        connection = effort.connection
        try:
            await connection.begin_again()
        except PoolFullError as error:
            # A worker that is being started makes room.
            if self._now() - effort.began_at >= self._config.server_wait_s:
                self._give_up(effort, error)
            else:
                self._try_again(effort)
        except WorkerError as error:
            if effort.failures + 1 >= self._config.reconnect_attempts:
                self._give_up(effort, error)
            else:
                self._try_again(effort)
        except VoicePoolError as error:
            self._give_up(effort, error)
        except Exception as error:
            # Else it would be silent for ever, and nobody would know.
            _LOGGER.exception(
                "guild %s: its call cannot be begun again",
                connection.guild_id,
                extra=about(guild=connection.guild_id),
            )
            self._give_up(effort, InternalError(f"voicepool failed: {error!r}; the log has the traceback"))
        else:
            if not connection.seeks_worker:
                self.discard(connection.call_id)
            if not isinstance(connection.error, CallGoneError | None):
                # The worker that was to take it over could not reach its voice server, for example.
                self.on_given_up()

    def _try_again(self, effort: _Effort) -> None:
        effort.failures += 1
        if self._efforts.get(effort.connection.call_id) is effort:
            self._enter(effort, self._now() + self._pause_s(effort.failures))

    def _pause_s(self, failures: int) -> float:
        first_s, longest_s = self._config.reconnect_first_pause_s, self._config.reconnect_longest_pause_s
        return float(min(first_s * 2.0 ** min(failures - 1, _DOUBLINGS), longest_s))

    def _give_up(self, effort: _Effort, error: VoicePoolError) -> None:
        if self._efforts.get(effort.connection.call_id) is not effort:
            # It has ended meanwhile, and is not lost.
            return
        self.discard(effort.connection.call_id)
        self.on_given_up()
        effort.connection.give_up(error)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
