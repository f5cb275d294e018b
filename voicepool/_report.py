"""[pure] From the workers' last reports to a `PoolStats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import CallId
from voicepool.stats import CallFigures, Lateness, PoolStats, WorkerStats

__all__ = ["summarise"]


def summarise(
    reports: Sequence[tuple[Stats, float | None]], guilds: Mapping[CallId, int], *, unreadable: int
) -> PoolStats:
    """Return the figures of a pool.

    Parameters
    ----------
    reports
        The last report of each worker, and its CPU share.
    guilds
        The guild of each call that is of interest; figures of other calls are left out.
    unreadable
        Messages from workers that could not be read.
    """
    lateness = LatenessHistogram()
    for stats, _ in reports:
        lateness.merge(LatenessHistogram(stats.lateness_counts, stats.lateness_max_us))
    return PoolStats(
        workers=tuple(_of_worker(stats, cpu_share) for stats, cpu_share in reports),
        calls=tuple(figures for stats, _ in reports for figures in _of_calls(stats, guilds)),
        frames_sent=sum(stats.frames_sent for stats, _ in reports),
        frames_nulled=sum(stats.frames_nulled for stats, _ in reports),
        ticks_skipped=sum(stats.ticks_skipped for stats, _ in reports),
        lateness=_lateness(lateness),
        unreadable_messages=unreadable,
    )


def _of_worker(stats: Stats, cpu_share: float | None) -> WorkerStats:
    return WorkerStats(
        name=stats.worker,
        calls=len(stats.calls),
        cpu_s=stats.cpu_s,
        encode_cpu_s=stats.encode_cpu_s,
        pacing_cpu_s=stats.pacing_cpu_s,
        cpu_share=cpu_share,
        uptime_s=stats.uptime_s,
        rss_bytes=stats.rss_bytes,
        frames_sent=stats.frames_sent,
        frames_nulled=stats.frames_nulled,
        ticks_skipped=stats.ticks_skipped,
        rescues=stats.rescues,
        lateness=_lateness(LatenessHistogram(stats.lateness_counts, stats.lateness_max_us)),
    )


def _of_calls(stats: Stats, guilds: Mapping[CallId, int]) -> Iterable[CallFigures]:
    for call in stats.calls:
        if call.call in guilds:
            yield CallFigures(
                guild_id=guilds[call.call],
                worker=stats.worker,
                playing=bool(call.tracks),
                position_s=call.tracks[0].position_s if call.tracks else 0.0,
                frames_sent=call.frames_sent,
                silence_sent=call.silence_sent,
                frames_nulled=call.frames_nulled,
                send_errors=call.send_errors,
                gateway_rtt_ms=call.gateway_rtt_ms,
                messages_skipped=call.messages_skipped,
            )


def _lateness(histogram: LatenessHistogram) -> Lateness:
    figures = histogram.summary_ms()
    return Lateness(
        p50_ms=figures["p50"], p99_ms=figures["p99"], p999_ms=figures["p999"], max_ms=figures["max"]
    )
