from __future__ import annotations

from typing import Any

import pytest

from benchmarks.span import Snapshot, Span, buckets_us, doubts, lateness_ms, merged
from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import WorkerId


def histogram(*late_us: int) -> LatenessHistogram:
    made = LatenessHistogram()
    for one_us in late_us:
        made.record(one_us)
    return made


def stats(*late_us: int, **changes: Any) -> Stats:
    late = histogram(*late_us)
    fields: dict[str, Any] = {
        "worker": WorkerId("w0.1"),
        "cpu_s": 1.0,
        "uptime_s": 10.0,
        "rss_bytes": 0,
        "frames_sent": 100,
        "frames_nulled": 1,
        "ticks_skipped": 2,
        "lateness_counts": late.counts,
        "lateness_max_us": late.max_us,
        "encoder_class": "idle",
        "rescues": 3,
        "encode_cpu_s": 0.5,
        "pacing_cpu_s": 0.2,
    }
    return Stats(**fields | changes)


LATER: dict[str, Any] = {
    "cpu_s": 1.5,
    "uptime_s": 12.0,
    "frames_sent": 5_100,
    "frames_nulled": 5,
    "ticks_skipped": 4,
    "rescues": 4,
    "encode_cpu_s": 0.8,
    "pacing_cpu_s": 0.3,
}


def span(**changes: Any) -> Span:
    return Span.between(Snapshot(stats(**changes)), Snapshot(stats(**LATER | changes)))


class TestSpan:
    def test_it_is_the_difference_of_two_reports(self) -> None:
        found = span()
        assert (found.seconds, found.frames, found.nulled) == (2.0, 5_000, 4)
        assert (found.ticks_skipped, found.rescues) == (2, 1)
        assert found.cpu_share == pytest.approx(0.25)

    def test_costs_are_in_microseconds_for_each_frame(self) -> None:
        found = span()
        assert found.frame_us == pytest.approx(100.0)
        assert found.encode_us == pytest.approx(60.0)
        assert found.pacing_us == pytest.approx(20.0)
        assert found.control_us == pytest.approx(20.0)

    def test_only_packets_of_the_span_are_late(self) -> None:
        found = Span.between(Snapshot(stats(5, 900)), Snapshot(stats(5, 900, 7, **LATER)))
        assert found.lateness.total == 1
        assert found.lateness.max_us == 7

    def test_trailing_zeros_that_the_wire_leaves_out_do_not_matter(self) -> None:
        before = stats(3, lateness_counts=[0, 0, 0, 1])
        assert Span.between(Snapshot(before), Snapshot(stats(3, 80, **LATER))).lateness.total == 1

    def test_a_restarted_worker_is_not_taken_for_the_same(self) -> None:
        with pytest.raises(ValueError, match=r"w0\.1 was replaced by w0\.2"):
            Span.between(Snapshot(stats()), Snapshot(stats(**LATER | {"worker": "w0.2"})))

    def test_snapshots_in_the_wrong_order_are_refused(self) -> None:
        with pytest.raises(ValueError, match="order"):
            Span.between(Snapshot(stats(**LATER)), Snapshot(stats()))

    def test_nothing_sent_has_no_cost_per_frame(self) -> None:
        with pytest.raises(ValueError, match="nothing was sent"):
            _ = span(frames_sent=100).frame_us

    def test_shares_of_others(self) -> None:
        found = Span.between(Snapshot(stats(), 4.0, 1.0), Snapshot(stats(**LATER), 5.0, 1.1))
        assert found.others_share == pytest.approx(0.5)
        assert found.stolen_share == pytest.approx(0.05)

    def test_a_process_that_ended_does_not_make_the_share_negative(self) -> None:
        found = Span.between(Snapshot(stats(), 4.0), Snapshot(stats(**LATER), 1.0))
        assert found.others_share == 0.0

    def test_both_shares_together_are_the_disturbance(self) -> None:
        found = Span.between(Snapshot(stats(), 4.0, 1.0), Snapshot(stats(**LATER), 5.0, 1.1))
        assert found.disturbance == pytest.approx(0.55)
        assert span().disturbance == 0.0

    def test_where_others_are_unknown_there_is_no_share(self) -> None:
        assert (span().others_share, span().stolen_share) == (None, None)


class TestDoubts:
    def test_a_clean_span_has_none(self) -> None:
        assert doubts("calm", [span(rescues=0, ticks_skipped=0)]) == []

    def test_each_disturbance_is_named(self) -> None:
        found = doubts(
            "calm", [Span.between(Snapshot(stats(), 4.0, 1.0), Snapshot(stats(**LATER), 5.0, 1.1))]
        )
        assert found == [
            "calm: other processes used 50% of a core",
            "calm: the hypervisor gave 5% of the worker's core away",
            "calm: the encoder left the idle class 1 times",
            "calm: 2 ticks were given up after stalls",
        ]

    def test_of_several_spans_the_worst_counts(self) -> None:
        spans = [
            Span.between(
                Snapshot(stats(), 0.0), Snapshot(stats(**LATER | {"rescues": 3, "ticks_skipped": 2}), used_s)
            )
            for used_s in (0.2, 1.0)
        ]
        assert doubts("busy", spans) == ["busy: other processes used 50% of a core"]


class TestLateness:
    def test_percentiles_are_interpolated_within_a_bucket(self) -> None:
        # 128 to 143 µs is one bucket.
        spread = histogram(*[130] * 50, *[143] * 50)
        assert len(buckets_us(spread)) == 1
        half, all_but_one = lateness_ms(spread, 50), lateness_ms(spread, 99)
        assert 0.128 <= half < all_but_one <= 0.143

    def test_two_figures_of_one_bucket_differ_by_less_than_the_bucket(self) -> None:
        few, more = histogram(*[10] * 40, *[130] * 60), histogram(*[10] * 38, *[130] * 62)
        assert lateness_ms(few, 50) < lateness_ms(more, 50) < lateness_ms(few, 50) * 1.01

    def test_it_keeps_to_the_true_percentile_within_a_bucket(self) -> None:
        late_us = [7 * number % 1_000 for number in range(5_000)]
        found = histogram(*late_us)
        for percent in (1, 50, 90, 99, 99.9):
            true_us = sorted(late_us)[int(len(late_us) * percent / 100) - 1]
            assert lateness_ms(found, percent) * 1_000 == pytest.approx(true_us, rel=0.05, abs=1)

    def test_it_never_exceeds_the_maximum(self) -> None:
        assert lateness_ms(histogram(1_000), 100) == 1.0

    def test_nothing_is_not_late(self) -> None:
        assert lateness_ms(LatenessHistogram(), 99) == 0.0

    def test_spans_merge(self) -> None:
        spans = [Span.between(Snapshot(stats()), Snapshot(stats(late, **LATER))) for late in (3, 300)]
        assert merged(spans).total == 2
        assert merged(spans).max_us == 300
        assert merged([]).total == 0

    def test_buckets_tell_upper_bound_and_count(self) -> None:
        assert buckets_us(histogram(3, 3, 5)) == [(3, 2), (5, 1)]
