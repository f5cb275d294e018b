"""What a pool knows of itself: frozen snapshots for bot authors, dashboards and tests."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["CallFigures", "Lateness", "PoolStats", "WorkerInfo", "WorkerState", "WorkerStats"]


class WorkerState(enum.StrEnum):
    """Where one of the pool's workers stands."""

    STARTING = "starting"
    """Its process is coming up."""
    READY = "ready"
    """It takes calls."""
    RESTARTING = "restarting"
    """It was lost; a new process follows after a pause that grows with each failure."""
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
        Process id; None unless ready.
    core
        The core it is pinned to; None when it is not.
    calls
        How many calls it holds.
    restarts
        How often it was started again.
    last_error
        Why it was last lost or could not be started; None if that never happened.
    libopus, libopus_origin
        Version of its libopus, and ``system``, ``pyav`` or ``configured``. Empty unless ready.
    loop
        ``uvloop`` or ``asyncio``. Empty unless ready.
    encoder_class, pacing_class
        Scheduling classes that its encoder and its pacing thread got. Empty unless ready.
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late packets left, against the instant each was due. Milliseconds; 0.0 when none has left."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0


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
        How often the encoder was lifted out of the idle scheduling class because frames ran low.
    lateness
        Of its packets.
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    """The latest figures of one call. Counters run since its worker took it.

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """The latest known figures of a pool, as of the workers' last reports.

    Attributes
    ----------
    workers
        One entry for each running worker that has reported.
    calls
        One entry for each call that a worker has reported.
    frames_sent, frames_nulled, ticks_skipped
        Sums over `workers`.
    lateness
        Over the packets of all of them.
    unreadable_messages
        Messages from workers that could not be read; anything but 0 is a defect.
    """

    workers: tuple[WorkerStats, ...] = ()
    calls: tuple[CallFigures, ...] = ()
    frames_sent: int = 0
    frames_nulled: int = 0
    ticks_skipped: int = 0
    lateness: Lateness = dataclasses.field(default_factory=Lateness)
    unreadable_messages: int = 0
