from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import Cores, commit, describe, keep_to, others_cpu_s, stolen_s

PINS = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this platform pins nothing")


class TestCores:
    @PINS
    def test_the_worker_gets_the_last_core_and_the_rest_the_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 3})
        assert Cores.plan() == Cores(worker=5, rest=2, allowed=(2, 3, 5))
        assert Cores.plan().note is None

    @PINS
    def test_with_one_core_the_report_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4})
        plan = Cores.plan()
        assert (plan.worker, plan.rest) == (4, 4)
        assert "one core only" in str(plan.note)

    def test_where_nothing_can_be_pinned_the_report_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_CAN_PIN", False)
        assert Cores.plan() == Cores(None, None)
        assert "pins no process" in str(Cores.plan().note)


@PINS
class TestKeepTo:
    def test_all_threads_are_moved_and_can_be_moved_back(self) -> None:
        before = os.sched_getaffinity(0)
        started, done = threading.Event(), threading.Event()
        seen: list[set[int]] = []

        def wait() -> None:
            started.set()
            done.wait(10)
            seen.append(os.sched_getaffinity(0))

        thread = threading.Thread(target=wait)
        thread.start()
        started.wait(10)
        try:
            keep_to(min(before))
            assert os.sched_getaffinity(0) == {min(before)}
            done.set()
            thread.join()
            if Path("/proc/self/task").is_dir():
                assert seen == [{min(before)}]
        finally:
            done.set()
            keep_to(*before)
        assert os.sched_getaffinity(0) == before

    def test_no_core_means_no_change(self) -> None:
        before = os.sched_getaffinity(0)
        keep_to(None, None)
        assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc")
class TestOthers:
    def test_own_processes_are_not_others(self) -> None:
        sum(range(3_000_000))  # Some ticks for this process, so that leaving it out shows.
        everyone = others_cpu_s(set())
        others = others_cpu_s({os.getpid()})
        assert everyone is not None
        assert others is not None
        assert everyone - others >= 0.01

    def test_time_of_children_that_have_ended_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = tmp_path / "42"
        process.mkdir()
        (tmp_path / "stat").touch()
        # Own user and system time are 100 and 20 ticks, its children's 3 and 4; the name tries to confuse.
        (process / "stat").write_text("42 (a) b 1) S 1 42 42 0 -1 0 9 9 9 9 100 20 3 4 20 0 1 0 5 0 0\n")
        monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
        monkeypatch.setattr(os, "sysconf", lambda _: 100)
        assert others_cpu_s(set()) == pytest.approx(1.27)
        assert others_cpu_s({42}) == 0.0

    def test_stolen_time_is_known_for_a_core_there_is(self) -> None:
        (core, *_) = Cores.plan().allowed
        found = stolen_s(core)
        assert found is not None
        assert found >= 0.0

    @pytest.mark.parametrize("core", [None, 100_000])
    def test_and_unknown_for_any_other(self, core: int | None) -> None:
        assert stolen_s(core) is None

    def test_without_proc_nothing_is_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
        assert others_cpu_s(set()) is None
        assert stolen_s(0) is None


def test_the_machine_is_described_in_json() -> None:
    found = describe()
    assert json.loads(json.dumps(found)) == found
    assert {"cpu", "cores", "system", "python", "libopus", "libopus_origin"} <= set(found)
    assert all(found.values())


class TestCommit:
    def test_outside_a_checkout_there_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "ROOT", tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert commit() is None

    @pytest.mark.parametrize(("status", "shown"), [("", "abc"), (" M file", "abc+changes")])
    def test_changed_files_are_told(self, status: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_git", lambda what, *_: "abc" if what == "rev-parse" else status)
        assert commit() == shown
