"""Real workers that are killed, stopped, hang, or grow; and bots that end in any way but in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest

from tests.fakes.pool import until
from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool._machine.oom import count_oom_kills
from voicepool._process import memory
from voicepool._process.launcher import LocalLauncher
from voicepool._process.rendezvous import Rendezvous
from voicepool._process.slot import Slot
from voicepool._process.worker import Worker
from voicepool.ipc.commands import ReportStats, WorkerSettings
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import ExitReason, PoolEvent, WorkerHeavy, WorkerLost, WorkerStarted
from voicepool.stats import WorkerState

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

MIB = 1 << 20
LONGEST_GOODBYE_S = 10.0
"""For workers whose bot is gone; they take 1.5 s at most, and this machine may be busy."""

PATIENT = 'import runpy; runpy.run_module("voicepool.workers", run_name="__main__", alter_sys=True)'
HANGS = f"""
import re, signal
def hang_for_ever(*_):
    # Backtracks for longer than the universe is old, in C, and holds the interpreter's lock.
    re.match("(a+)+$", "a" * 100 + "b")
signal.signal(signal.SIGUSR2, hang_for_ever)
{PATIENT}
"""
GROWS = f"""
import signal
hoard = []
def grow(*_):
    hoard.append(b"x" * (2 << 20))
signal.signal(signal.SIGUSR2, grow)
{PATIENT}
"""


class Bench:
    """A slot with real workers, and what it told."""

    def __init__(self, place: Rendezvous, code: str | None, **limits: Any) -> None:
        self.told: list[PoolEvent] = []
        self.crashes: list[WorkerId] = []
        self.heavy: list[Slot] = []
        self.made: list[Worker] = []
        self._place = place
        self._launcher = LocalLauncher((sys.executable, "-P", "-c", code) if code is not None else None)
        self._limits = limits
        self.slot = Slot(
            0,
            None,
            make=self._make,
            on_change=lambda: None,
            tell=self.told.append,
            on_heavy=self.heavy.append,
        )

    @property
    def worker(self) -> Worker:
        assert self.slot.worker is not None
        return self.slot.worker

    def of(self, kind: type[PoolEvent]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def send(self, number: signal.Signals) -> int:
        assert self.worker.pid is not None
        os.kill(self.worker.pid, number)
        return self.worker.pid

    async def wait_for(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110 - real processes, some of them by no event of ours
            await asyncio.sleep(0.01)

    async def answers(self) -> Stats:
        make = self.worker.link.request
        return await make(lambda number: ReportStats(request=number), Stats, timeout_s=SAFETY_S).answer()

    def _make(self, slot: Slot, start: int) -> Worker:
        worker = Worker(
            WorkerId(f"w{slot.index}.{start}"),
            settings=WorkerSettings(core=None, stats_interval_s=0.05),
            rendezvous=self._place,
            launcher=self._launcher,
            start_timeout_s=SAFETY_S,
            stop_timeout_s=SAFETY_S,
            on_crash=self.crashes.append,
            **self._limits,
        )
        self.made.append(worker)
        return worker


@contextlib.asynccontextmanager
async def bench(code: str | None = None, **limits: Any) -> AsyncIterator[Bench]:
    place = Rendezvous("auto", max_attachment_bytes=1 << 20)
    try:
        one = Bench(place, code, **limits)
        await one.slot.start()
        try:
            yield one
        finally:
            await one.slot.stop()
    finally:
        await place.close()


@asyncio_test
async def test_a_worker_that_somebody_kills_is_replaced_and_no_source_is_to_blame() -> None:
    async with bench() as here:
        killed = here.send(signal.SIGKILL)
        await here.wait_for(lambda: len(here.of(WorkerStarted)) == 2)
        (lost,) = here.of(WorkerLost)
        assert (lost.reason, lost.worker) == (ExitReason.KILLED, "w0.1")
        assert here.crashes == ([] if count_oom_kills() is not None else ["w0.1"])
        assert not psutil.pid_exists(killed)
        assert (await here.answers()).worker == "w0.2"


@asyncio_test
async def test_a_worker_that_was_stopped_is_given_up_and_killed() -> None:
    async with bench(heartbeat_interval_s=0.1, hang_timeout_s=1.0) as here:
        stopped = here.send(signal.SIGSTOP)
        await here.wait_for(lambda: here.of(WorkerLost))
        (lost,) = here.of(WorkerLost)
        assert lost.reason is ExitReason.HUNG
        assert "gave no sign of life" in lost.text
        if sys.platform == "linux":
            assert "stopped, as by SIGSTOP" in lost.text
            assert here.crashes == []
        await here.wait_for(lambda: not psutil.pid_exists(stopped))
        await here.wait_for(lambda: here.slot.worker is not None)


@asyncio_test
async def test_a_worker_that_hangs_says_where_before_it_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(HANGS, heartbeat_interval_s=0.1, hang_timeout_s=1.0) as here:
        hung = here.send(signal.SIGUSR2)
        await here.wait_for(lambda: here.of(WorkerLost))
        assert here.of(WorkerLost)[0].reason is ExitReason.HUNG
        assert here.crashes == ["w0.1"]
        await here.wait_for(lambda: not psutil.pid_exists(hung))
    assert "w0.1" in caplog.text
    assert "in hang_for_ever" in caplog.text


@asyncio_test
async def test_a_worker_lives_through_a_bot_that_is_blocked_for_longer_than_it_may_be_silent() -> None:
    async with bench(heartbeat_interval_s=0.05, hang_timeout_s=0.4) as here:
        for _ in range(2):
            # The loop itself is what stands still here.
            signal.sigtimedwait([signal.SIGUSR2], 0.6)
            assert (await here.answers()).worker == "w0.1"
        assert here.worker.link.rtt_ms is not None


@pytest.mark.skipif(sys.platform != "linux", reason="others tell less of their memory")
@asyncio_test
async def test_a_worker_that_grows_is_told_then_replaced_then_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "YOUNG_S", 0.0)
    async with bench(GROWS) as here:
        present = None
        while present is None:
            present = (await here.answers()).pss_bytes
    async with bench(GROWS, memory_limit_bytes=present + 30 * MIB) as here:
        while not here.heavy:
            here.send(signal.SIGUSR2)
            await here.answers()
        # What it shares with others, and so its share of that, is not the same from one moment to the next,
        # and it may be warned of more than once.
        *warned, replaced = [event.replaced for event in here.of(WorkerHeavy)]
        assert replaced
        assert not any(warned)
        assert len(here.heavy) == 1
        while not here.of(WorkerLost):
            with contextlib.suppress(AssertionError):
                here.send(signal.SIGUSR2)
            await asyncio.sleep(0.01)
        (lost,) = here.of(WorkerLost)
        assert lost.reason is ExitReason.OVER_MEMORY
        assert "memory_limit_mib" in lost.text
        await here.wait_for(lambda: not psutil.pid_exists(here.made[0].pid or 0))


@pytest.mark.parametrize("turns", [0, 300])
def test_a_slot_may_be_stopped_while_its_worker_is_replaced(turns: int) -> None:
    """What is left of the replacement would be seen by `nothing_left_behind`."""

    @asyncio_test
    async def run() -> None:
        async with bench() as here:
            here.send(signal.SIGKILL)
            await until(lambda: here.slot.state is WorkerState.RESTARTING)
            for _ in range(turns):
                await asyncio.sleep(0)
        assert here.slot.state is WorkerState.STOPPED
        assert {event.reason for event in here.of(WorkerLost)} <= {ExitReason.KILLED, ExitReason.ASKED}

    run()


# Bots.

BOT = """
import asyncio, os, sys, voicepool

async def main():
    print("starting", flush=True)
    async with voicepool.VoicePool(voicepool.PoolConfig(workers=2, attach=False)) as pool:
        if "fork" in sys.argv and os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def bot(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BOT,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        # Until its fork, if it has one, has ended too.
        await process.stdout.read()
        await process.wait()


async def hear(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    while (line := await process.stdout.readline()) != f"{word}\n".encode():
        assert line, f"the bot ended before it said {word}"


def workers_of(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "voicepool.workers" in " ".join(child.cmdline())]


async def assert_gone(workers: list[psutil.Process]) -> None:
    assert len(workers) == 2
    _, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=LONGEST_GOODBYE_S)
    assert not alive


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@asyncio_test
async def test_a_fork_of_a_bot_that_was_killed_keeps_no_worker() -> None:
    async with bot("fork") as process:
        await hear(process, "up")
        workers = workers_of(process)
        (fork,) = (child for child in psutil.Process(process.pid).children() if child not in workers)
        process.kill()
        await assert_gone(workers)
        assert fork.is_running()


@asyncio_test
async def test_a_bot_that_is_ended_by_ctrl_c_leaves_no_worker() -> None:
    """That it is ended by SIGTERM, by Ctrl-C twice, or while it starts, is in ``test_pool_bad_input.py``."""
    async with bot() as process:
        await hear(process, "up")
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        await assert_gone(workers)
        await process.wait()
