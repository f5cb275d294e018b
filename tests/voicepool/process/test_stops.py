"""When a child is stopped, told by the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._process import stops
from voicepool._process.stops import StopWatch

needs_waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="nobody tells of stops here")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until its standard input is closed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def threads_of(pid: int) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"voicepool stops of {pid}"]


@needs_waitid
def test_it_knows_since_when_and_again_after_each_time(child: subprocess.Popen[bytes]) -> None:
    times = iter([100.0, 200.0])

    @asyncio_test
    async def run() -> None:
        watch = StopWatch(child.pid, clock=lambda: next(times, 260.0))
        assert watch.stopped_s() is None
        child.send_signal(signal.SIGSTOP)
        await until(lambda: watch._since == 100.0)
        child.send_signal(signal.SIGCONT)
        await until(lambda: watch._since is None)
        child.send_signal(signal.SIGSTOP)
        await until(lambda: watch._since == 200.0)
        assert watch.stopped_s() == 60.0

    run()


@needs_waitid
@pytest.mark.parametrize("stopped", [False, True])
def test_it_leaves_the_end_to_who_waits_for_it(child: subprocess.Popen[bytes], *, stopped: bool) -> None:
    @asyncio_test
    async def run() -> None:
        watch = StopWatch(child.pid)
        if stopped:
            child.send_signal(signal.SIGSTOP)
            await until(lambda: watch.stopped_s() is not None)
        child.kill()
        await until(lambda: not threads_of(child.pid))
        assert child.wait() == -signal.SIGKILL

    run()


@needs_waitid
def test_of_a_process_that_is_no_child_nobody_knows() -> None:
    @asyncio_test
    async def run() -> None:
        watch = StopWatch(os.getpid())
        await until(lambda: not threads_of(os.getpid()))
        assert watch.stopped_s() is None

    run()


@pytest.mark.parametrize("lacks", ["waitid", "threads"])
def test_where_nobody_tells_nobody_knows(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    if lacks == "waitid":
        monkeypatch.setattr(stops, "_HAS_WAITID", False)
    else:

        def start_thread(_work: object, *, name: str) -> None:
            raise OSError(f"no thread for {name}")

        monkeypatch.setattr(stops, "_HAS_WAITID", True)
        monkeypatch.setattr(stops, "start_thread", start_thread)
    assert StopWatch(child.pid).stopped_s() is None
    assert not threads_of(child.pid)
