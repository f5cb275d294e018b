"""Reports of workers as a test wants them."""

from __future__ import annotations

from typing import Any

from voicepool.ipc.events import CallStats, Stats, TrackFigures
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId

__all__ = ["call_figures", "report"]


def report(name: str, lateness_us: list[int] | None = None, **more: Any) -> Stats:
    """The report of a worker that has done a little."""
    histogram = LatenessHistogram()
    for late_us in lateness_us or []:
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


def call_figures(name: str = "a", *, playing: bool = True, **more: Any) -> CallStats:
    """The figures of a call."""
    tracks = [TrackFigures(playback=PlaybackId("p"), position_s=2.0)] if playing else []
    return CallStats(**{"call": CallId(name), "tracks": tracks} | more)
