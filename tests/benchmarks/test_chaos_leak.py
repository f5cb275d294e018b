from __future__ import annotations

import os

import pytest

from benchmarks import chaos_leak
from voicepool.resolver import WorkerResolver


def test_it_leaks_in_the_process_it_is_meant_for_and_stops_at_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[bytes] = []
    pauses: list[float] = []
    monkeypatch.setattr(chaos_leak, "_held", held)
    monkeypatch.setattr(chaos_leak, "_MOST_BYTES", 3 * chaos_leak.STEP_BYTES)
    monkeypatch.setattr("time.sleep", pauses.append)
    chaos_leak.leak(str(os.getpid()))
    assert [len(step) for step in held] == [chaos_leak.STEP_BYTES] * 3
    assert len(pauses) == 3


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bytes] = []
    monkeypatch.setattr(chaos_leak, "_held", held)
    chaos_leak.leak(str(os.getpid() + 1))
    assert held == []


def test_workers_can_find_it() -> None:
    assert WorkerResolver(chaos_leak.leak).path == "benchmarks.chaos_leak:leak"
