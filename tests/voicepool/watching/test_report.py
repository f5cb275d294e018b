"""From the workers' reports to the pool's figures."""

from __future__ import annotations

from tests.fakes.figures import call_figures, report
from voicepool._watching.ledger import Ledger
from voicepool._watching.report import LATENESS_BOUNDS_US, summarise
from voicepool.ipc.events import CallStats, TrackFigures
from voicepool.ipc.histogram import bucket_of, upper_bound_us
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.stats import Lateness, PoolStats
from voicepool.stutters import StutterCause


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


def test_buckets_of_lateness_are_cumulative_and_exact() -> None:
    for bound_us in LATENESS_BOUNDS_US:
        assert upper_bound_us(bucket_of(bound_us - 1)) == bound_us - 1, (
            "an edge of the histogram's own buckets"
        )
    late_us = [0, 127, 128, 20_479, 20_480, 2_000_000]
    lateness = summarise([(report("w0.1", late_us), None)], {}, unreadable=0).lateness
    buckets = dict(lateness.buckets)
    assert (buckets[0.128], buckets[0.256], buckets[20.48], buckets[1_048.576]) == (2, 3, 4, 5)
    assert lateness.packets == 6
    assert abs(lateness.sum_ms - sum(late_us) / 1_000) < sum(late_us) / 1_000 / 16


def test_sums_of_the_pool_are_of_all_that_ever_were() -> None:
    guilds = {CallId("a"): 1}
    ledger = Ledger(lambda: guilds)
    call = call_figures(send_errors=2, frames_nulled=1, nulled_by_source=1, silence_sent=5, dave_epochs=3)
    old = report("w0.1", [100], calls=[call], frames_sent=70)
    ledger.take_report(old, 1.0)
    new = report("w0.2", [5_000], frames_sent=5, pss_bytes=7, stations=["s"], dropped_stats=4)
    ledger.take_report(new, 2.0)
    guilds.clear()
    stats = summarise([(new, 0.5)], guilds, unreadable=0, ledger=ledger, wanted=3)
    assert (stats.frames_sent, stats.send_errors, stats.silence_sent, stats.dave_epochs) == (75, 2, 5, 3)
    assert stats.stutters == {StutterCause.SOURCE: 1, StutterCause.STALL: 1, StutterCause.NETWORK: 1}
    assert (stats.calls, stats.workers_wanted, stats.lateness.packets) == ((), 3, 2)
    [worker], [slot] = stats.workers, stats.slots
    assert (worker.name, worker.frames_sent, worker.pss_bytes, worker.stations) == ("w0.2", 5, 7, ("s",))
    assert (slot.slot, slot.frames_sent, slot.cpu_s, slot.dropped_reports) == ("w0", 75, 4.0, 4)


def test_slots_come_in_the_order_of_their_numbers() -> None:
    stats = summarise([(report(f"w{slot}.1"), None) for slot in (10, 2, 0)], {}, unreadable=0)
    assert [slot.slot for slot in stats.slots] == ["w0", "w2", "w10"]
