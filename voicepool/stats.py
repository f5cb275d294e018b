"""What a pool knows of itself: frozen snapshots for bot authors, dashboards and tests.

Counters of a worker process, in `WorkerStats`, begin anew with each process. Those of `SlotTotals`,
`CallFigures` and `PoolStats` never fall: they take over what processes that have ended had counted, up to
their last report. What was heard of it all, and why, is in `voicepool.stutters`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final

from voicepool.pool_events import ExitReason
from voicepool.stutters import Stutter, StutterCause

__all__ = [
    "CallFigures",
    "Gaps",
    "Lateness",
    "PoolStats",
    "SlotTotals",
    "Stutter",
    "StutterCause",
    "WorkerInfo",
    "WorkerState",
    "WorkerStats",
]

_GAP_BOUNDS_MS: Final = (50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000)


class WorkerState(enum.StrEnum):
    """Where one of the pool's workers stands."""

    STARTING = "starting"
    """Its process is coming up."""
    READY = "ready"
    """It takes calls."""
    SPARE = "spare"
    """It is up and warm, and takes calls only when another worker is lost."""
    DRAINING = "draining"
    """It takes no further calls, and those it holds move to others."""
    RESTARTING = "restarting"
    """It was lost; a new process follows after a pause that grows with each failure."""
    LOOPING = "looping"
    """It ended again and again soon after its start; a new process follows after a long pause."""
    STOPPED = "stopped"
    """It has ended, or was never started."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One of the pool's workers.

    Attributes
    ----------
    slot
        Its place in the pool, from 0; kept over restarts.
    name
        Of the process instance, for example ``w0.2``: slot 0, second start. Empty before the first.
    state
        Where it stands.
    pid
        Process id; None unless it is up.
    core
        The core it is pinned to; None when it is not.
    calls
        How many calls it holds.
    restarts
        How often it was started again.
    last_error
        Why it was last lost or could not be started; None if that never happened.
    libopus, libopus_origin
        Version of its libopus, and ``system``, ``pyav`` or ``configured``. Empty unless it is up.
    loop
        ``uvloop`` or ``asyncio``. Empty unless it is up.
    encoder_class, pacing_class
        Scheduling classes that its encoder and its pacing thread got. Empty unless it is up.
    rtt_ms
        How long it took to answer the last heartbeat, in milliseconds; None before the first.
    exits
        How often a process in this place has ended, by reason.
    """

    slot: int
    name: str
    state: WorkerState
    pid: int | None = None
    core: int | None = None
    calls: int = 0
    restarts: int = 0
    last_error: str | None = None
    libopus: str = ""
    libopus_origin: str = ""
    loop: str = ""
    encoder_class: str = ""
    pacing_class: str = ""
    rtt_ms: float | None = None
    exits: Mapping[ExitReason, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late packets left, against the instant each was due. Milliseconds; 0.0 when none has left.

    Attributes
    ----------
    p50_ms, p99_ms, p999_ms, max_ms
        Percentiles, each known to within 1/8, and the largest.
    packets
        How many were measured.
    sum_ms
        The lateness of all of them together, in milliseconds, known to within 1/16.
    buckets
        Pairs of a bound in milliseconds and how many packets were no later than that, bounds ascending. Those
        later than the last bound are only in `packets`.
    """

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    packets: int = dataclasses.field(default=0, compare=False)
    sum_ms: float = dataclasses.field(default=0.0, compare=False, repr=False)
    buckets: tuple[tuple[float, int], ...] = dataclasses.field(default=(), compare=False, repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """How long calls could send nothing while they went from one worker to another.

    Attributes
    ----------
    count
        How many gaps.
    sum_ms, max_ms
        All of them together, and the longest, in milliseconds.
    buckets
        Pairs of a bound in milliseconds and how many gaps were no longer than that, bounds ascending. Those
        longer than the last bound are only in `count`.
    """

    count: int = 0
    sum_ms: float = 0.0
    max_ms: float = 0.0
    buckets: tuple[tuple[float, int], ...] = tuple((float(bound), 0) for bound in _GAP_BOUNDS_MS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStats:
    """The latest figures of one running worker process. Counters run since it started.

    Attributes
    ----------
    name
        As in `WorkerInfo`.
    calls
        Calls it held when it reported.
    cpu_s, encode_cpu_s, pacing_cpu_s
        CPU time in seconds: of the process, its encoder threads, its pacing thread.
    cpu_share
        CPU time per wall time between the last two reports, 1.0 being a whole core; None before the second.
    uptime_s
        Age of the process when it reported, in seconds.
    rss_bytes
        Resident memory.
    frames_sent
        Packets sent, audio and silence, 20 ms each.
    frames_nulled
        Times a playing call had nothing ready to send.
    ticks_skipped
        20 ms ticks given up after a stall.
    rescues
        How often another encoder thread took over from the one in the idle class because frames ran low.
    lateness
        Of its packets.
    pss_bytes
        Memory, its part of what is shared included; None where the platform does not tell.
    complexity
        Opus complexity in force; lower than the configured one while there is too much to encode.
    sheds
        How often it was lowered.
    encoder_share
        Time the encoder threads were at work, per wall time, between the last two regular reports.
    encoder_class
        Scheduling class of the encoder now: ``idle``, or ``normal`` during a rescue.
    decode_s, opus_s, seal_s
        Time spent on decoding sources, on libopus, and on both encryptions and sending; estimated, seconds.
    loop_lag_ms
        The longest time that its control loop was late between the last two regular reports.
    stations
        Keys of the stations that it has on the air.
    dropped_reports
        Reports that were not sent, since the bot read none.
    """

    name: str
    calls: int
    cpu_s: float
    encode_cpu_s: float
    pacing_cpu_s: float
    cpu_share: float | None
    uptime_s: float
    rss_bytes: int
    frames_sent: int
    frames_nulled: int
    ticks_skipped: int
    rescues: int
    lateness: Lateness
    pss_bytes: int | None = None
    complexity: int = 10
    sheds: int = 0
    encoder_share: float = 0.0
    encoder_class: str = ""
    decode_s: float = 0.0
    opus_s: float = 0.0
    seal_s: float = 0.0
    loop_lag_ms: float = 0.0
    stations: tuple[str, ...] = ()
    dropped_reports: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SlotTotals:
    """What one place of the pool has done, over all process instances it ever held. Nothing here ever falls.

    Attributes
    ----------
    slot
        ``w0`` for the first place.
    lateness
        Of all their packets.
    cpu_s, encode_cpu_s, pacing_cpu_s, decode_s, opus_s, seal_s
        Seconds, as in `WorkerStats`.
    frames_sent, frames_nulled, ticks_skipped, rescues, sheds, dropped_reports
        As in `WorkerStats`.
    """

    slot: str
    lateness: Lateness
    cpu_s: float = 0.0
    encode_cpu_s: float = 0.0
    pacing_cpu_s: float = 0.0
    decode_s: float = 0.0
    opus_s: float = 0.0
    seal_s: float = 0.0
    frames_sent: int = 0
    frames_nulled: int = 0
    ticks_skipped: int = 0
    rescues: int = 0
    sheds: int = 0
    dropped_reports: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    """The latest figures of one call. Counters run since it began, at whichever workers it was.

    Attributes
    ----------
    guild_id
        Whose call it is.
    worker
        Name of the worker that holds it.
    playing
        Whether a source was playing or held when it was reported.
    position_s
        Where in that source playback was, in seconds; what was skipped after a gap counts.
    frames_sent, silence_sent
        Frames of audio and of silence, 20 ms each.
    frames_nulled
        Times it had nothing ready to send.
    send_errors
        Packets that the operating system refused.
    gateway_rtt_ms
        Round trip of a heartbeat to the voice gateway in milliseconds; None before the first.
    messages_skipped
        Messages of the voice server, on the present connection, that were malformed, unknown or out of place.
    nulled_by_source, nulled_by_encoder
        Those of `frames_nulled` for which the source had sent nothing, or for which there was sound that was
        not encoded in time.
    frames_deficit
        Frames of 20 ms that its worker gave up after stalls while something played.
    ring_low
        The fewest encoded frames left between the last two reports; 0 is none to spare.
    reconnects
        Times the connection to the voice server was lost and made again, or resumed.
    dave_version
        Version of end-to-end encryption in use; 0 while there is none.
    dave_epochs
        Times the group changed its keys.
    dave_failures
        Frames that could not be encrypted, and messages of the group that could not be followed.
    stutters
        How often something was heard of it, by cause; see `Stutter`.
    """

    guild_id: int
    worker: str
    playing: bool
    position_s: float
    frames_sent: int
    silence_sent: int
    frames_nulled: int
    send_errors: int
    gateway_rtt_ms: float | None
    messages_skipped: int = 0
    nulled_by_source: int = 0
    nulled_by_encoder: int = 0
    frames_deficit: int = 0
    ring_low: int = 0
    reconnects: int = 0
    dave_version: int = 0
    dave_epochs: int = 0
    dave_failures: int = 0
    stutters: Mapping[StutterCause, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """The latest known figures of a pool, as of the workers' last reports. Its own counters never fall.

    Attributes
    ----------
    workers
        One entry for each running worker that has reported.
    slots
        One entry for each place that ever held a worker that has reported.
    calls
        One entry for each call that a worker has reported.
    frames_sent, frames_nulled, ticks_skipped
        Sums over `slots`.
    frames_deficit, silence_sent, send_errors, nulled_by_source, nulled_by_encoder
        As in `CallFigures`, of all calls that ever were.
    reconnects, dave_epochs, dave_failures
        The same.
    stutters
        The same, by cause.
    lateness
        Over the packets of all workers that ever were.
    unreadable_messages
        Messages from workers that could not be read; anything but 0 is a defect.
    workers_wanted
        How many workers there ought to be.
    exits
        How often a worker process has ended, by reason.
    calls_recovered, calls_moved
        Calls that went on at another worker: since theirs was lost, or on purpose.
    calls_lost
        Calls that ended because their worker was lost, and nothing could be done about it.
    gaps
        How long those that went on could send nothing.
    """

    workers: tuple[WorkerStats, ...] = ()
    slots: tuple[SlotTotals, ...] = ()
    calls: tuple[CallFigures, ...] = ()
    frames_sent: int = 0
    frames_nulled: int = 0
    ticks_skipped: int = 0
    frames_deficit: int = 0
    silence_sent: int = 0
    send_errors: int = 0
    nulled_by_source: int = 0
    nulled_by_encoder: int = 0
    reconnects: int = 0
    dave_epochs: int = 0
    dave_failures: int = 0
    stutters: Mapping[StutterCause, int] = dataclasses.field(default_factory=dict)
    lateness: Lateness = dataclasses.field(default_factory=Lateness)
    unreadable_messages: int = 0
    workers_wanted: int = 0
    exits: Mapping[ExitReason, int] = dataclasses.field(default_factory=dict)
    calls_recovered: int = 0
    calls_moved: int = 0
    calls_lost: int = 0
    gaps: Gaps = dataclasses.field(default_factory=Gaps)
