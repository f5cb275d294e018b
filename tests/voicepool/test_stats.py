"""Snapshots are frozen, and say little when nothing is known."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.fakes.figures import call_figures, report
from voicepool._watching.report import summarise
from voicepool.stats import PoolStats, WorkerInfo, WorkerState


def test_an_empty_pool_has_figures_too() -> None:
    stats = PoolStats()
    assert (stats.frames_sent, stats.lateness.p99_ms, stats.workers) == (0, 0.0, ())


def test_snapshots_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PoolStats().frames_sent = 1  # type: ignore[misc]


def test_they_can_be_written_as_json() -> None:
    info = WorkerInfo(slot=0, name="w0.1", state=WorkerState.READY)
    assert json.loads(json.dumps(dataclasses.asdict(info)))["state"] == "ready"
    assert json.loads(json.dumps(dataclasses.asdict(PoolStats())))["calls"] == []
    call = call_figures(frames_nulled=1)
    stats = summarise([(report("w0.1", [100], calls=[call]), 0.5)], {call.call: 7}, unreadable=0)
    [told] = json.loads(json.dumps(dataclasses.asdict(stats)))["calls"]
    assert told["stutters"]["encoder behind"] == 1
