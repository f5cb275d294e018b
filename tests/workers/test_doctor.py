"""The worker's report: complete, independent part by part, and cleaned up after."""

from __future__ import annotations

import importlib
import json
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from voicepool.cli._diagnosis import WorkerFacts
from voicepool.workers import doctor
from voicepool.workers.doctor import report
from voicepool.workers.hardening import Step

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return dict(report())


def test_the_client_can_read_every_field_of_it(facts: dict[str, Any]) -> None:
    decoded = msgspec.json.decode(json.dumps(facts), type=WorkerFacts)
    assert json.loads(msgspec.json.encode(decoded)) == {
        key: {**value, "error": None} if isinstance(value, dict) else value for key, value in facts.items()
    }


def test_this_machine_has_everything(facts: dict[str, Any]) -> None:
    assert [key for key, part in facts.items() if "error" in part] == []
    assert facts["libopus"]["origin"] in {"system", "pyav", "configured"}
    assert re.search(r"\d+\.\d+", facts["libopus"]["version"])
    assert facts["davey"]["protocol_version"] >= 1
    assert facts["aes"]["seal_us_per_frame"] > 0
    timer = facts["timer"]
    assert 0 <= timer["late_p50_ms"] <= timer["late_p99_ms"] <= timer["late_max_ms"]


def test_it_leaves_threads_and_scheduling_as_they_were() -> None:
    def state() -> object:
        policy = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        return policy, cores, threading.enumerate()

    before = state()
    report()
    assert state() == before


def test_what_the_process_gave_up_is_passed_on() -> None:
    step = Step("no core dumps", applied=True, detail="RLIMIT_CORE 0")
    decoded = msgspec.convert(report([step]), WorkerFacts)
    assert [(each.name, each.applied, each.detail) for each in decoded.hardening.steps] == [
        ("no core dumps", True, "RLIMIT_CORE 0")
    ]


def test_a_broken_part_is_a_finding_and_the_others_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, object]:
        raise ImportError("libmls.so: wrong architecture")

    def silent() -> dict[str, object]:
        raise OSError

    monkeypatch.setattr(doctor, "_davey", broken)
    monkeypatch.setattr(doctor, "_timer", silent)
    facts = report()
    assert facts["davey"] == {"error": "libmls.so: wrong architecture"}
    assert facts["timer"] == {"error": "OSError"}
    assert "error" not in msgspec.convert(facts["pinning"], dict[str, object])


def test_without_uvloop_the_loop_is_asyncios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert report()["uvloop"] == {"active": False, "version": None}
    assert report()["davey"] == {"error": "davey"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu aes avx\n", True),
        ("processor : 0\nflags\t\t: fpu avx\n", False),
        ("processor : 0\nFeatures\t: fp asimd aes sha2\n", True),
        ("processor : 0\n", None),
    ],
)
def test_cpu_flags(tmp_path: Path, text: str, *, expected: bool | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert doctor._cpu_has_aes(cpuinfo) is expected
    assert doctor._cpu_has_aes(tmp_path / "missing") is None


@pytest.mark.parametrize(("ratio", "hardware"), [(0.4, True), (3.0, False)])
def test_without_flags_the_comparison_decides(
    monkeypatch: pytest.MonkeyPatch, ratio: float, *, hardware: bool
) -> None:
    costs_us = iter([ratio * 4.0, 4.0, 0.5])
    monkeypatch.setattr(doctor, "_cpu_has_aes", lambda: None)
    monkeypatch.setattr(doctor, "_cost_us", lambda _work: next(costs_us))
    assert doctor._aes() == {
        "hardware": hardware,
        "evidence": "measured",
        "ratio_to_chacha20": ratio,
        "seal_us_per_frame": 0.5,
    }


def test_timer_slack(tmp_path: Path) -> None:
    slack = tmp_path / "timerslack_ns"
    slack.write_text("50000\n")
    assert doctor._timer_slack_us(slack) == 50.0
    assert doctor._timer_slack_us(tmp_path / "missing") is None
