"""Another core for a process that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voicepool._machine.repinning import repin

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such call here")


@needs_affinity
def test_all_threads_of_a_process_are_moved() -> None:
    code = "import sys, threading; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        core = max(os.sched_getaffinity(process.pid))
        repin(process.pid, core)
        threads = [int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) == 2
        assert [os.sched_getaffinity(thread) for thread in threads] == [{core}] * 2
        process.stdin.close()
        assert process.wait() == 0


def test_where_it_cannot_be_done_nothing_happens() -> None:
    repin(None, 0)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    repin(gone.pid, 0)


@needs_affinity
def test_a_core_that_is_not_there_is_no_error_and_the_bot_is_never_pinned() -> None:
    before = os.sched_getaffinity(0)
    repin(os.getpid(), min(before))
    assert os.sched_getaffinity(0) == before
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        repin(process.pid, 1_000)
        assert os.sched_getaffinity(process.pid) == before
        process.stdin.write(b"\n")
