"""[pure] What a worker did between two of its reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram, upper_bound_us

__all__ = ["Snapshot", "Span", "buckets_us", "lateness_ms", "merged"]

_US: Final = 1e6
TAINTED_SHARE: Final = 0.02
"""From which share of foreign work on its core a span's figures are to be doubted."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a worker and its core.

    Attributes
    ----------
    stats
        The worker's report.
    core_busy_s, core_stolen_s
        How long its core has worked for anyone, and was kept back by the hypervisor; None if unknown.
    """

    stats: Stats
    core_busy_s: float | None = None
    core_stolen_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What happened between two snapshots of one worker.

    Attributes
    ----------
    seconds
        Its length by the worker's clock.
    frames
        Packets sent.
    nulled
        Times that a playing call had nothing ready: underruns.
    ticks_skipped
        20 ms ticks given up after a stall.
    rescues
        How often the encoder was lifted out of the idle class.
    cpu_s, encode_cpu_s, pacing_cpu_s
        CPU time of the process, its encoder threads, its pacing thread, in seconds.
    lateness
        Of the packets of this span; the maximum is known to within its bucket.
    foreign_share, stolen_share
        Share of the span in which the worker's core worked for others, or not at all because the hypervisor
        had given it away; None if unknown. See `TAINTED_SHARE`.
    """

    seconds: float
    frames: int
    nulled: int
    ticks_skipped: int
    rescues: int
    cpu_s: float
    encode_cpu_s: float
    pacing_cpu_s: float
    lateness: LatenessHistogram
    foreign_share: float | None = None
    stolen_share: float | None = None

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Self:
        """Return the span from one snapshot to a later one of the same worker.

        Raises
        ------
        ValueError
            They are of two workers, or in the wrong order.
        """
        then, now = before.stats, after.stats
        seconds = now.uptime_s - then.uptime_s
        if then.worker != now.worker:
            raise ValueError(f"{then.worker} was replaced by {now.worker}; its counters began anew")
        if seconds <= 0:
            raise ValueError("the snapshots are in the wrong order")
        cpu_s = now.cpu_s - then.cpu_s
        busy_s = _difference(before.core_busy_s, after.core_busy_s)
        stolen_s = _difference(before.core_stolen_s, after.core_stolen_s)
        return cls(
            seconds=seconds,
            frames=now.frames_sent - then.frames_sent,
            nulled=now.frames_nulled - then.frames_nulled,
            ticks_skipped=now.ticks_skipped - then.ticks_skipped,
            rescues=now.rescues - then.rescues,
            cpu_s=cpu_s,
            encode_cpu_s=now.encode_cpu_s - then.encode_cpu_s,
            pacing_cpu_s=now.pacing_cpu_s - then.pacing_cpu_s,
            lateness=_histogram(now).since(_histogram(then)),
            # The kernel counts in steps of 10 ms, so the difference may come out below zero.
            foreign_share=None if busy_s is None else max(0.0, busy_s - cpu_s) / seconds,
            stolen_share=None if stolen_s is None else stolen_s / seconds,
        )

    @property
    def cpu_share(self) -> float:
        """CPU time of the worker per wall time; 1.0 is a whole core."""
        return self.cpu_s / self.seconds

    def us_per_frame(self, cpu_s: float) -> float:
        """Return a CPU time of this span, in microseconds for each frame sent.

        Raises
        ------
        ValueError
            Nothing was sent.
        """
        if not self.frames:
            raise ValueError("nothing was sent in this span")
        return cpu_s / self.frames * _US

    @property
    def frame_us(self) -> float:
        """CPU time of the whole worker for each frame sent, in microseconds."""
        return self.us_per_frame(self.cpu_s)

    @property
    def encode_us(self) -> float:
        """CPU time of the encoder threads for each frame sent, in microseconds."""
        return self.us_per_frame(self.encode_cpu_s)

    @property
    def pacing_us(self) -> float:
        """CPU time of the pacing thread for each frame sent, in microseconds."""
        return self.us_per_frame(self.pacing_cpu_s)

    @property
    def control_us(self) -> float:
        """CPU time of everything else (control loop, ZeroMQ, gateways) for each frame sent, in microseconds."""
        return self.us_per_frame(self.cpu_s - self.encode_cpu_s - self.pacing_cpu_s)


    def doubts(self, group: str) -> list[str]:
        """Return what taints this span's figures, in sentences that name it `group`."""
        doubts = []
        for share, what in (
            (self.foreign_share, "worked for others"),
            (self.stolen_share, "was given away by the hypervisor"),
        ):
            if share is not None and share > TAINTED_SHARE:
                doubts.append(f"{group}: the worker's core {what} {share:.1%} of the time")
        if self.rescues:
            doubts.append(f"{group}: the encoder left the idle class {self.rescues} times")
        return doubts


def merged(spans: Sequence[Span]) -> LatenessHistogram:
    """Return the lateness of several spans together."""
    whole = LatenessHistogram()
    for span in spans:
        whole.merge(span.lateness)
    return whole


def lateness_ms(histogram: LatenessHistogram, percent: float) -> float:
    """Return the lateness in milliseconds that `percent` of the packets kept to; 0.0 when there are none.

    `LatenessHistogram.percentile_ms` answers with the upper bound of a bucket, an eighth away from the next:
    too coarse where two figures are compared. Here the packets of a bucket are taken to be spread evenly.
    """
    wanted = percent / 100 * histogram.total
    seen = 0
    for bucket, count in enumerate(histogram.counts):
        if count and seen + count >= wanted:
            lower = upper_bound_us(bucket - 1) if bucket else 0
            late_us = lower + (upper_bound_us(bucket) - lower) * (wanted - seen) / count
            return min(late_us, histogram.max_us) / 1_000
        seen += count
    return 0.0


def buckets_us(histogram: LatenessHistogram) -> list[tuple[int, int]]:
    """Return the filled buckets: upper bound in microseconds, and packets."""
    return [(upper_bound_us(bucket), count) for bucket, count in enumerate(histogram.counts) if count]


def _histogram(stats: Stats) -> LatenessHistogram:
    return LatenessHistogram(stats.lateness_counts, stats.lateness_max_us)


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
