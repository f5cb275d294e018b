"""What reports say of a worker's load, and what a call costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._fleet.gauge import ENCODING_SHARE, IDLE_SHARE, PASSING_SHARE, Costs, Gauge, Span
from voicepool.ipc.events import CallStats, Stats, TrackFigures
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId


def report(uptime_s: float, cpu_s: float, *, playing: int = 0, idle: int = 0, **more: Any) -> Stats:
    tracks = [TrackFigures(playback=PlaybackId("a"))]
    fields: dict[str, Any] = {
        "worker": WorkerId("w0.1"),
        "uptime_s": uptime_s,
        "cpu_s": cpu_s,
        "rss_bytes": 1,
        "frames_sent": 0,
        "frames_nulled": 0,
        "ticks_skipped": 0,
        "lateness_counts": [],
        "lateness_max_us": 0,
        "encoder_class": "idle",
        "calls": [
            CallStats(call=CallId(str(number)), tracks=tracks if number < playing else [])
            for number in range(playing + idle)
        ],
    }
    return Stats(**(fields | more))


def histogram(*lateness_us: int) -> dict[str, Any]:
    counted = LatenessHistogram()
    for each in lateness_us:
        counted.record(each)
    return {"lateness_counts": counted.counts, "lateness_max_us": counted.max_us}


def test_before_two_reports_nothing_was_measured() -> None:
    gauge = Gauge()
    assert (gauge.take(None), gauge.latest, gauge.span, gauge.uptime_s) == (None, None, None, 0.0)
    first = report(1.5, 1.0)
    assert gauge.take(first) is None
    assert (gauge.latest, gauge.span, gauge.uptime_s, gauge.steady_share) == (first, None, 1.5, 0.0)


def test_what_happened_lately_is_the_difference_of_two_reports() -> None:
    gauge = Gauge()
    gauge.take(report(10.0, 3.0, encode_cpu_s=1.0, pacing_cpu_s=0.5, **histogram(*[90_000] * 50)))
    late = histogram(*[90_000] * 50, *[1_000] * 99, 30_000)
    latest = report(12.0, 4.0, playing=2, idle=3, encode_cpu_s=1.6, pacing_cpu_s=0.7, **late)
    span = gauge.take(latest)
    assert span is gauge.span
    assert span is not None
    assert (span.span_s, span.cpu_share, span.calls, span.playing) == (2.0, 0.5, 5, 2)
    assert span.encode_share == pytest.approx(0.3)
    assert span.pacing_share == pytest.approx(0.1)
    assert span.late_p99_ms == pytest.approx(1.0, rel=0.13), "the 50 packets of before are forgotten"
    assert gauge.take(latest) is None, "the same report says nothing new"


def test_a_report_that_was_asked_for_too_soon_after_another_one_waits_for_the_next() -> None:
    gauge = Gauge()
    gauge.take(report(10.0, 3.0))
    assert gauge.take(report(10.01, 3.009)) is None
    assert gauge.uptime_s == 10.01
    span = gauge.take(report(11.0, 3.5))
    assert span is not None
    assert (span.span_s, span.cpu_share) == (1.0, 0.5)


def test_a_second_of_joining_is_no_lasting_load_and_a_minute_is() -> None:
    gauge = Gauge()
    gauge.take(report(1.0, 0.0))
    gauge.take(report(2.0, 1.0))
    assert 0.1 < gauge.steady_share < 0.15
    for second in range(3, 61):
        gauge.take(report(float(second), second - 1.0))
    assert gauge.steady_share > 0.99


def test_costs_begin_with_a_guess_and_go_by_what_is_measured() -> None:
    costs = Costs()
    assert costs.playing == pytest.approx(ENCODING_SHARE + PASSING_SHARE + IDLE_SHARE)
    assert costs.passing == pytest.approx(PASSING_SHARE + IDLE_SHARE)
    for _ in range(600):
        costs.learn(
            Span(
                span_s=1.0,
                cpu_share=0.36,
                encode_share=0.2,
                pacing_share=0.1,
                late_p99_ms=0.0,
                calls=30,
                playing=10,
            )
        )
    assert costs.passing == pytest.approx(0.01 + 0.002, rel=0.05)
    assert costs.playing == pytest.approx(0.02 + 0.01 + 0.002, rel=0.05)


@given(st.floats(0.05, 600), st.floats(0, 1))
def test_workers_without_calls_teach_nothing(span_s: float, share: float) -> None:
    costs = Costs()
    before = costs.playing
    costs.learn(
        Span(
            span_s=span_s,
            cpu_share=share,
            encode_share=0.0,
            pacing_share=0.0,
            late_p99_ms=0.0,
            calls=0,
            playing=0,
        )
    )
    assert costs.playing == before
