"""What was heard of a pool's troubles, and why: one name for each cause, one record for each bad second.

``pool.stutters()`` has the newest ones; how often each cause came is in `voicepool.stats.PoolStats` and
`voicepool.stats.CallFigures`, and in ``voicepool_stutters_total`` for Prometheus.
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Stutter", "StutterCause"]


class StutterCause(enum.StrEnum):
    """Why a call that played was not heard as it should have been."""

    SOURCE = "source starved"
    """The file, URL or stream had sent nothing."""
    ENCODER = "encoder behind"
    """There was sound, and it was not encoded in time."""
    OVERLOAD = "overloaded"
    """The same, in a worker whose encoder has no time left or has lowered its complexity already."""
    STALL = "pacing stalled"
    """The sending thread did not get to run: ticks were given up."""
    NETWORK = "network refused"
    """The operating system refused packets."""
    INTERRUPTED = "connection interrupted"
    """The connection to the voice server was lost."""
    ENCRYPTION = "encryption failed"
    """Frames could not be end-to-end encrypted (DAVE), for example while the group changed its keys."""
    WORKER_LOST = "worker lost"
    """Its worker process ended, and the call went on at another one."""
    MOVED = "moved"
    """It was moved to another worker on purpose."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stutter:
    """What one call suffered from one cause between two reports of its worker.

    Long troubles are a stutter in each report, so that counting them counts bad seconds (at the usual
    ``stats_interval_s`` of 1), as ITU-T G.826 counts errored ones.

    Attributes
    ----------
    guild_id
        Whose call it is.
    worker
        Name of the worker that held it.
    cause
        Why.
    frames
        How many frames of 20 ms were not heard, as far as it is known; 0 where it is not.
    at_s
        When it was noticed, in seconds of the monotonic clock of the pool's event loop.
    """

    guild_id: int
    worker: str
    cause: StutterCause
    frames: int
    at_s: float
