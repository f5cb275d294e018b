"""A lateness histogram that both sides understand.

Pure. Log-linear buckets, as HdrHistogram has them: each power of two of microseconds is cut in
`STEPS` equal parts, so that any figure is known to within 1/8 of itself, from 0 µs to 134 s, in 200 integers.
Two histograms merge by adding; what crosses the wire is the list of counts.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BUCKETS", "LatenessHistogram", "bucket_of", "upper_bound_us"]

_STEP_BITS: Final = 3
STEPS: Final = 1 << _STEP_BITS
_TOP_BIT: Final = 26
BUCKETS: Final = (_TOP_BIT - _STEP_BITS + 1) * STEPS + STEPS


def bucket_of(lateness_us: int) -> int:
    """Return the bucket of a lateness in microseconds; early counts as 0, over 134 s as the last bucket."""
    if lateness_us < STEPS:
        return max(lateness_us, 0)
    shift = lateness_us.bit_length() - 1 - _STEP_BITS
    return min((shift << _STEP_BITS) + (lateness_us >> shift), BUCKETS - 1)


def upper_bound_us(bucket: int) -> int:
    """Return the largest lateness in microseconds that falls into a bucket."""
    if bucket < STEPS:
        return bucket
    shift = (bucket >> _STEP_BITS) - 1
    return ((STEPS + (bucket & (STEPS - 1)) + 1) << shift) - 1


class LatenessHistogram:
    """Counts of how late packets left, against the instant each was due.

    Parameters
    ----------
    counts
        Counts per bucket, as `counts` of another histogram gave them. A shorter list is padded.
    max_us
        The largest lateness seen, in microseconds: exact, where a bucket is not.
    """

    __slots__ = ("counts", "max_us")

    def __init__(self, counts: list[int] | None = None, max_us: int = 0) -> None:
        self.counts: list[int] = list(counts or ())[:BUCKETS]
        self.counts.extend([0] * (BUCKETS - len(self.counts)))
        self.max_us = max_us

    def record(self, lateness_us: int) -> None:
        """Count one packet."""
        self.counts[bucket_of(lateness_us)] += 1
        self.max_us = max(self.max_us, lateness_us)

    def merge(self, other: LatenessHistogram) -> None:
        """Add what another histogram counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.max_us = max(self.max_us, other.max_us)

    def since(self, earlier: LatenessHistogram) -> LatenessHistogram:
        """Return what was counted after `earlier`, a copy of this histogram's past.

        The maximum of a span is not known exactly: it is the upper bound of its last filled bucket.
        """
        counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        filled = [bucket for bucket, count in enumerate(counts) if count]
        bound_us = upper_bound_us(filled[-1]) if filled else 0
        return LatenessHistogram(counts, min(self.max_us, bound_us))

    @property
    def total(self) -> int:
        """How many packets were counted."""
        return sum(self.counts)

    def percentile_ms(self, percent: float) -> float:
        """Return the lateness in milliseconds that `percent` of the packets kept to; 0.0 when empty."""
        total = self.total
        if not total:
            return 0.0
        wanted = percent / 100 * total
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(upper_bound_us(bucket), self.max_us) / 1_000
        return self.max_us / 1_000

    def summary_ms(self) -> dict[str, float]:
        """Return ``p50``, ``p99``, ``p999`` and ``max`` in milliseconds."""
        return {
            "p50": self.percentile_ms(50),
            "p99": self.percentile_ms(99),
            "p999": self.percentile_ms(99.9),
            "max": self.max_us / 1_000,
        }
