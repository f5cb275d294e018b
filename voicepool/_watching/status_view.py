"""[pure] What ``voicepool top`` is told: one JSON object, without anything secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from voicepool.pool_events import ExitReason
from voicepool.stats import CallFigures, PoolStats, WorkerInfo
from voicepool.stutters import Stutter, StutterCause

if TYPE_CHECKING:
    from voicepool._watching.observatory import View

__all__ = ["SHOWN_CALLS", "CallStatus", "Playing", "Status", "WorkerStatus", "read", "status_of", "write"]

SHOWN_CALLS: Final = 500
"""Those that suffered last, and then the oldest; all others are only counted."""
_SHOWN_CHARACTERS: Final = 120
_STATUS_VERSION: Final = 1


class Playing(msgspec.Struct, frozen=True, kw_only=True):
    """What a call plays, and where.

    Attributes
    ----------
    guild, channel
        Their IDs.
    state
        ``playing``, ``paused``, ``silent`` or ``interrupted``.
    label
        Title of the main track, or the short name of its source; empty without one.
    position_s
        Where in it, in seconds.
    """

    guild: int
    channel: int
    state: str
    label: str = ""
    position_s: float = 0.0


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. Counters run since its process started, but for `restarts`; units are in the names."""

    slot: int
    name: str
    state: str
    pid: int | None
    core: int | None
    calls: int
    restarts: int
    last_error: str | None
    rtt_ms: float | None
    cpu_share: float | None = None
    encoder_share: float = 0.0
    complexity: int | None = None
    best_complexity: int | None = None
    """The configured one: `complexity` is lower while there is too much to encode."""
    memory_bytes: int | None = None
    frames_sent: int = 0
    frames_nulled: int = 0
    ticks_skipped: int = 0
    rescues: int = 0
    loop_lag_ms: float = 0.0
    uptime_s: float | None = None
    lateness_counts: list[int] = []
    """Of `voicepool.ipc.histogram`."""
    lateness_max_us: int = 0


class CallStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Counters run since it began; units are in the names."""

    worker: str
    playing: Playing
    frames_sent: int = 0
    frames_nulled: int = 0
    ring_low: int = 0
    gateway_rtt_ms: float | None = None
    dave_version: int = 0
    stutters: dict[str, int] = {}
    suffered_s: float | None = None
    """How long ago it stuttered last; None if it has not, or that is too long ago to be known."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at one instant."""

    version: int = _STATUS_VERSION
    pid: int
    program: str
    """Name of the file that the bot's process runs."""
    at_s: float
    """By the monotonic clock of that process."""
    workers: list[WorkerStatus]
    wanted: int
    calls: list[CallStatus]
    calls_total: int
    stutters: dict[str, int]
    exits: dict[str, int]
    recovered: int
    moved: int
    lost: int


def status_of(
    view: View, playing: Sequence[Playing], stutters: Sequence[Stutter], *, pid: int, program: str
) -> Status:
    """Return what is told. May run in any thread.

    Parameters
    ----------
    view
        What was seen of the pool.
    playing
        What each call plays.
    stutters
        The newest, of all calls.
    pid, program
        Of the bot's process.
    """
    stats = view.stats()
    suffered_s = {each.guild_id: view.taken_at_s - each.at_s for each in stutters}
    by_guild = {each.guild: each for each in playing}
    shown = [call for call in stats.calls if call.guild_id in by_guild]
    # Sorting keeps the order of those that have not suffered: the oldest first.
    shown.sort(key=lambda call: suffered_s.get(call.guild_id, float("inf")))
    return Status(
        pid=pid,
        program=program,
        at_s=view.taken_at_s,
        workers=_workers(view, stats),
        wanted=stats.workers_wanted,
        calls=[
            _call(call, by_guild[call.guild_id], suffered_s.get(call.guild_id))
            for call in shown[:SHOWN_CALLS]
        ],
        calls_total=len(playing),
        stutters=_plain(stats.stutters),
        exits=_plain(stats.exits),
        recovered=stats.calls_recovered,
        moved=stats.calls_moved,
        lost=stats.calls_lost,
    )


def write(status: Status) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode(status)


def read(text: bytes) -> Status:
    """Return it from JSON.

    Raises
    ------
    msgspec.DecodeError
        It is no status of this version.
    """
    status = msgspec.json.decode(text, type=Status)
    if status.version != _STATUS_VERSION:
        raise msgspec.DecodeError(f"version {status.version} of the status is not {_STATUS_VERSION}")
    return status


def _workers(view: View, stats: PoolStats) -> list[WorkerStatus]:
    figures = {worker.name: worker for worker in stats.workers}
    reports = {str(report.worker): report for report, _ in view.reports}
    instances = {
        name: each for sheet in view.photograph.slots.values() for name, each in sheet.instances.items()
    }
    found = []
    for info in view.workers:
        status = _worker(info)
        worker, report = figures.get(info.name), reports.get(info.name)
        if worker is not None and report is not None:
            status = msgspec.structs.replace(
                status,
                cpu_share=worker.cpu_share,
                encoder_share=worker.encoder_share,
                complexity=worker.complexity,
                best_complexity=instances[info.name].best_complexity if info.name in instances else None,
                memory_bytes=worker.rss_bytes if worker.pss_bytes is None else worker.pss_bytes,
                frames_sent=worker.frames_sent,
                frames_nulled=worker.frames_nulled,
                ticks_skipped=worker.ticks_skipped,
                rescues=worker.rescues,
                uptime_s=worker.uptime_s,
                loop_lag_ms=worker.loop_lag_ms,
                lateness_counts=list(report.lateness_counts),
                lateness_max_us=report.lateness_max_us,
            )
        found.append(status)
    return found


def _worker(info: WorkerInfo) -> WorkerStatus:
    return WorkerStatus(
        slot=info.slot,
        name=info.name,
        state=info.state.value,
        pid=info.pid,
        core=info.core,
        calls=info.calls,
        restarts=info.restarts,
        last_error=None if info.last_error is None else _short(info.last_error),
        rtt_ms=info.rtt_ms,
    )


def _call(call: CallFigures, playing: Playing, suffered_s: float | None) -> CallStatus:
    return CallStatus(
        worker=call.worker,
        playing=msgspec.structs.replace(playing, label=_short(playing.label)),
        frames_sent=call.frames_sent,
        frames_nulled=call.frames_nulled,
        ring_low=call.ring_low,
        gateway_rtt_ms=call.gateway_rtt_ms,
        dave_version=call.dave_version,
        stutters=_plain(call.stutters),
        suffered_s=suffered_s,
    )


def _plain(counts: Mapping[StutterCause, int] | Mapping[ExitReason, int]) -> dict[str, int]:
    return {name.value: count for name, count in counts.items()}


def _short(text: str) -> str:
    """Return the first line of a text, bounded, and without what would move a terminal's cursor."""
    line = "".join(letter if letter.isprintable() else " " for letter in text.partition("\n")[0])
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 1]}…"
