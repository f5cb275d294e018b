from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from benchmarks.player_idle import switches

PID = 100


def add_thread(proc: Path, thread: int, name: str, *, voluntary: int, forced: int) -> None:
    folder = proc / str(PID) / "task" / str(thread)
    folder.mkdir(parents=True)
    (folder / "status").write_text(
        f"Name:\t{name}\nState:\tS (sleeping)\nThreads:\t3\n"
        f"voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{forced}\n",
        encoding="utf-8",
    )


def test_both_kinds_of_switches_count(tmp_path: Path) -> None:
    add_thread(tmp_path, 101, "python", voluntary=40, forced=2)
    add_thread(tmp_path, 102, "python", voluntary=0, forced=0)
    assert switches(PID, tmp_path) == {101: 42, 102: 0}


def test_control_loop_and_zeromq_are_left_out(tmp_path: Path) -> None:
    add_thread(tmp_path, PID, "python", voluntary=7, forced=7)
    add_thread(tmp_path, 101, "ZMQbg/IO/0", voluntary=7, forced=7)
    add_thread(tmp_path, 102, "voicepool-pacing", voluntary=1, forced=0)
    assert switches(PID, tmp_path) == {102: 1}


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert switches(PID, tmp_path) is None


def test_a_kernel_that_does_not_count_is_not_taken_for_one_that_sleeps(tmp_path: Path) -> None:
    folder = tmp_path / str(PID) / "task" / "101"
    folder.mkdir(parents=True)
    (folder / "status").write_text("Name:\tpython\n", encoding="utf-8")
    assert switches(PID, tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_thread_that_wakes_is_seen() -> None:
    turns = [threading.Semaphore(0), threading.Semaphore(0)]

    def answer() -> None:
        for _ in range(20):
            turns[0].acquire()
            turns[1].release()

    thread = threading.Thread(target=answer)
    thread.start()
    assert thread.native_id is not None
    before = switches(os.getpid())
    for _ in range(19):
        turns[0].release()
        turns[1].acquire()
    after = switches(os.getpid())
    turns[0].release()
    thread.join()
    if before is None or after is None:
        pytest.skip("this kernel does not count context switches")
    assert after[thread.native_id] > before[thread.native_id]
