"""The figures of a pool for Prometheus; needs ``pip install "voicepool[prometheus]"``.

With ``metrics_port`` in its config a pool serves them over HTTP by itself. A bot that has an endpoint already
adds a collector to its own registry::

    prometheus_client.REGISTRY.register(PoolCollector(pool))

What there is. Counters run since the pool was started, those of a guild since its call began, whichever
workers it went to. ``worker`` is a place in the pool, ``w0`` the first, whose counters go on over restarts of
its process; ``guild`` is the ID of a guild.

==========================================  =========  ============  =========================================
name                                        type       labels        meaning
==========================================  =========  ============  =========================================
voicepool_running                           gauge                    1 while the pool runs
voicepool_figures_age_seconds               gauge                    age of what is shown; the loop was busy
voicepool_workers                           gauge      state         workers, by where they stand
voicepool_workers_wanted                    gauge                    workers there ought to be
voicepool_worker_exits_total                counter    reason        processes that have ended
voicepool_calls                             gauge                    calls that are up
voicepool_calls_unlisted                    gauge                    those beyond the 2,000 with own series
voicepool_calls_recovered_total             counter                  went on elsewhere: worker lost
voicepool_calls_moved_total                 counter                  went on elsewhere: worker drained
voicepool_calls_lost_total                  counter                  ended with their worker
voicepool_call_gap_seconds                  histogram                silence of those that went on elsewhere
voicepool_stutters_total                    counter    cause         bad seconds of calls, by cause
voicepool_frames_sent_total                 counter                  packets of 20 ms, silence too
voicepool_frames_nulled_total               counter                  ticks with nothing ready to send
voicepool_frames_deficit_total              counter                  frames given up after stalls
voicepool_silence_sent_total                counter                  those sent that were silence
voicepool_source_starved_frames_total       counter                  nulled: the source had sent nothing
voicepool_encoder_behind_frames_total       counter                  nulled: not encoded in time
voicepool_send_errors_total                 counter                  packets the system refused
voicepool_reconnects_total                  counter                  voice connections lost and mended
voicepool_dave_epochs_total                 counter                  key changes of DAVE groups
voicepool_dave_failures_total               counter                  DAVE frames or messages that failed
voicepool_unreadable_messages_total         counter                  from workers; not 0 is a defect
voicepool_worker_info                       gauge      worker, ...   1; process, pid, core and libraries
voicepool_worker_up                         gauge      worker        1 while its process can hold calls
voicepool_worker_calls                      gauge      worker        calls it holds
voicepool_worker_restarts_total             counter    worker        times it was started again
voicepool_worker_heartbeat_rtt_seconds      gauge      worker        answer to the last heartbeat
voicepool_worker_uptime_seconds             gauge      worker        age of the process
voicepool_worker_resident_memory_bytes      gauge      worker        memory, RSS
voicepool_worker_proportional_memory_bytes  gauge      worker        memory, its part of what is shared (PSS)
voicepool_worker_opus_complexity            gauge      worker        complexity in force
voicepool_worker_encoder_busy_ratio         gauge      worker        encoder threads at work, per time
voicepool_worker_loop_lag_seconds           gauge      worker        control loop's worst lag lately
voicepool_worker_stations                   gauge      worker        stations on the air
voicepool_worker_cpu_seconds_total          counter    worker        CPU time, all threads
voicepool_worker_encode_cpu_seconds_total   counter    worker        CPU time of the encoder threads
voicepool_worker_pacing_cpu_seconds_total   counter    worker        CPU time of the pacing thread
voicepool_worker_decode_seconds_total       counter    worker        time spent on decoding sources
voicepool_worker_opus_seconds_total         counter    worker        time spent in libopus
voicepool_worker_seal_seconds_total         counter    worker        time spent on encryption and sending
voicepool_worker_frames_sent_total          counter    worker        packets of 20 ms, silence too
voicepool_worker_frames_nulled_total        counter    worker        ticks with nothing ready to send
voicepool_worker_ticks_skipped_total        counter    worker        ticks given up after stalls
voicepool_worker_encoder_rescues_total      counter    worker        encoder lifted: frames ran low
voicepool_worker_complexity_sheds_total     counter    worker        complexity lowered: too much to do
voicepool_worker_dropped_reports_total      counter    worker        figures lost, bot too slow
voicepool_worker_packet_lateness_seconds    histogram  worker        sent, against the instant it was due
voicepool_call_playing                      gauge      guild         1 while something plays or is held
voicepool_call_ring_low_frames              gauge      guild         fewest encoded frames left lately
voicepool_call_gateway_rtt_seconds          gauge      guild         heartbeat to the voice gateway
voicepool_call_dave_version                 gauge      guild         DAVE version in use, 0 for none
voicepool_call_frames_sent_total            counter    guild         frames of audio, 20 ms
voicepool_call_silence_sent_total           counter    guild         frames of silence
voicepool_call_frames_nulled_total          counter    guild         ticks with nothing ready to send
voicepool_call_frames_deficit_total         counter    guild         frames given up after stalls
voicepool_call_source_starved_frames_total  counter    guild         nulled: the source had sent nothing
voicepool_call_encoder_behind_frames_total  counter    guild         nulled: not encoded in time
voicepool_call_send_errors_total            counter    guild         packets the system refused
voicepool_call_reconnects_total             counter    guild         voice connection lost and mended
voicepool_call_dave_epochs_total            counter    guild         key changes of its DAVE group
voicepool_call_dave_failures_total          counter    guild         DAVE frames or messages that failed
voicepool_call_stutters_total               counter    guild, cause  bad seconds, by cause
==========================================  =========  ============  =========================================

``frames_sent``, ``frames_nulled`` and ``frames_deficit`` are what Lavalink calls so, counted on, not per
minute. The sum of a lateness histogram is known to within 1/16, its buckets are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        'voicepool.metrics needs prometheus-client; install it: pip install "voicepool[prometheus]"',
        name=error.name,
    ) from error

from voicepool.pool_events import ExitReason
from voicepool.stats import (
    CallFigures,
    PoolStats,
    SlotTotals,
    WorkerInfo,
    WorkerState,
    WorkerStats,
)
from voicepool.stutters import StutterCause

if TYPE_CHECKING:
    from voicepool._watching.observatory import View
    from voicepool.pool import VoicePool

__all__ = ["LISTED_CALLS", "PoolCollector", "families", "render"]

LISTED_CALLS: Final = 2_000
"""Calls with series of their own, the oldest ones; those beyond are in the sums only."""

_Pairs = Iterable[tuple[Sequence[str], float | None]]


class _Series(NamedTuple):
    """A metric that is an attribute of something, in a unit that it has to be divided by."""

    name: str
    meaning: str
    field: str
    per: float = 1.0


_MS: Final = 1_000.0
_POOL_COUNTERS: Final = (
    _Series("calls_recovered", "Calls that went on elsewhere, worker lost.", "calls_recovered"),
    _Series("calls_moved", "Calls that went on elsewhere, worker drained.", "calls_moved"),
    _Series("calls_lost", "Calls that ended with their worker.", "calls_lost"),
    _Series("frames_sent", "Packets of 20 ms, silence too.", "frames_sent"),
    _Series("frames_nulled", "Ticks with nothing ready to send.", "frames_nulled"),
    _Series("frames_deficit", "Frames given up after stalls.", "frames_deficit"),
    _Series("silence_sent", "Frames of silence sent.", "silence_sent"),
    _Series("source_starved_frames", "Nulled, the source had sent nothing.", "nulled_by_source"),
    _Series("encoder_behind_frames", "Nulled, not encoded in time.", "nulled_by_encoder"),
    _Series("send_errors", "Packets the system refused.", "send_errors"),
    _Series("reconnects", "Voice connections lost and mended.", "reconnects"),
    _Series("dave_epochs", "Key changes of DAVE groups.", "dave_epochs"),
    _Series("dave_failures", "DAVE frames or messages that failed.", "dave_failures"),
    _Series("unreadable_messages", "Messages of workers that make no sense.", "unreadable_messages"),
)
_INFO_GAUGES: Final = (
    _Series("worker_calls", "Calls it holds.", "calls"),
    _Series("worker_heartbeat_rtt_seconds", "Answer to the last heartbeat.", "rtt_ms", _MS),
)
_WORKER_GAUGES: Final = (
    _Series("worker_uptime_seconds", "Age of the process.", "uptime_s"),
    _Series("worker_resident_memory_bytes", "Memory, RSS.", "rss_bytes"),
    _Series("worker_proportional_memory_bytes", "Memory, PSS.", "pss_bytes"),
    _Series("worker_opus_complexity", "Opus complexity in force.", "complexity"),
    _Series("worker_encoder_busy_ratio", "Encoder threads at work, per time.", "encoder_share"),
    _Series("worker_loop_lag_seconds", "Worst lag of the control loop lately.", "loop_lag_ms", _MS),
)
_SLOT_COUNTERS: Final = (
    _Series("worker_cpu_seconds", "CPU time, all threads.", "cpu_s"),
    _Series("worker_encode_cpu_seconds", "CPU time of the encoder threads.", "encode_cpu_s"),
    _Series("worker_pacing_cpu_seconds", "CPU time of the pacing thread.", "pacing_cpu_s"),
    _Series("worker_decode_seconds", "Time spent on decoding sources.", "decode_s"),
    _Series("worker_opus_seconds", "Time spent in libopus.", "opus_s"),
    _Series("worker_seal_seconds", "Time spent on encryption and sending.", "seal_s"),
    _Series("worker_frames_sent", "Packets of 20 ms, silence too.", "frames_sent"),
    _Series("worker_frames_nulled", "Ticks with nothing ready to send.", "frames_nulled"),
    _Series("worker_ticks_skipped", "Ticks given up after stalls.", "ticks_skipped"),
    _Series("worker_encoder_rescues", "Encoder lifted, frames ran low.", "rescues"),
    _Series("worker_complexity_sheds", "Complexity lowered, too much to do.", "sheds"),
    _Series("worker_dropped_reports", "Figures lost, bot too slow.", "dropped_reports"),
)
_CALL_GAUGES: Final = (
    _Series("call_playing", "1 while something plays or is held.", "playing"),
    _Series("call_ring_low_frames", "Fewest encoded frames left lately.", "ring_low"),
    _Series("call_gateway_rtt_seconds", "Heartbeat to the voice gateway.", "gateway_rtt_ms", _MS),
    _Series("call_dave_version", "DAVE version in use, 0 for none.", "dave_version"),
)
_CALL_COUNTERS: Final = (
    _Series("call_frames_sent", "Frames of audio, 20 ms.", "frames_sent"),
    _Series("call_silence_sent", "Frames of silence.", "silence_sent"),
    _Series("call_frames_nulled", "Ticks with nothing ready to send.", "frames_nulled"),
    _Series("call_frames_deficit", "Frames given up after stalls.", "frames_deficit"),
    _Series("call_source_starved_frames", "Nulled, the source had sent nothing.", "nulled_by_source"),
    _Series("call_encoder_behind_frames", "Nulled, not encoded in time.", "nulled_by_encoder"),
    _Series("call_send_errors", "Packets the system refused.", "send_errors"),
    _Series("call_reconnects", "Voice connection lost and mended.", "reconnects"),
    _Series("call_dave_epochs", "Key changes of its DAVE group.", "dave_epochs"),
    _Series("call_dave_failures", "DAVE frames or messages that failed.", "dave_failures"),
)
_UP: Final = frozenset({WorkerState.READY, WorkerState.SPARE, WorkerState.DRAINING})


class PoolCollector(Collector):
    """Collects the figures of a pool for a registry of `prometheus_client`.

    It may be collected in any thread: what it needs is taken on the pool's event loop, and waited for. If the
    loop is busy for too long, what was last taken is given again; ``voicepool_figures_age_seconds`` tells.

    Parameters
    ----------
    pool
        The pool. It may be started later, and have been closed.
    """

    def __init__(self, pool: VoicePool) -> None:
        self._observatory = pool.observatory

    def describe(self) -> Iterable[Metric]:
        """Return what `collect` may return, without samples."""
        return list(families(None))

    def collect(self) -> Iterable[Metric]:
        """Return the figures of now."""
        return list(families(self._observatory.see()))


class _Once(Collector):
    """What one scrape is to show."""

    def __init__(self, view: View | None) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        return families(self._view)


def render(view: View | None, accept: str) -> tuple[bytes, str]:
    """Return the figures as text, and its content type. May run in any thread, and takes a while.

    Parameters
    ----------
    view
        What was seen of the pool; None if it does not run.
    accept
        The ``Accept`` header of who asks: Prometheus's text format, or OpenMetrics.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(view))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def families(view: View | None) -> Iterator[Metric]:
    """Yield all metrics, with samples as far as there are figures.

    Parameters
    ----------
    view
        What was seen of the pool; None if it does not run.
    """
    stats = PoolStats() if view is None else view.stats()
    infos = () if view is None else view.workers
    age_s = None if view is None else view.age_s
    yield _gauge("running", "1 while the pool runs.", [((), float(view is not None))])
    yield _gauge("figures_age_seconds", "Age of what is shown.", [((), age_s)])
    yield from _of_pool(stats, infos)
    yield from _of_workers(stats, infos)
    yield from _of_calls(stats)


def _of_pool(stats: PoolStats, infos: Sequence[WorkerInfo]) -> Iterator[Metric]:
    standing = {state: sum(info.state is state for info in infos) for state in WorkerState}
    yield _gauge(
        "workers",
        "Workers, by where they stand.",
        [((state.value,), count) for state, count in standing.items()],
        "state",
    )
    yield _gauge("workers_wanted", "Workers there ought to be.", [((), stats.workers_wanted)])
    # Those that never were too, so that the first is a rise.
    exits = [((reason.value,), float(stats.exits.get(reason, 0))) for reason in ExitReason]
    yield _counter("worker_exits", "Processes that have ended.", exits, "reason")
    yield _gauge("calls", "Calls that are up.", [((), len(stats.calls))])
    unlisted = len(stats.calls) - len(_listed(stats.calls))
    yield _gauge("calls_unlisted", "Calls without series of their own.", [((), unlisted)])
    for series in _POOL_COUNTERS:
        yield _counter(series.name, series.meaning, [((), _value(stats, series))])
    stutters = [((cause.value,), float(stats.stutters.get(cause, 0))) for cause in StutterCause]
    yield _counter("stutters", "Bad seconds of calls, by cause.", stutters, "cause")
    gaps = _histogram("call_gap_seconds", "Silence of calls that went on elsewhere.")
    gaps.add_metric((), _buckets(stats.gaps.buckets, stats.gaps.count), stats.gaps.sum_ms / _MS)
    yield gaps


def _of_workers(stats: PoolStats, infos: Sequence[WorkerInfo]) -> Iterator[Metric]:
    # While a worker is replaced two share a place, and one of them may not be up.
    named = {f"w{info.slot}": info for info in sorted(infos, key=lambda info: info.state in _UP)}
    up = {name: info for name, info in named.items() if info.state in _UP}
    slot_of = {info.name: name for name, info in named.items()}
    workers: dict[str, WorkerStats] = {
        slot_of[worker.name]: worker for worker in stats.workers if worker.name in slot_of
    }
    slots: dict[str, SlotTotals] = {slot.slot: slot for slot in stats.slots}
    yield _worker_info(up)
    states = [((name,), float(name in up)) for name in named]
    yield _gauge("worker_up", "1 while its process can hold calls.", states, "worker")
    restarts = [((name,), float(info.restarts)) for name, info in named.items()]
    yield _counter("worker_restarts", "Times it was started again.", restarts, "worker")
    for series in _INFO_GAUGES:
        yield _gauge(series.name, series.meaning, _values(up, series), "worker")
    for series in _WORKER_GAUGES:
        yield _gauge(series.name, series.meaning, _values(workers, series), "worker")
    stations = [((name,), float(len(worker.stations))) for name, worker in workers.items()]
    yield _gauge("worker_stations", "Stations on the air.", stations, "worker")
    for series in _SLOT_COUNTERS:
        yield _counter(series.name, series.meaning, _values(slots, series), "worker")
    lateness = _histogram("worker_packet_lateness_seconds", "Sent, against the instant it was due.", "worker")
    for name, slot in slots.items():
        buckets = _buckets(slot.lateness.buckets, slot.lateness.packets)
        lateness.add_metric((name,), buckets, slot.lateness.sum_ms / _MS)
    yield lateness


def _worker_info(up: dict[str, WorkerInfo]) -> Metric:
    names = ("worker", "process", "pid", "core", "libopus", "loop", "encoder_class", "pacing_class")
    family = GaugeMetricFamily("voicepool_worker_info", "Process, core and libraries.", labels=names)
    for name, info in up.items():
        texts = (
            info.name,
            str(info.pid),
            "" if info.core is None else str(info.core),
            info.libopus,
            info.loop,
            info.encoder_class,
            info.pacing_class,
        )
        family.add_metric((name, *texts), 1)
    return family


def _of_calls(stats: PoolStats) -> Iterator[Metric]:
    calls = _listed(stats.calls)
    for series in _CALL_GAUGES:
        yield _gauge(series.name, series.meaning, _values(calls, series), "guild")
    for series in _CALL_COUNTERS:
        yield _counter(series.name, series.meaning, _values(calls, series), "guild")
    stutters = [
        ((guild, cause.value), float(count))
        for guild, call in calls.items()
        for cause, count in call.stutters.items()
    ]
    yield _counter("call_stutters", "Bad seconds, by cause.", stutters, "guild", "cause")


def _listed(calls: Sequence[CallFigures]) -> dict[str, CallFigures]:
    """Return the calls with series of their own; of two in one guild, which look alike, the older."""
    listed: dict[str, CallFigures] = {}
    for call in calls[:LISTED_CALLS]:
        listed.setdefault(str(call.guild_id), call)
    return listed


def _value(thing: object, series: _Series) -> float | None:
    value: float | None = getattr(thing, series.field)
    return None if value is None else value / series.per


def _values(things: dict[str, Any], series: _Series) -> _Pairs:
    return [((name,), _value(thing, series)) for name, thing in things.items()]


def _gauge(name: str, meaning: str, pairs: _Pairs, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"voicepool_{name}", meaning, labels=labels)
    for values, value in pairs:
        if value is not None:
            family.add_metric(values, value)
    return family


def _counter(name: str, meaning: str, pairs: _Pairs, *labels: str) -> Metric:
    family = CounterMetricFamily(f"voicepool_{name}", meaning, labels=labels)
    for values, value in pairs:
        if value is not None:
            family.add_metric(values, value)
    return family


def _histogram(name: str, meaning: str, *labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"voicepool_{name}", meaning, labels=labels)


def _buckets(buckets_ms: Sequence[tuple[float, int]], total: int) -> list[tuple[str, float]]:
    return [
        *((repr(round(bound_ms / _MS, 9)), float(count)) for bound_ms, count in buckets_ms),
        ("+Inf", float(total)),
    ]
