"""[pure] What a worker did between two of its reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram, upper_bound_us

__all__ = ["TAINTED_SHARE", "Snapshot", "Span", "buckets_us", "doubts", "lateness_ms", "merged"]

_US: Final = 1e6
TAINTED_SHARE: Final = 0.02
"""From which share of a core for others a span's figures are to be doubted."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a worker and its core.

    Attributes
    ----------
    stats
        The worker's report.
    others_cpu_s
        CPU time that processes foreign to the benchmark have used, on any core; None if unknown.
    stolen_s
        How long the hypervisor has kept its core back; None if unknown.
    """

    stats: Stats
    others_cpu_s: float | None = None
    stolen_s: float | None = None


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
    others_share
        CPU time of foreign processes, on any core, per wall time; None if unknown. See `TAINTED_SHARE`.
    stolen_share
        Share of the span for which the hypervisor had given the worker's core away; None if unknown.
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
    others_share: float | None = None
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
        return cls(
            seconds=seconds,
            frames=now.frames_sent - then.frames_sent,
            nulled=now.frames_nulled - then.frames_nulled,
            ticks_skipped=now.ticks_skipped - then.ticks_skipped,
            rescues=now.rescues - then.rescues,
            cpu_s=now.cpu_s - then.cpu_s,
            encode_cpu_s=now.encode_cpu_s - then.encode_cpu_s,
            pacing_cpu_s=now.pacing_cpu_s - then.pacing_cpu_s,
            lateness=_histogram(now).since(_histogram(then)),
            others_share=_share(before.others_cpu_s, after.others_cpu_s, seconds),
            stolen_share=_share(before.stolen_s, after.stolen_s, seconds),
        )

    @property
    def disturbance(self) -> float:
        """How much others had of the machine: both shares together, as far as they are known."""
        return (self.others_share or 0.0) + (self.stolen_share or 0.0)

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
        """CPU time of the control loop and all else for each frame sent, in microseconds."""
        return self.us_per_frame(self.cpu_s - self.encode_cpu_s - self.pacing_cpu_s)


def doubts(group: str, spans: Sequence[Span]) -> list[str]:
    """Return what taints the figures of these spans, in sentences that name them `group`."""
    found = []
    others = max((span.others_share or 0.0 for span in spans), default=0.0)
    stolen = max((span.stolen_share or 0.0 for span in spans), default=0.0)
    rescues = sum(span.rescues for span in spans)
    skipped = sum(span.ticks_skipped for span in spans)
    if others > TAINTED_SHARE:
        found.append(f"{group}: other processes used {others:.0%} of a core")
    if stolen > TAINTED_SHARE:
        found.append(f"{group}: the hypervisor gave {stolen:.0%} of the worker's core away")
    if rescues:
        found.append(f"{group}: the encoder left the idle class {rescues} times")
    if skipped:
        found.append(f"{group}: {skipped} ticks were given up after stalls")
    return found


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


def _share(before_s: float | None, after_s: float | None, seconds: float) -> float | None:
    # A process that ends as a child of ours takes its time along.
    return None if before_s is None or after_s is None else max(0.0, after_s - before_s) / seconds
