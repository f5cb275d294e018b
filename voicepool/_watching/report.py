"""[pure] From what the ledger holds to a `PoolStats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from voicepool._watching.ledger import (
    CALL_COUNTERS,
    WORKER_COUNTERS,
    CallSheet,
    Ledger,
    Photograph,
    SlotSheet,
    add,
)
from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram, upper_bound_us
from voicepool.ipc.ids import CallId
from voicepool.stats import CallFigures, Lateness, PoolStats, SlotTotals, WorkerStats

__all__ = ["LATENESS_BOUNDS_US", "develop", "summarise"]

LATENESS_BOUNDS_US: Final = (
    128,
    256,
    512,
    1_024,
    2_048,
    5_120,
    10_240,
    20_480,
    40_960,
    61_440,
    98_304,
    262_144,
    524_288,
    1_048_576,
)
"""Each is an edge of the histogram's own buckets, so that nothing is estimated."""


def summarise(
    reports: Sequence[tuple[Stats, float | None]],
    guilds: Mapping[CallId, int],
    *,
    unreadable: int,
    ledger: Ledger | None = None,
    wanted: int = 0,
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
    ledger
        What was counted so far; if None, nothing was.
    wanted
        How many workers there ought to be.
    """
    if ledger is None:
        ledger = Ledger(lambda: guilds)
        for stats, _ in reports:
            ledger.take_report(stats, 0.0)
    return develop(ledger.photograph(), reports, unreadable=unreadable, wanted=wanted)


def develop(
    photograph: Photograph, reports: Sequence[tuple[Stats, float | None]], *, unreadable: int, wanted: int
) -> PoolStats:
    """Return the figures of a pool, from what was seen at one instant. May run in any thread.

    Parameters
    ----------
    photograph
        Of the pool's ledger.
    reports, unreadable, wanted
        As for `summarise`, of the same instant.
    """
    slots = [_of_slot(name, sheet) for name, sheet in sorted(photograph.slots.items(), key=_place)]
    lateness = LatenessHistogram()
    for sheet in photograph.slots.values():
        lateness.merge(sheet.lateness())
    totals = add(photograph.gone, *(call.counts() for _, call in photograph.calls))
    sums: dict[str, Any] = dict(zip(CALL_COUNTERS, totals, strict=True))
    # Packets of calls, and frames that were nulled, are counted by the workers without a gap.
    del sums["frames_sent"], sums["frames_nulled"]
    return PoolStats(
        workers=tuple(_of_worker(stats, cpu_share) for stats, cpu_share in reports),
        slots=tuple(slots),
        calls=tuple(_of_call(guild, call) for guild, call in photograph.calls),
        frames_sent=sum(slot.frames_sent for slot in slots),
        frames_nulled=sum(slot.frames_nulled for slot in slots),
        ticks_skipped=sum(slot.ticks_skipped for slot in slots),
        frames_deficit=photograph.gone_deficit + sum(call.deficit for _, call in photograph.calls),
        stutters=photograph.stutters,
        lateness=_lateness(lateness),
        unreadable_messages=unreadable,
        workers_wanted=wanted,
        exits=photograph.exits,
        calls_recovered=photograph.recovered,
        calls_moved=photograph.moved,
        calls_lost=photograph.lost,
        gaps=photograph.gaps,
        **sums,
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
        pss_bytes=stats.pss_bytes,
        complexity=stats.complexity,
        sheds=stats.sheds,
        encoder_share=stats.encoder_share,
        encoder_class=stats.encoder_class,
        decode_s=stats.decode_s,
        opus_s=stats.opus_s,
        seal_s=stats.seal_s,
        loop_lag_ms=stats.loop_lag_ms,
        stations=tuple(stats.stations),
        dropped_reports=stats.dropped_stats,
    )


def _of_slot(name: str, sheet: SlotSheet) -> SlotTotals:
    counters: dict[str, Any] = dict(zip(WORKER_COUNTERS, sheet.counts(), strict=True))
    counters["dropped_reports"] = counters.pop("dropped_stats")
    return SlotTotals(slot=name, lateness=_lateness(sheet.lateness()), **counters)


def _of_call(guild: int, sheet: CallSheet) -> CallFigures:
    last = sheet.last
    counters: dict[str, Any] = dict(zip(CALL_COUNTERS, sheet.counts(), strict=True))
    return CallFigures(
        guild_id=guild,
        worker=sheet.worker,
        playing=bool(last.tracks),
        position_s=last.tracks[0].position_s if last.tracks else 0.0,
        gateway_rtt_ms=last.gateway_rtt_ms,
        messages_skipped=last.messages_skipped,
        frames_deficit=sheet.deficit,
        ring_low=last.ring_low,
        dave_version=last.dave_version,
        stutters=dict(sheet.stutters),
        **counters,
    )


def _lateness(histogram: LatenessHistogram) -> Lateness:
    figures = histogram.summary_ms()
    return Lateness(
        p50_ms=figures["p50"],
        p99_ms=figures["p99"],
        p999_ms=figures["p999"],
        max_ms=figures["max"],
        packets=histogram.total,
        sum_ms=sum(
            count * (upper_bound_us(bucket - 1) + 1 + upper_bound_us(bucket)) / 2 if bucket else 0
            for bucket, count in enumerate(histogram.counts)
            if count
        )
        / 1_000,
        buckets=tuple(_cumulative(histogram.counts)),
    )


def _cumulative(counts: Sequence[int]) -> Iterable[tuple[float, int]]:
    so_far = bucket = 0
    for bound_us in LATENESS_BOUNDS_US:
        while bucket < len(counts) and upper_bound_us(bucket) < bound_us:
            so_far += counts[bucket]
            bucket += 1
        yield bound_us / 1_000, so_far


def _place(item: tuple[str, SlotSheet]) -> tuple[int, str]:
    return len(item[0]), item[0]
