"""[pure] From two statuses of a pool to what ``voicepool top`` shows of the time between them."""

from __future__ import annotations

from typing import Final

import msgspec

from voicepool._watching.status_view import CallStatus, Status, WorkerStatus
from voicepool.ipc.histogram import LatenessHistogram

__all__ = ["CallRow", "TopView", "WorkerRow", "advance", "compare", "has_news"]

FRAME_MS: Final = 20
_MIB: Final = 1 << 20
_RECENT_S: Final = 60.0
"""A call that stuttered less long ago than this stays among the first."""


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker: shares of a core, milliseconds, mebibytes.

    Its lateness, `stalled_ms` (what was given up, since its sending thread did not run) and `rescues` are of
    the time between.
    """

    name: str
    state: str
    pid: int | None
    core: int | None
    calls: int
    cpu_share: float | None
    encoder_share: float
    complexity: int | None
    best_complexity: int | None
    late_p99_ms: float
    late_max_ms: float
    memory_mib: float | None
    restarts: int
    rtt_ms: float | None
    last_error: str | None
    uptime_s: float | None
    stalled_ms: float
    rescues: int
    loop_lag_ms: float


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `troubles` are its stutters of the time between, `before` all there were earlier."""

    guild: int
    channel: int
    worker: str
    state: str
    label: str
    position_s: float
    ring_low: int
    rtt_ms: float | None
    dave_version: int
    troubles: dict[str, int]
    before: dict[str, int]
    suffered_s: float | None


class TopView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown. `sent_hz` and `nulled_hz` are frames of 20 ms a second, over all workers."""

    pid: int
    program: str
    span_s: float
    workers: list[WorkerRow]
    wanted: int
    calls: list[CallRow]
    calls_total: int
    sent_hz: float
    nulled_hz: float
    stutters: dict[str, int]
    exits: dict[str, int]
    recovered: int
    moved: int
    lost: int


def compare(before: Status, now: Status) -> TopView:
    """Return what is to be shown; calls that suffer come first.

    Parameters
    ----------
    before, now
        Of the same pool.
    """
    earlier = {worker.name: worker for worker in before.workers}
    earlier_calls = _by_guild(before)
    calls = [_call(earlier_calls.get(call.playing.guild), call) for call in now.calls]
    return TopView(
        pid=now.pid,
        program=now.program,
        span_s=now.at_s - before.at_s,
        workers=[_worker(earlier.get(worker.name), worker) for worker in now.workers],
        wanted=now.wanted,
        calls=sorted(calls, key=_suffering),
        calls_total=now.calls_total,
        sent_hz=sum(_rate_hz(earlier.get(worker.name), worker, "frames_sent") for worker in now.workers),
        nulled_hz=sum(_rate_hz(earlier.get(worker.name), worker, "frames_nulled") for worker in now.workers),
        stutters=now.stutters,
        exits=now.exits,
        recovered=now.recovered,
        moved=now.moved,
        lost=now.lost,
    )


def has_news(before: Status, now: Status) -> bool:
    """Say whether all workers that report at all have done so between two statuses of a pool."""
    reporting = {worker.name for worker in now.workers if worker.uptime_s is not None}
    return bool(reporting) and reporting <= _reported(before, now)


def advance(before: Status, last: Status, now: Status) -> Status:
    """Return what to compare a status with, so that a worker's last report is shown until the next.

    Parameters
    ----------
    before
        What the last one was compared with.
    last, now
        The last status, and the one after it.
    """
    reported = _reported(last, now)
    if not reported:
        return before
    workers, calls = {each.name: each for each in before.workers}, _by_guild(before)
    workers |= {each.name: each for each in last.workers if each.name in reported}
    last_calls, listed = _by_guild(last), _by_guild(now)
    for call in now.calls:
        if call.worker in reported and call.playing.guild in last_calls:
            calls[call.playing.guild] = last_calls[call.playing.guild]
    present = {each.name for each in now.workers}
    return msgspec.structs.replace(
        last,
        workers=[each for name, each in workers.items() if name in present],
        calls=[each for guild, each in calls.items() if guild in listed],
    )


def _reported(before: Status, now: Status) -> set[str]:
    """Return the workers that have reported in between."""
    earlier = {worker.name: worker.uptime_s for worker in before.workers}
    return {worker.name for worker in now.workers if worker.uptime_s not in {None, earlier.get(worker.name)}}


def _by_guild(status: Status) -> dict[int, CallStatus]:
    return {call.playing.guild: call for call in status.calls}


def _worker(before: WorkerStatus | None, now: WorkerStatus) -> WorkerRow:
    late = LatenessHistogram(now.lateness_counts, now.lateness_max_us)
    if before is not None:
        late = late.since(LatenessHistogram(before.lateness_counts, before.lateness_max_us))
    return WorkerRow(
        name=now.name or f"w{now.slot}",
        state=now.state,
        pid=now.pid,
        core=now.core,
        calls=now.calls,
        cpu_share=now.cpu_share,
        encoder_share=now.encoder_share,
        complexity=now.complexity,
        best_complexity=now.best_complexity,
        late_p99_ms=late.percentile_ms(99),
        late_max_ms=late.max_us / 1_000,
        memory_mib=None if now.memory_bytes is None else now.memory_bytes / _MIB,
        restarts=now.restarts,
        rtt_ms=now.rtt_ms,
        last_error=now.last_error,
        uptime_s=now.uptime_s,
        stalled_ms=_risen(before, now, "ticks_skipped") * FRAME_MS,
        rescues=_risen(before, now, "rescues"),
        loop_lag_ms=now.loop_lag_ms,
    )


def _call(before: CallStatus | None, now: CallStatus) -> CallRow:
    earlier = {} if before is None else before.stutters
    troubles = {cause: count - earlier.get(cause, 0) for cause, count in now.stutters.items()}
    return CallRow(
        guild=now.playing.guild,
        channel=now.playing.channel,
        worker=now.worker,
        state=now.playing.state,
        label=now.playing.label,
        position_s=now.playing.position_s,
        ring_low=now.ring_low,
        rtt_ms=now.gateway_rtt_ms,
        dave_version=now.dave_version,
        troubles={cause: count for cause, count in troubles.items() if count > 0},
        before=earlier,
        suffered_s=now.suffered_s,
    )


def _risen(before: WorkerStatus | None, now: WorkerStatus, counter: str) -> int:
    # A process that is new has done all it ever did just now, but nobody knows in what time.
    return 0 if before is None else getattr(now, counter) - getattr(before, counter)


def _rate_hz(before: WorkerStatus | None, now: WorkerStatus, counter: str) -> float:
    """Return how fast a counter rose, by the clock of the worker: it does not report when it is looked at."""
    if before is None or before.uptime_s is None or now.uptime_s is None or now.uptime_s <= before.uptime_s:
        return 0.0
    return _risen(before, now, counter) / (now.uptime_s - before.uptime_s)


def _suffering(call: CallRow) -> tuple[int, bool, float, int]:
    is_interrupted = call.state == "interrupted"
    recent = call.suffered_s is not None and call.suffered_s < _RECENT_S
    since_s = call.suffered_s if recent and call.suffered_s is not None else _RECENT_S
    return -sum(call.troubles.values()) - 1_000 * is_interrupted, not recent, since_s, call.guild
