"""What happened between two looks at a pool."""

from __future__ import annotations

import itertools
from typing import Any

from voicepool._watching.status_view import CallStatus, Playing, Status, WorkerStatus
from voicepool.cli._top_rows import advance, compare, has_news
from voicepool.ipc.histogram import LatenessHistogram


def worker(name: str = "w0.1", *late_us: int, **more: Any) -> WorkerStatus:
    histogram = LatenessHistogram()
    for each in late_us:
        histogram.record(each)
    fields: dict[str, Any] = {
        "slot": 0,
        "name": name,
        "state": "ready",
        "pid": 1,
        "core": 0,
        "calls": 1,
        "restarts": 0,
        "last_error": None,
        "rtt_ms": None,
        "lateness_counts": histogram.counts,
        "lateness_max_us": histogram.max_us,
    }
    return WorkerStatus(**fields | more)


def call(guild: int = 1, state: str = "playing", **more: Any) -> CallStatus:
    playing = Playing(guild=guild, channel=2, state=state, label="song", position_s=3.0)
    fields: dict[str, Any] = {"worker": "w0.1", "playing": playing}
    return CallStatus(**fields | more)


def status(at_s: float = 0.0, **more: Any) -> Status:
    fields: dict[str, Any] = {
        "pid": 4711,
        "program": "bot.py",
        "at_s": at_s,
        "workers": [worker()],
        "wanted": 1,
        "calls": [],
        "calls_total": 0,
        "stutters": {},
        "exits": {},
        "recovered": 0,
        "moved": 0,
        "lost": 0,
    }
    return Status(**fields | more)


def test_lateness_is_of_the_time_between() -> None:
    before = status(workers=[worker("w0.1", 50_000, 100)])
    after = status(2.0, workers=[worker("w0.1", 50_000, 100, 300, 300)])
    [row] = compare(before, after).workers
    assert row.late_p99_ms < 0.4
    assert row.late_max_ms < 0.4


def test_a_process_that_is_new_counts_from_its_start() -> None:
    before = status(workers=[worker("w0.1", frames_sent=900)])
    after = status(2.0, workers=[worker("w0.2", 2_000, frames_sent=10), worker("w1.1", frames_sent=5)])
    view = compare(before, after)
    assert view.sent_hz == 0.0
    assert view.workers[0].late_max_ms == 2.0


def test_rates_are_over_all_workers_by_their_own_clocks() -> None:
    before = status(
        workers=[worker("w0.1", frames_sent=100, uptime_s=5.0), worker("w1.1", frames_nulled=1, uptime_s=5.0)]
    )
    # Two reports of the one, and one of the other, between two looks.
    now = [worker("w0.1", frames_sent=200, uptime_s=7.0), worker("w1.1", frames_nulled=4, uptime_s=6.0)]
    after = status(1.2, workers=now)
    view = compare(before, after)
    assert (view.span_s, view.sent_hz, view.nulled_hz) == (1.2, 50.0, 3.0)
    assert compare(after, after).sent_hz == 0.0


def test_what_a_worker_reported_last_is_shown_until_it_reports_again() -> None:
    def look(at_s: float, *uptimes_s: float, stutters: int = 0) -> Status:
        workers = [
            worker(f"w{slot}.1", uptime_s=uptime_s, frames_sent=int(50 * uptime_s))
            for slot, uptime_s in enumerate(uptimes_s)
        ]
        suffering = call(1, stutters={"source starved": stutters})
        return status(at_s, workers=workers, calls=[suffering, call(2, worker="w1.1")])

    looks = [
        look(0.0, 5.0, 5.0),
        look(1.0, 6.0, 6.0, stutters=1),
        look(1.9, 6.0, 7.0, stutters=1),
        look(2.8, 7.0, 7.0, stutters=1),
    ]
    before, shown = looks[0], []
    for last, now in itertools.pairwise(looks):
        before = advance(before, last, now)
        view = compare(before, now)
        [suffering] = [row for row in view.calls if row.guild == 1]
        shown.append((view.sent_hz, suffering.troubles))
    assert shown == [(100.0, {"source starved": 1}), (100.0, {"source starved": 1}), (100.0, {})]


def test_what_is_gone_is_not_compared_with() -> None:
    first = status(workers=[worker("w0.1", uptime_s=1.0)], calls=[call(1), call(2)])
    second = status(1.0, workers=[worker("w0.2", uptime_s=1.0)], calls=[call(2)])
    before = advance(first, first, second)
    assert (before.workers, [each.playing.guild for each in before.calls]) == ([], [2])


def test_there_is_news_when_every_worker_has_reported() -> None:
    first = status(workers=[worker(uptime_s=None)])
    second = status(1.0, workers=[worker(uptime_s=0.5)])
    third = status(2.0, workers=[worker(uptime_s=1.5)])
    assert [has_news(first, first), has_news(first, second), has_news(second, third)] == [False, True, True]
    assert not has_news(third, third)
    assert has_news(third, status(3.0, workers=[worker("w0.2", uptime_s=1.5)]))
    both = [worker(uptime_s=2.5), worker("w1.1", uptime_s=1.0)]
    assert has_news(third, status(3.0, workers=both))
    later = [worker(uptime_s=3.5), worker("w1.1", uptime_s=1.0)]
    assert not has_news(status(3.0, workers=both), status(4.0, workers=later))


def test_calls_that_suffer_come_first() -> None:
    before = status(calls=[call(1), call(2, stutters={"overloaded": 2}), call(3), call(4), call(5)])
    now = [
        call(1),
        call(2, stutters={"overloaded": 2}, suffered_s=30.0),
        call(3, stutters={"source starved": 1, "moved": 2}, suffered_s=0.1),
        call(4, "interrupted"),
        call(5, suffered_s=5_000.0),
    ]
    view = compare(before, status(1.0, calls=now))
    assert [row.guild for row in view.calls] == [4, 3, 2, 1, 5]
    assert view.calls[1].troubles == {"source starved": 1, "moved": 2}
    assert (view.calls[2].troubles, view.calls[2].before) == ({}, {"overloaded": 2})


def test_memory_is_in_mebibytes_and_may_be_unknown() -> None:
    workers = [worker(memory_bytes=3 << 20), worker("", slot=7, memory_bytes=None)]
    rows = compare(status(), status(1.0, workers=workers)).workers
    assert [(row.name, row.memory_mib) for row in rows] == [("w0.1", 3.0), ("w7", None)]


def test_what_a_worker_gave_up_is_in_milliseconds_and_of_the_time_between() -> None:
    before = status(workers=[worker("w0.1", ticks_skipped=10, rescues=1)])
    after = status(
        2.0, workers=[worker("w0.1", ticks_skipped=59, rescues=3), worker("w1.1", ticks_skipped=5)]
    )
    stalled, new = compare(before, after).workers
    assert (stalled.stalled_ms, stalled.rescues) == (980, 2)
    assert (new.stalled_ms, new.rescues) == (0, 0)
