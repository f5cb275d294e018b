"""A worker process from start to end, with real processes that behave and misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq.asyncio

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker, TaskProcess, command_line
from voicepool._process import flood
from voicepool._process import worker as _worker
from voicepool._process.launcher import Launcher, LocalLauncher
from voicepool._process.rendezvous import Rendezvous
from voicepool._process.worker import Worker
from voicepool.errors import LibopusMissingError, WorkerLostError, WorkerStartError
from voicepool.ipc.channel import WorkerEnd
from voicepool.ipc.commands import Ping, ReportStats, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import Bye, Done, EndReason, Hello, Ready, StartFailed, Stats, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId
from voicepool.ipc.version import WIRE_VERSION
from voicepool.pool_events import ExitReason

SETTINGS = WorkerSettings(core=1, bitrate_bps=64_000)
LONG_S = 600.0
"""A limit that the test must not reach."""
READY = Ready(libopus="libopus 9.9", libopus_origin="system", loop="asyncio", encoder_class="idle")
ENDED: dict[str, Any] = {
    "call": CallId("call"),
    "playback": PlaybackId("track"),
    "reason": EndReason.FINISHED,
}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


@contextlib.asynccontextmanager
async def rendezvous(kind: Any = "auto") -> AsyncIterator[Rendezvous]:
    place = Rendezvous(kind, max_attachment_bytes=1 << 20)
    try:
        yield place
    finally:
        await place.close()


def make(
    place: Rendezvous,
    launcher: Launcher | str,
    *,
    start_timeout_s: float = LONG_S,
    stop_timeout_s: float = LONG_S,
    **more: Any,
) -> Worker:
    return Worker(
        WorkerId("w0.1"),
        settings=SETTINGS,
        rendezvous=place,
        launcher=LocalLauncher(command_line(launcher)) if isinstance(launcher, str) else launcher,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=stop_timeout_s,
        **more,
    )


def alive(pid: int | None) -> bool:
    assert pid is not None
    return bool(psutil.pid_exists(pid))


# The start.


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_it_starts_answers_and_ends(kind: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous(kind) as place:
            worker = make(place, "good")
            await worker.start()
            assert alive(worker.pid)
            assert worker.ready.libopus == "libopus 9.9"
            request = worker.link.request(lambda number: ReportStats(request=number), Stats, timeout_s=LONG_S)
            assert (await request.answer()).worker == "w0.1"
            await worker.stop()
            assert place._doorman is None or not place._doorman._keys
            assert not alive(worker.pid)
            assert str(worker.lost) == "worker w0.1 exited with code 0"

    run()


@asyncio_test
async def test_it_is_told_its_settings() -> None:
    fakes = InProcess()
    async with rendezvous() as place:
        worker = make(place, fakes)
        await worker.start()
        assert fakes.workers[0].setup is not None
        assert fakes.workers[0].setup.settings == SETTINGS
        await worker.stop()


@asyncio_test
async def test_a_worker_that_dies_at_once_is_quoted() -> None:
    async with rendezvous() as place:
        worker = make(place, "dies")
        with pytest.raises(WorkerStartError) as caught:
            await worker.start()
        assert str(caught.value).splitlines() == [
            "worker w0.1 exited with code 3 before it was ready; its last words:",
            "first line",
            "last line of a dying worker",
        ]
        assert not alive(worker.pid)


@asyncio_test
async def test_a_worker_that_dies_after_its_hello_is_noticed() -> None:
    async with rendezvous() as place:
        worker = make(place, "dies-after-hello")
        with pytest.raises(
            WorkerStartError, match="exited with code 7 before it was ready, and said nothing"
        ):
            await worker.start()


@asyncio_test
async def test_a_worker_that_is_killed_during_its_start_is_noticed() -> None:
    async with rendezvous() as place:
        worker = make(place, "mute-after-hello")
        starting = asyncio.create_task(worker.start())
        await until(lambda: worker.pid)
        worker.kill()
        with pytest.raises(WorkerStartError, match="was killed by SIGKILL before it was ready"):
            await starting


@pytest.mark.parametrize(
    ("mode", "error"), [("fails", WorkerStartError), ("no-libopus", LibopusMissingError)]
)
def test_a_worker_that_cannot_start_says_why(mode: str, error: type[WorkerStartError]) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous() as place:
            worker = make(place, mode)
            with pytest.raises(error, match="there is no sound in this machine") as caught:
                await worker.start()
            assert type(caught.value) is error
            assert not alive(worker.pid)

    run()


@asyncio_test
async def test_a_reason_that_arrives_after_the_exit_is_still_told() -> None:
    said = asyncio.Event()

    async def script(worker: ScriptedWorker) -> None:
        await worker.greet()
        worker.say(StartFailed(error=ErrorInfo(code=ErrorCode.LIBOPUS_MISSING, text="the real reason")))
        await worker.close()
        said.set()

    class Hasty(TaskProcess):
        async def wait(self) -> int:
            return 1

    class HastyLauncher:
        async def launch(self, bootstrap: Bootstrap) -> Hasty:
            return Hasty(ScriptedWorker(bootstrap), script)

    async with rendezvous() as place:
        worker = make(place, HastyLauncher())
        with pytest.raises(LibopusMissingError, match="the real reason"):
            await worker.start()
        await said.wait()


@pytest.mark.parametrize("mode", ["silent", "mute-after-hello", "immortal-and-silent"])
def test_a_worker_that_is_not_ready_in_time_is_ended(mode: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous() as place:
            worker = make(place, mode, start_timeout_s=0.3)
            with pytest.raises(WorkerStartError, match=r"is not ready after start_timeout_s = 0\.3"):
                await worker.start()
            assert not alive(worker.pid)

    run()


@asyncio_test
async def test_a_worker_of_another_version_is_refused_with_both_versions() -> None:
    async with rendezvous() as place:
        worker = make(place, "old")
        with pytest.raises(WorkerStartError, match=f"version {WIRE_VERSION + 1}, this bot {WIRE_VERSION}"):
            await worker.start()
        assert not alive(worker.pid)


@asyncio_test
async def test_a_stranger_at_the_address_spoils_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def script(worker: ScriptedWorker) -> None:
        context = zmq.asyncio.Context()
        stranger = WorkerEnd(context, worker.bootstrap.address, curve=worker.bootstrap.curve)
        stranger.post(Hello(wire_version=WIRE_VERSION, worker=WorkerId("w0.1"), start_token="a guess", pid=1))
        await stranger.flush()
        await stranger.close(linger_ms=1_000)
        # Waits until it is delivered; meanwhile the doorman on this loop has to look at its key.
        await asyncio.to_thread(context.term)
        await worker.send_raw(b"\xc1")
        await worker.greet()
        await worker.serve()

    async with rendezvous() as place:
        worker = make(place, InProcess(script))
        await worker.start()
        await worker.stop()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("without the right start token" in text for text in warnings)
    assert not any("a guess" in text for text in warnings)


@asyncio_test
async def test_a_worker_that_cannot_be_launched_is_a_start_error() -> None:
    async with rendezvous() as place:
        worker = make(place, LocalLauncher(("/nonexistent/python",)))
        with pytest.raises(WorkerStartError, match=r"w0\.1 cannot be started: .*nonexistent"):
            await worker.start()


@asyncio_test
async def test_a_cancelled_start_leaves_no_process() -> None:
    async with rendezvous() as place:
        worker = make(place, "mute-after-hello")
        starting = asyncio.create_task(worker.start())
        await until(lambda: worker.pid)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not alive(worker.pid)


@asyncio_test
async def test_a_worker_that_logs_much_is_not_held_up() -> None:
    async with rendezvous() as place:
        worker = make(place, "chatty")
        await worker.start()
        await worker.stop()


# The end.


def steps(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.name == "voicepool.worker"]


@asyncio_test
async def test_a_worker_that_does_not_obey_gets_sigterm(caplog: pytest.LogCaptureFixture) -> None:
    async with rendezvous() as place:
        worker = make(place, "stubborn", stop_timeout_s=0.2)
        await worker.start()
        await worker.stop()
        assert not alive(worker.pid)
        assert str(worker.lost) == "worker w0.1 was killed by SIGTERM"
    assert steps(caplog) == ["worker w0.1 does not leave when asked; sent SIGTERM"]


@asyncio_test
async def test_a_worker_that_ignores_sigterm_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async with rendezvous() as place:
        worker = make(place, "immortal", stop_timeout_s=0.2)
        await worker.start()
        await worker.stop()
        assert not alive(worker.pid)
        assert str(worker.lost) == "worker w0.1 was killed by SIGKILL"
    assert steps(caplog) == [
        "worker w0.1 does not leave when asked; sent SIGTERM",
        "worker w0.1 does not leave at SIGTERM; sending SIGKILL",
    ]


@asyncio_test
async def test_a_cancelled_stop_kills() -> None:
    async with rendezvous() as place:
        worker = make(place, "immortal")
        await worker.start()
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert not alive(worker.pid)


@asyncio_test
async def test_stopping_twice_does_nothing() -> None:
    async with rendezvous() as place:
        worker = make(place, "good")
        await worker.start()
        await worker.stop()
        await worker.stop()


@pytest.mark.skipif(
    sys.platform == "win32", reason="there a process that is killed has an exit code of its own"
)
@pytest.mark.parametrize(
    ("number", "words", "reason", "crashed"),
    [
        (signal.SIGABRT, "was killed by SIGABRT", ExitReason.CRASHED, True),
        (signal.SIGKILL, "was killed by SIGKILL", ExitReason.KILLED, False),
        (signal.SIGTERM, "was killed by SIGTERM", ExitReason.LEFT, False),
    ],
)
def test_a_crash_is_told_before_the_calls_are(
    number: signal.Signals, words: str, reason: ExitReason, *, crashed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asyncio_test
    async def run() -> None:
        monkeypatch.setattr(_worker, "count_oom_kills", lambda: 7)
        async with rendezvous() as place:
            told: list[tuple[str, object]] = []
            worker: Worker = make(place, "good", on_crash=lambda name: told.append((name, worker.lost)))
            await worker.start()
            assert worker.pid is not None
            os.kill(worker.pid, number)
            lost = await worker.wait_lost()
            assert str(lost) == f"worker w0.1 {words}"
            assert isinstance(lost, WorkerLostError)
            assert lost.exit_status == -number
            assert lost.data["reason"] == reason.value
            assert worker.exit is not None
            assert worker.exit.reason is reason
            assert told == ([("w0.1", None)] if crashed else [])
            await worker.stop()

    run()


@asyncio_test
async def test_the_calls_are_told_even_if_nobody_can_take_note_of_the_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_worker: WorkerId) -> None:
        raise RuntimeError("a mistake in the quarantine")

    async with rendezvous() as place:
        worker = make(place, "good", on_crash=fail)
        await worker.start()
        worker.condemn(ExitReason.HUNG, "hangs")
        assert isinstance(worker.lost, WorkerLostError)
        await worker.stop()
    assert "a mistake in the quarantine" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@asyncio_test
async def test_the_kernel_that_ends_a_worker_for_want_of_memory_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([7, 8])
    monkeypatch.setattr(_worker, "count_oom_kills", lambda: next(counts))
    async with rendezvous() as place:
        told: list[str] = []
        worker = make(place, "good", on_crash=told.append)
        await worker.start()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert "for want of memory" in str(await worker.wait_lost())
        assert told == ["w0.1"]
        await worker.stop()


@asyncio_test
async def test_what_was_said_before_the_end_is_read_before_it_is_told() -> None:
    heard: list[object] = []
    greeted = asyncio.Event()

    async def script(scripted: ScriptedWorker) -> None:
        await scripted.greet()
        scripted.say(READY)
        await greeted.wait()
        for number in range(900):
            scripted.say(TrackEnded(**ENDED, frames_sent=number))

    class Listener:
        def take(self, thing: object) -> None:
            heard.append(thing)

        on_track_event = on_call_closed = on_call_event = on_stats = on_worker_lost = take

    async with rendezvous() as place:
        worker = make(place, InProcess(script))
        await worker.start()
        worker.link.listen(CallId("call"), Listener())
        assert worker.link.calls == 1
        greeted.set()
        await worker.wait_lost()
        assert len(heard) == 901
        assert isinstance(heard[-1], WorkerLostError)
        assert worker.link.calls == 1
        await worker.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
@asyncio_test
async def test_a_stray_child_that_keeps_the_output_open_does_not_hide_the_end() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from tests.fakes import worker\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "stray = subprocess.Popen(sleep, stdin=subprocess.DEVNULL)\n"
        "print('stray', stray.pid, flush=True)\n"
        "sys.argv[1:] = ['dies-after-hello']\n"
        "worker.main()\n"
    )
    async with rendezvous() as place:
        worker = make(place, LocalLauncher((sys.executable, "-c", code)))
        with pytest.raises(WorkerStartError, match="exited with code 7") as caught:
            await worker.start()
        (line,) = (line for line in str(caught.value).splitlines() if line.startswith("stray"))
        stray = psutil.Process(int(line.split()[1]))
        assert stray.is_running()
        stray.kill()


# Giving it up.


def silent_after_ready(scripted: ScriptedWorker) -> Coroutine[Any, Any, None]:
    async def script() -> None:
        await scripted.greet()
        scripted.say(READY)
        await asyncio.Event().wait()

    return script()


class Stoppable(InProcess):
    """A launcher of processes that can be asked for their stacks."""

    def __init__(self, script: Any, *, is_stopped: bool, stacks: Sequence[str] = ()) -> None:
        super().__init__(script)
        self.is_stopped = is_stopped
        self.stacks = stacks
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def launch(self, bootstrap: Bootstrap) -> TaskProcess:
        process = await super().launch(bootstrap)

        async def dump(_timeout_s: float) -> Sequence[str]:
            self.asked += 1
            await self.may_answer.wait()
            return self.stacks

        process.is_stopped = self.is_stopped  # type: ignore[attr-defined]
        process.dump_stacks = dump  # type: ignore[attr-defined]
        return process


@asyncio_test
async def test_a_worker_that_hangs_is_lost_at_once_and_asked_where_before_it_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    launcher = Stoppable(silent_after_ready, is_stopped=False, stacks=["Thread 1", "  line 7 in loop"])
    async with rendezvous() as place:
        told: list[str] = []
        worker = make(place, launcher, heartbeat_interval_s=0.01, hang_timeout_s=0.05, on_crash=told.append)
        await worker.start()
        lost = await worker.wait_lost()
        assert isinstance(lost, WorkerLostError)
        assert (lost.data["reason"], lost.exit_status) == ("hung", None)
        assert "gave no sign of life" in str(lost)
        assert "hang_timeout_s = 0.05" in str(lost)
        assert told == ["w0.1"]
        await until(lambda: launcher.asked)
        assert launcher.processes[0].signals == []
        launcher.may_answer.set()
        await worker.stop()
        assert launcher.processes[0].signals == ["kill"]
    assert "w0.1 (pid" in caplog.text
    assert "Thread 1\n  line 7 in loop" in caplog.text


@asyncio_test
async def test_a_worker_that_was_stopped_is_not_asked_and_its_sources_are_not_to_blame() -> None:
    launcher = Stoppable(silent_after_ready, is_stopped=True)
    async with rendezvous() as place:
        told: list[str] = []
        worker = make(place, launcher, heartbeat_interval_s=0.01, hang_timeout_s=0.05, on_crash=told.append)
        await worker.start()
        assert "its process was stopped, as by SIGSTOP" in str(await worker.wait_lost())
        await worker.stop()
        assert (launcher.asked, told) == (0, [])


@asyncio_test
async def test_a_cancelled_stop_does_not_wait_for_stacks() -> None:
    launcher = Stoppable(silent_after_ready, is_stopped=False)
    async with rendezvous() as place:
        worker = make(place, launcher, heartbeat_interval_s=0.01, hang_timeout_s=0.05)
        await worker.start()
        await worker.wait_lost()
        await until(lambda: launcher.asked)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert launcher.processes[0].signals == ["kill"]


@asyncio_test
async def test_a_worker_that_answers_is_not_given_up_whatever_the_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dates = itertools.cycle([0.0, 4e9, 1e9])
    monkeypatch.setattr(time, "time", lambda: next(dates))

    async def script(scripted: ScriptedWorker) -> None:
        await scripted.greet()
        scripted.say(READY)
        for _ in range(30):
            command, _ = await scripted._link.receive()
            assert isinstance(command, Ping)
            scripted.say(Done(request=command.request))

    async with rendezvous() as place:
        # Far more than hang_timeout_s passes, ping by ping.
        worker = make(place, InProcess(script), heartbeat_interval_s=0.01, hang_timeout_s=0.2)
        await worker.start()
        await worker.wait_lost()
        assert worker.exit is not None
        assert worker.exit.reason is ExitReason.LEFT
        assert worker.link.rtt_ms is not None
        assert worker.link.rtt_ms >= 0.0
        await worker.stop()


@asyncio_test
async def test_a_worker_far_beyond_its_memory_is_ended_at_once() -> None:
    async def script(scripted: ScriptedWorker) -> None:
        await scripted.greet()
        scripted.say(READY)
        scripted.say(scripted.stats(pss_bytes=85))
        scripted.say(scripted.stats(pss_bytes=126, complexity=7, sheds=1))
        await asyncio.Event().wait()

    async with rendezvous() as place:
        heavy: list[tuple[int, bool]] = []
        complexities: list[int] = []
        launcher = InProcess(script)
        worker = make(place, launcher, memory_limit_bytes=100)
        worker.on_memory = lambda used_bytes, replace: heavy.append((used_bytes, replace))
        worker.on_complexity = complexities.append
        await worker.start()
        lost = await worker.wait_lost()
        assert lost.data["reason"] == "over memory"
        assert heavy == [(85, False)]
        await worker.stop()
        assert launcher.processes[0].signals == ["kill"]
        assert complexities == [7]


@asyncio_test
async def test_a_worker_that_floods_its_bot_is_ended_and_the_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flood, "MAX_MESSAGES_PER_S", 100.0)

    async def script(scripted: ScriptedWorker) -> None:
        await scripted.greet()
        scripted.say(READY)
        while True:
            scripted.say(Bye())
            await scripted._link.flush()

    async with rendezvous() as place:
        worker = make(place, InProcess(script))
        await worker.start()
        lost = await worker.wait_lost()
        assert str(lost) == "worker w0.1 floods its bot with messages"
        assert lost.data["reason"] == "crashed"
        await worker.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_of_the_bot_does_nothing_to_its_workers() -> None:
    """In a process of its own, since pytest's must not be forked with its loop running."""
    code = """
import asyncio, gc, os, sys
from tests.voicepool.process.test_worker import make, rendezvous
from voicepool.errors import WorkerLostError
from voicepool.ipc.commands import Ping, ReportStats
from voicepool.ipc.events import Stats

async def main():
    async with rendezvous() as place:
        worker = make(place, "good")
        await worker.start()
        child = os.fork()
        if child == 0:
            code = 3
            try:
                worker.kill()
                try:
                    worker.stop().send(None)
                except StopIteration:
                    code = 0
                try:
                    worker.link.ping()
                    code = 4
                except WorkerLostError as error:
                    assert "fork" in str(error), error
                del worker
                gc.collect()
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0, status
        request = worker.link.request(lambda number: ReportStats(request=number), Stats, timeout_s=60.0)
        assert (await request.answer()).worker == "w0.1"
        await worker.stop()
        assert worker.exit.status == 0, worker.exit

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60.0, env=ENVIRONMENT)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_end_that_is_wanted_is_no_crash(how: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous() as place:
            told: list[str] = []
            worker = make(place, "stubborn", stop_timeout_s=0.05, on_crash=told.append)
            await worker.start()
            if how == "kill":
                worker.kill()
            await worker.stop()
            assert isinstance(worker.lost, WorkerLostError)
            assert told == []

    run()


@asyncio_test
async def test_a_death_ends_what_waits() -> None:
    async with rendezvous() as place:
        worker = make(place, "good")
        await worker.start()
        waiting = asyncio.create_task(worker.wait_lost())
        worker.kill()
        assert str(await waiting) == "worker w0.1 was killed by SIGKILL"
        with pytest.raises(WorkerLostError) as caught:
            worker.link.request(lambda number: ReportStats(request=number), Stats, timeout_s=LONG_S)
        assert caught.value.data == {"worker": "w0.1", "reason": "asked", "exit_status": -9}
        await worker.stop()


@asyncio_test
async def test_a_process_that_not_even_sigkill_ends_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    class Undead:
        pid = None
        last_lines = ()

        async def wait(self) -> int:
            await asyncio.Event().wait()
            return 0

        def say_goodbye(self) -> None: ...
        def terminate(self) -> None: ...
        def kill(self) -> None: ...

    class Hell:
        async def launch(self, _bootstrap: object) -> Undead:
            return Undead()

    async with rendezvous() as place:
        worker = make(place, Hell(), start_timeout_s=0.01, stop_timeout_s=0.01)
        with pytest.raises(WorkerStartError):
            await worker.start()
    assert "has not ended at SIGKILL" in caplog.text
