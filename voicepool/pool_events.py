"""What a bot can learn of its pool: frozen events, handed to whoever listens on it.

::

    stop_listening = pool.listen(print)

    async for event in pool.events(voicepool.WorkerLost, voicepool.CallMoved):
        ...

Of each process instance come one `WorkerStarted` and one `WorkerLost`, also when it was asked to leave. Its
calls then come up elsewhere, each with a `CallMoved`, or end.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "CallMoved",
    "ConfigReloaded",
    "ExitReason",
    "MoveReason",
    "PoolEvent",
    "PoolScaled",
    "SettingRefused",
    "WorkerHeavy",
    "WorkerLooping",
    "WorkerLost",
    "WorkerShed",
    "WorkerStarted",
]


class ExitReason(enum.StrEnum):
    """Why a worker process ended."""

    ASKED = "asked"
    """The pool wanted it to: it closed, was scaled down, or the worker was replaced."""
    LEFT = "left"
    """It ended in order without being asked, for example by someone's SIGTERM."""
    CRASHED = "crashed"
    """It ended by an error, or by a signal that stands for one, such as SIGSEGV."""
    KILLED = "killed"
    """Someone else, the kernel at the end of its memory perhaps, sent SIGKILL."""
    HUNG = "hung"
    """It gave no sign of life for ``hang_timeout_s``; the pool ended it."""
    OVER_MEMORY = "over memory"
    """It grew far beyond ``memory_limit_mib`` before its calls had moved; the pool ended it."""
    NOT_STARTED = "not started"
    """It never became ready."""


class MoveReason(enum.StrEnum):
    """Why a call went on at another worker."""

    LOST = "lost"
    """Its worker was lost."""
    DRAINED = "drained"
    """Its worker was drained: by the bot, to scale down, or to be replaced."""
    RELIEVED = "relieved"
    """Its worker had too much to do, and the other had room."""


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker takes calls.

    Attributes
    ----------
    slot, worker
        Its place in the pool, and the name of the process instance.
    pid
        Of the process.
    """

    slot: int
    worker: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker process has ended.

    Attributes
    ----------
    slot, worker
        Its place in the pool, and the name of the process instance.
    reason
        Why.
    text
        The same as a sentence, with the signal or exit code.
    calls
        How many calls it held.
    """

    slot: int
    worker: str
    reason: ExitReason
    text: str
    calls: int


@dataclass(frozen=True, slots=True)
class WorkerLooping:
    """A worker ends again and again soon after its start; it is started ever more rarely.

    Attributes
    ----------
    slot
        Its place in the pool.
    failures
        How often in a row.
    pause_s
        Until the next start, in seconds.
    text
        How it ended last.
    """

    slot: int
    failures: int
    pause_s: float
    text: str


@dataclass(frozen=True, slots=True)
class WorkerHeavy:
    """A worker uses most of the memory it may.

    Attributes
    ----------
    slot, worker
        Its place in the pool, and the name of the process instance.
    pss_bytes, limit_bytes
        What it uses, its part of shared memory included, and ``memory_limit_mib``.
    replaced
        Whether the limit is reached, so that its calls move to a new worker now.
    """

    slot: int
    worker: str
    pss_bytes: int
    limit_bytes: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class WorkerShed:
    """A worker changed its Opus complexity because of what it has to encode.

    Attributes
    ----------
    slot, worker
        Its place in the pool, and the name of the process instance.
    complexity
        In force from now on; the configured one when it has recovered.
    """

    slot: int
    worker: str
    complexity: int


@dataclass(frozen=True, slots=True)
class CallMoved:
    """A call goes on at another worker.

    Attributes
    ----------
    guild_id
        Whose call it is.
    old, new
        Names of the workers.
    reason
        Why.
    gap_ms
        How long it could send nothing, in milliseconds.
    """

    guild_id: int
    old: str
    new: str
    reason: MoveReason
    gap_ms: float


@dataclass(frozen=True, slots=True)
class PoolScaled:
    """The number of workers that are wanted has changed.

    Attributes
    ----------
    before, after
        How many.
    reason
        ``scale``, ``config`` or ``autoscale``.
    """

    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """Other settings are in force.

    Attributes
    ----------
    changed
        Their names.
    replaced
        Whether workers are being replaced one by one, since some of these only hold for new ones.
    """

    changed: frozenset[str]
    replaced: bool


@dataclass(frozen=True, slots=True)
class SettingRefused:
    """A setting stays as it was when the others changed, since calls would have been lost by it.

    Attributes
    ----------
    key
        Its name.
    text
        What it stays, why, and the way out.
    """

    key: str
    text: str


PoolEvent = (
    WorkerStarted
    | WorkerLost
    | WorkerLooping
    | WorkerHeavy
    | WorkerShed
    | CallMoved
    | PoolScaled
    | ConfigReloaded
    | SettingRefused
)
