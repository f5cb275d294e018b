"""What happened between two looks at a pool."""

from __future__ import annotations

from typing import Any

from voicepool._watching.status_view import CallStatus, Playing, Status, WorkerStatus
from voicepool.cli._top_rows import compare
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


def test_rates_are_over_all_workers() -> None:
    before = status(workers=[worker("w0.1", frames_sent=100), worker("w1.1", frames_nulled=1)])
    after = status(2.0, workers=[worker("w0.1", frames_sent=200), worker("w1.1", frames_nulled=4)])
    view = compare(before, after)
    assert (view.span_s, view.sent_hz, view.nulled_hz) == (2.0, 50.0, 1.5)
    assert compare(after, after).sent_hz == 0.0


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
