"""A worker process from start to end, with real processes that behave and misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import psutil
import pytest
import zmq.asyncio

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker, TaskProcess, command_line
from voicepool._launcher import Launcher, LocalLauncher
from voicepool._rendezvous import Rendezvous
from voicepool._worker import Worker
from voicepool.errors import LibopusMissingError, WorkerLostError, WorkerStartError
from voicepool.ipc.channel import WorkerEnd
from voicepool.ipc.commands import ReportStats, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import Hello, StartFailed, Stats
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.version import WIRE_VERSION

SETTINGS = WorkerSettings(core=1, bitrate_bps=64_000)
LONG_S = 600.0
"""A limit that the test must not reach."""


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
    on_crash: Callable[[WorkerId], None] = lambda _worker: None,
) -> Worker:
    return Worker(
        WorkerId("w0.1"),
        settings=SETTINGS,
        rendezvous=place,
        launcher=LocalLauncher(command_line(launcher)) if isinstance(launcher, str) else launcher,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=stop_timeout_s,
        on_crash=on_crash,
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
        context.term()
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
    ("number", "words", "crashed"),
    [
        (signal.SIGABRT, "was killed by SIGABRT", True),
        (signal.SIGKILL, "was killed by SIGKILL", True),
        (signal.SIGTERM, "was killed by SIGTERM", False),
    ],
)
def test_a_crash_is_told_before_the_calls_are(number: signal.Signals, words: str, *, crashed: bool) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous() as place:
            told: list[tuple[str, object]] = []
            worker = make(place, "good", on_crash=lambda name: told.append((name, worker.lost)))
            await worker.start()
            assert worker.pid is not None
            os.kill(worker.pid, number)
            lost = await worker.wait_lost()
            assert str(lost) == f"worker w0.1 {words}"
            assert isinstance(lost, WorkerLostError)
            assert lost.exit_status == -number
            assert told == ([("w0.1", None)] if crashed else [])
            await worker.stop()

    run()


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
        assert caught.value.data == {"worker": "w0.1", "exit_status": -9}
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
