"""From the workers' reports to the pool's figures."""

from __future__ import annotations

from typing import Any

from voicepool._report import summarise
from voicepool.ipc.events import CallStats, Stats, TrackFigures
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId
from voicepool.stats import Lateness, PoolStats


def report(name: str, lateness_us: list[int], **more: Any) -> Stats:
    histogram = LatenessHistogram()
    for late_us in lateness_us:
        histogram.record(late_us)
    fields: dict[str, Any] = {
        "worker": WorkerId(name),
        "cpu_s": 2.0,
        "encode_cpu_s": 1.0,
        "pacing_cpu_s": 0.5,
        "uptime_s": 10.0,
        "rss_bytes": 1 << 20,
        "frames_sent": 10,
        "frames_nulled": 2,
        "ticks_skipped": 1,
        "rescues": 3,
        "lateness_counts": histogram.counts,
        "lateness_max_us": histogram.max_us,
        "encoder_class": "idle",
    }
    return Stats(**fields | more)


def test_without_reports_there_is_nothing() -> None:
    assert summarise([], {}, unreadable=0) == PoolStats()


def test_counters_add_up_and_histograms_merge() -> None:
    stats = summarise([(report("w0.1", [100] * 99), 0.25), (report("w1.1", [5_000]), None)], {}, unreadable=4)
    assert (stats.frames_sent, stats.frames_nulled, stats.ticks_skipped) == (20, 4, 2)
    assert stats.unreadable_messages == 4
    assert stats.lateness.p50_ms < 0.12
    assert stats.lateness.max_ms == 5.0
    assert stats.lateness.p999_ms == 5.0
    first, second = stats.workers
    assert (first.name, first.cpu_share, first.rescues, first.rss_bytes) == ("w0.1", 0.25, 3, 1 << 20)
    assert (first.cpu_s, first.encode_cpu_s, first.pacing_cpu_s, first.uptime_s) == (2.0, 1.0, 0.5, 10.0)
    assert second.lateness == Lateness(p50_ms=5.0, p99_ms=5.0, p999_ms=5.0, max_ms=5.0)


def test_calls_are_named_by_their_guild_and_strangers_left_out() -> None:
    calls = [
        CallStats(
            call=CallId("a"),
            frames_sent=7,
            silence_sent=5,
            frames_nulled=1,
            send_errors=2,
            tracks=[TrackFigures(playback=PlaybackId("p"), position_s=2.0)],
            gateway_rtt_ms=12.5,
            messages_skipped=3,
        ),
        CallStats(call=CallId("closed meanwhile")),
    ]
    [call] = summarise([(report("w0.1", [], calls=calls), None)], {CallId("a"): 42}, unreadable=0).calls
    assert (call.guild_id, call.worker, call.playing, call.position_s) == (42, "w0.1", True, 2.0)
    assert (call.frames_sent, call.silence_sent, call.frames_nulled, call.send_errors) == (7, 5, 1, 2)
    assert (call.gateway_rtt_ms, call.messages_skipped) == (12.5, 3)
