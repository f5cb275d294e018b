"""A child process: how it starts, what it is told, what it says, how it ends. On every loop and platform."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.loops import WAYS, every_way
from tests.fakes.pool import until
from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool._process import child as _child
from voicepool._process.child import LocalProcess, process_state, spawn
from voicepool._process.hearing import Ending
from voicepool._process.words import KEPT_CHARS, KEPT_LINES, MAX_DUMP_LINES

LINE = b"what it is told\n"
ECHO = "import sys; print(sys.stdin.readline(), end='', flush=True); sys.stdin.read()"
"""Says what it was told, and ends when it is let go."""

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="as /proc tells")


async def start(code: str) -> LocalProcess:
    return await LocalProcess.start((sys.executable, "-S", "-c", code), os.environ, LINE)


@contextlib.asynccontextmanager
async def started(code: str) -> AsyncIterator[LocalProcess]:
    process = await start(code)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(autouse=True)
def no_descriptor_stays_open() -> Iterator[None]:
    for way in WAYS:
        # What a loop opens once for all that follow is not held against anybody.
        way.make().close()
    before = open_descriptors()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("voicepool"):
            # It is about to end.
            thread.join(SAFETY_S)
    assert open_descriptors() <= before


def open_descriptors() -> int:
    """How many there are; 0 where nobody tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


# What it is told, and what it says.


@every_way
async def test_a_line_comes_on_standard_input_and_the_end_of_it_is_the_bots() -> None:
    code = "import sys; print(sys.stdin.readline(), end=''); print(repr(sys.stdin.read()), sys.argv)"
    async with started(code) as process:
        process.say_goodbye()
        assert await process.wait() == 0
        assert process.last_lines == (LINE.decode().strip(), "'' ['-c']")


@every_way
async def test_the_last_lines_are_kept_and_all_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys\n"
        "for i in range(100): print('line', i, file=sys.stderr)\n"
        "print('x' * 5000)\n"
        "sys.stdout.write('no newline')"
    )
    async with started(code) as process:
        assert await process.wait() == 0
        lines = process.last_lines
    assert len(lines) == KEPT_LINES
    assert "line 99" in lines
    assert "x" * KEPT_CHARS in lines
    assert "no newline" in lines
    passed_on = capsys.readouterr().err
    assert "line 0\n" in passed_on
    assert "x" * 5000 in passed_on


@every_way
async def test_a_flood_is_taken_to_its_last_word() -> None:
    code = "import sys\nfor i in range(64): sys.stdout.write('y' * 65536)\nsys.stdout.write('\\nlast')"
    async with started(code) as process:
        assert await process.wait() == 0
        assert process.last_lines == ("y" * KEPT_CHARS, "last")


@every_way
async def test_its_words_are_heard_while_it_lives() -> None:
    async with started(ECHO) as process:
        await until(lambda: process.last_lines)
        assert process.last_lines == ("what it is told",)


@pytest.mark.parametrize("stream", [None, "closed"])
@every_way
async def test_output_is_read_when_standard_error_is_gone(
    stream: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None if stream is None else closed)
        async with started("print('hello\\n' * 100_000)") as process:
            assert await process.wait() == 0
            assert process.last_lines[-1] == "hello"


# How it ends.


@every_way
async def test_its_status_is_told_to_all_who_wait() -> None:
    async with started("raise SystemExit(3)") as process:
        assert await asyncio.gather(*(process.wait() for _ in range(3))) == [3, 3, 3]


@needs_signals
@every_way
async def test_the_signal_that_killed_it_is_told() -> None:
    async with started(ECHO) as process:
        process.kill()
        assert await process.wait() == -signal.SIGKILL


@needs_signals
@every_way
async def test_a_bot_that_ignores_the_end_of_its_children_hears_of_it() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        async with started("raise SystemExit(3)") as process:
            # The system has thrown the status away.
            assert await process.wait() == 0
    finally:
        signal.signal(signal.SIGCHLD, before)


@needs_proc
@every_way
async def test_it_is_told_when_it_had_ended_before_anybody_looked() -> None:
    async with started("print('gone'); raise SystemExit(3)") as process:
        assert process.pid is not None
        # The loop stands still meanwhile.
        while process_state(process.pid) not in {None, "Z"}:
            threading.Event().wait(0.001)
        assert await process.wait() == 3
        assert process.last_lines == ("gone",)


@every_way
async def test_ending_it_twice_does_nothing() -> None:
    async with started("pass") as process:
        await process.wait()
        process.terminate()
        process.kill()
        process.say_goodbye()
        assert await process.wait() == 0


@every_way
async def test_one_who_waits_may_give_up() -> None:
    async with started(ECHO) as process:
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        process.say_goodbye()
        assert await process.wait() == 0


@every_way
async def test_one_that_closes_its_input_and_output_has_not_ended() -> None:
    async with started("import os, time; os.closerange(0, 3); time.sleep(600)") as process:
        assert process.pid is not None
        waiting = asyncio.create_task(process.wait())
        await until(lambda: not psutil.Process(process.pid).num_fds() or waiting.done())
        assert not waiting.done()
        process.terminate()
        assert await waiting == -signal.SIGTERM


@every_way
async def test_the_end_and_the_last_words_are_known_while_a_stray_child_holds_the_output() -> None:
    code = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-S', '-c', 'import time; time.sleep(600)']\n"
        "stray = subprocess.Popen(sleep, stdin=subprocess.DEVNULL)\n"
        "print('line\\n' * 5_000, stray.pid, flush=True)\n"
        "sys.exit(5)"
    )
    async with started(code) as process:
        assert await process.wait() == 5
        stray = psutil.Process(int(process.last_lines[-1]))
        assert stray.is_running()
        stray.kill()


@every_way
async def test_a_stray_child_that_says_much_does_not_keep_it() -> None:
    shouting = "import sys\ntry:\n  while True: sys.stdout.write('shout\\n' * 10_000)\nexcept OSError: pass"
    code = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-S', '-c', {shouting!r}], stdin=subprocess.DEVNULL)\n"
        "sys.exit(5)"
    )
    async with started(code) as process:
        assert await process.wait() == 5


# How it starts.


@pytest.mark.skipif(os.name != "posix", reason="groups and signals are other things elsewhere")
@every_way
async def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    async with started("import os; print(os.getsid(0), os.getpgid(0))") as process:
        await process.wait()
        session, group = process.last_lines[0].split()
        assert int(session) == int(group) == process.pid
        assert int(session) != os.getsid(0)


@every_way
async def test_one_that_reads_nothing_is_no_failure_of_the_start() -> None:
    async with started("import os; os.close(0)") as process:
        assert await process.wait() == 0


@every_way
async def test_what_cannot_be_started_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await LocalProcess.start(("/nonexistent/python",), os.environ, LINE)


@needs_proc
@every_way
async def test_too_few_open_files_are_an_os_error_and_nothing_stays() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = admitted = 0
    for spare in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() - 1 + spare, before[1]))
        try:
            process = await start(ECHO)
        except OSError as error:
            refused += error.errno == errno.EMFILE
            continue
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        process.kill()
        assert await process.wait() != 0
        admitted += 1
    assert refused > 0
    assert refused + admitted == 12


@every_way
async def test_a_cancelled_start_leaves_no_process() -> None:
    """What is left of it would be seen by `nothing_left_behind`."""
    for turns in range(6):
        starting = asyncio.create_task(start("import sys; sys.stdin.read()"))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            process = await starting
            process.kill()
            await process.wait()


@every_way
async def test_all_tasks_may_be_cancelled_at_any_moment_and_more_than_once() -> None:
    """As ``asyncio.run`` does at its end, which a second Ctrl-C brings about."""
    for turns in range(12):
        starting = asyncio.create_task(start(ECHO))
        for _ in range(turns % 6):
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(1 + turns // 6):
            for task in others:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(others)
        with contextlib.suppress(asyncio.CancelledError):
            process = await starting
            process.kill()
            await process.wait()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@every_way
async def test_at_the_end_of_the_loop_it_is_ended_and_reaped() -> None:
    process = await start(ECHO)
    assert process.pid is not None
    waiting = asyncio.create_task(process.wait())
    (keeper,) = [task for task in asyncio.all_tasks() if task.get_name() == "voicepool child"]
    await asyncio.sleep(0)
    keeper.cancel()
    await asyncio.sleep(0)
    keeper.cancel()
    await asyncio.wait({keeper, waiting})
    assert keeper.cancelled()
    assert waiting.cancelled()
    assert not psutil.pid_exists(process.pid)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@every_way
async def test_a_fork_of_the_bot_does_nothing_to_it() -> None:
    async with started(ECHO) as process:
        with warnings.catch_warnings():
            # That other threads do not come along (Python 3.12 warns) is what is meant.
            warnings.simplefilter("ignore", DeprecationWarning)
            fork = os.fork()
        if fork == 0:
            process.terminate()
            process.kill()
            process.say_goodbye()
            os._exit(0)
        await asyncio.to_thread(os.waitpid, fork, 0)
        await until(lambda: process.last_lines)
        process.say_goodbye()
        assert await process.wait() == 0


# A start, step by step.


class SlowStart:
    """A start of a process that takes as long as the test wants."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> subprocess.Popen[bytes]:
        self.has_begun.set()
        assert self.may_end.wait(SAFETY_S)
        self.process = subprocess.Popen([sys.executable, "-S", "-c", ECHO], stdin=subprocess.PIPE)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process

    @property
    def status(self) -> int | None:
        return self.process.returncode if self.process is not None else None


@asyncio_test
async def test_a_start_that_is_given_up_is_waited_for_however_often_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_child, "_OUTLAST_S", SAFETY_S)
    slow = SlowStart()
    spawning = asyncio.create_task(spawn(slow))
    await until(slow.has_begun.is_set)
    for _ in range(3):
        spawning.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not spawning.done()
    slow.may_end.set()
    await asyncio.wait({spawning})
    assert spawning.cancelled()
    assert slow.status is not None


@asyncio_test
async def test_a_start_that_is_cancelled_when_it_is_through_leaves_nothing() -> None:
    slow = SlowStart()
    spawning = asyncio.create_task(spawn(slow))
    await until(slow.has_begun.is_set)
    slow.may_end.set()
    # The loop stands still until the process is there, so that the news of it and the cancellation meet.
    while slow.process is None:
        slow.has_begun.wait(0.001)
    spawning.cancel()
    await asyncio.wait({spawning})
    assert spawning.cancelled()
    assert slow.status is not None


@pytest.mark.parametrize("ends", ["cancelled", "closed"])
def test_a_start_that_outlasts_all_patience_is_ended_by_its_thread(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_child, "_OUTLAST_S", 0.0)
    slow = SlowStart()

    async def run() -> None:
        spawning = asyncio.create_task(spawn(slow))
        await until(slow.has_begun.is_set)
        spawning.cancel()
        await asyncio.wait({spawning})
        assert spawning.cancelled()
        if ends == "cancelled":
            await end_of_the_thread()

    async def end_of_the_thread() -> None:
        slow.may_end.set()
        await until(lambda: slow.status is not None)

    asyncio.run(run())
    slow.may_end.set()
    for thread in threading.enumerate():
        if thread.name == "voicepool launch":
            thread.join(SAFETY_S)
    assert slow.status is not None


@pytest.mark.parametrize("error", [FileNotFoundError("no such file"), ValueError("a null byte")])
@asyncio_test
async def test_an_error_of_the_start_is_raised(error: Exception) -> None:
    def fail() -> subprocess.Popen[bytes]:
        raise error

    with pytest.raises(type(error)) as raised:
        await spawn(fail)
    assert raised.value is error


@asyncio_test
async def test_without_a_thread_it_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        process = await start("raise SystemExit(3)") if hasattr(os, "pidfd_open") else None
    if process is not None:
        assert await process.wait() == 3


@asyncio_test
async def test_one_that_cannot_be_waited_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    with monkeypatch.context() as patch:
        patch.delattr(os, "pidfd_open", raising=False)
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(_child, "Ending", noting_pids(made))
        with pytest.raises(OSError, match="no more threads: can't start"):
            await start(ECHO)
    assert not psutil.pid_exists(made[0])


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def noting_pids(made: list[int]) -> Callable[[subprocess.Popen[bytes]], Ending]:
    def ending(process: subprocess.Popen[bytes]) -> Ending:
        made.append(process.pid)
        return Ending(process)

    return ending


# What it is doing.


@needs_signals
@every_way
async def test_the_stacks_are_collected_and_not_taken_for_last_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = (
        "import faulthandler, signal, sys, threading\n"
        "faulthandler.register(signal.SIGUSR1, all_threads=True)\n"
        "def in_a_thread(): threading.Event().wait()\n"
        "for _ in range(3): threading.Thread(target=in_a_thread, daemon=True).start()\n"
        "print('up', flush=True)\n"
        "def where_it_hangs():\n"
        "    while True: pass\n"
        "where_it_hangs()"
    )
    async with started(code) as process:
        await until(lambda: "up" in process.last_lines)
        assert not process.is_stopped
        stacks = "\n".join(await process.dump_stacks(60.0))
        assert "in where_it_hangs" in stacks
        assert stacks.count("in in_a_thread") == 3
        assert process.last_lines == ("up",)
    assert "where_it_hangs" not in capsys.readouterr().err


@needs_signals
@every_way
async def test_one_that_dies_of_the_question_is_not_waited_for() -> None:
    async with started("import sys; print('up', flush=True); sys.stdin.read()") as process:
        await until(lambda: process.last_lines)
        assert await process.dump_stacks(600.0) == ()
        assert await process.wait() == -signal.SIGUSR1


@needs_signals
@every_way
async def test_one_that_does_not_answer_is_waited_for_no_longer_than_told() -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "print('up', flush=True); sys.stdin.read()"
    )
    async with started(code) as process:
        await until(lambda: process.last_lines)
        assert await process.dump_stacks(0.01) == ()


@needs_signals
@every_way
async def test_stacks_without_end_do_not_grow_memory() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.stdout.write('a line\\n' * 100_000))\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    async with started(code) as process:
        await until(lambda: process.last_lines)
        assert len(await process.dump_stacks(600.0)) == MAX_DUMP_LINES


@needs_proc
@every_way
async def test_a_stopped_process_is_seen_to_be() -> None:
    async with started(ECHO) as process:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        await until(lambda: process.is_stopped)
        os.kill(process.pid, signal.SIGCONT)
        await until(lambda: not process.is_stopped)


def test_the_state_of_nobody_is_not_known() -> None:
    assert process_state(2**22 + 1) is None


def test_the_name_of_a_program_is_not_taken_for_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stat").write_text("7 (a) T (b)) S 1 7 7 0")
    monkeypatch.setattr(_child, "Path", lambda _path: tmp_path / "stat")
    assert process_state(7) == "S"
