from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from voicepool.workers import machine
from voicepool.workers.machine import pin_to_core, rss_bytes, step_back

can_pin = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such call here")


def test_no_core_asked_for_leaves_the_choice_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        pytest.fail("nothing was asked for")

    monkeypatch.setattr(os, "sched_setaffinity", never, raising=False)
    assert pin_to_core(None) is None


@can_pin
def test_the_process_stays_on_the_core_it_is_given_with_all_its_threads() -> None:
    core = min(os.sched_getaffinity(0))
    pinning = f"""
import os, threading
from voicepool.workers.machine import pin_to_core
go, seen = threading.Event(), []
def look():
    go.wait()
    seen.append(os.sched_getaffinity(0))
thread = threading.Thread(target=look)
thread.start()
assert pin_to_core({core}) == {core}
go.set()
thread.join()
assert seen == [{{{core}}}] == [os.sched_getaffinity(0)], seen
"""
    subprocess.run([sys.executable, "-c", pinning], check=True, timeout=60)


@can_pin
def test_a_core_that_cannot_be_had_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    before = os.sched_getaffinity(0)
    with caplog.at_level(logging.WARNING):
        assert pin_to_core(1_000) is None
    assert "core 1000 cannot be had" in caplog.text
    assert os.sched_getaffinity(0) == before


def test_a_platform_without_pinning_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert pin_to_core(0) is None


def test_the_memory_held_is_what_the_system_says() -> None:
    told = psutil.Process().memory_info().rss
    assert rss_bytes() == pytest.approx(told, rel=0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="the platforms that have getrusage")
@pytest.mark.parametrize(("platform", "unit_bytes"), [("linux", 1024), ("darwin", 1)])
def test_without_proc_it_is_the_peak_in_the_units_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, unit_bytes: int
) -> None:
    import resource

    monkeypatch.setattr(machine, "_STATM", tmp_path / "missing")
    monkeypatch.setattr(sys, "platform", platform)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rss_bytes() == pytest.approx(peak * unit_bytes, rel=0.05)


def test_on_windows_it_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_STATM", tmp_path / "missing")
    monkeypatch.setattr(sys, "platform", "win32")
    assert rss_bytes() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has it for threads")
def test_only_the_thread_that_steps_back_does() -> None:
    found: list[int] = []
    before = os.nice(0)

    def look() -> None:
        step_back()
        found.append(os.nice(0))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [19]
    assert os.nice(0) == before


def test_elsewhere_stepping_back_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "nice", lambda _: pytest.fail("it would be the whole process"))
    step_back()
