"""The lateness histogram: any figure to within an eighth of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.ipc.histogram import BUCKETS, LatenessHistogram, bucket_of, upper_bound_us

LATE_US = st.integers(0, (1 << 27) - 1)


def histogram_of(values: list[int]) -> LatenessHistogram:
    histogram = LatenessHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(LATE_US)
def test_a_bucket_holds_what_falls_into_it_to_an_eighth(late_us: int) -> None:
    bucket = bucket_of(late_us)
    assert 0 <= bucket < BUCKETS
    bound_us = upper_bound_us(bucket)
    assert late_us <= bound_us <= late_us * 9 / 8
    assert bucket_of(bound_us) == bucket
    assert bucket_of(bound_us + 1) == min(bucket + 1, BUCKETS - 1)


@pytest.mark.parametrize(("late_us", "bucket"), [(-5, 0), (0, 0), (7, 7), (8, 8), (1 << 40, BUCKETS - 1)])
def test_the_ends_are_caught(late_us: int, bucket: int) -> None:
    assert bucket_of(late_us) == bucket


@given(st.lists(LATE_US, min_size=1), st.floats(1, 100))
def test_a_percentile_is_not_below_the_true_one_nor_far_above(values: list[int], percent: float) -> None:
    ordered = sorted(values)
    wanted = percent / 100 * len(ordered)
    true_us = next(value for index, value in enumerate(ordered, 1) if index >= wanted)
    found_us = histogram_of(values).percentile_ms(percent) * 1_000
    assert true_us - 0.001 <= found_us <= max(true_us * 9 / 8, true_us + 0.001)


@given(st.lists(LATE_US), st.lists(LATE_US))
def test_merging_is_counting_both(first: list[int], second: list[int]) -> None:
    merged = histogram_of(first)
    merged.merge(histogram_of(second))
    both = histogram_of(first + second)
    assert (merged.counts, merged.max_us, merged.total) == (both.counts, both.max_us, len(first + second))


@given(st.lists(LATE_US), st.lists(LATE_US))
def test_what_came_since_is_the_difference(before: list[int], after: list[int]) -> None:
    since = histogram_of(before + after).since(histogram_of(before))
    assert since.counts == histogram_of(after).counts
    assert since.max_us >= max(after, default=0)


def test_an_empty_one_says_zero() -> None:
    assert LatenessHistogram().summary_ms() == {"p50": 0.0, "p99": 0.0, "p999": 0.0, "max": 0.0}


def test_counts_that_lost_their_trailing_zeros_are_padded() -> None:
    assert LatenessHistogram([1, 2]).counts == [1, 2] + [0] * (BUCKETS - 2)


def test_counts_are_a_copy() -> None:
    counts = [1]
    LatenessHistogram(counts).record(0)
    assert counts == [1]


def test_too_many_counts_are_cut() -> None:
    assert len(LatenessHistogram([1] * (BUCKETS + 50)).counts) == BUCKETS
