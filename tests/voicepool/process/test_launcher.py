"""Starting a child process: what it is told, what it says, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import site
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

import voicepool
from tests.fakes.pool import until
from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool._process import launcher as _launcher
from voicepool._process.launcher import (
    KEPT_CHARS,
    KEPT_LINES,
    MAX_DUMP_LINES,
    Inspectable,
    LocalLauncher,
    LocalProcess,
    describe_exit,
    process_state,
    worker_command,
    worker_environment,
)
from voicepool.ipc.endpoint import Bootstrap, CurveKeys
from voicepool.ipc.ids import WorkerId

BOOTSTRAP = Bootstrap(
    address="ipc:///nowhere",
    worker=WorkerId("w0.1"),
    start_token="secret-token",
    curve=CurveKeys("public", "public", "secret-key"),
)


def python(code: str) -> LocalLauncher:
    return LocalLauncher((sys.executable, "-c", code))


def same_place(one: str, other: str) -> bool:
    return Path(one).samefile(other)


@contextlib.asynccontextmanager
async def launched(launcher: LocalLauncher) -> AsyncIterator[LocalProcess]:
    process = await launcher.launch(BOOTSTRAP)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@asyncio_test
async def test_the_bootstrap_comes_on_standard_input_and_the_end_of_it_is_the_bots() -> None:
    code = "import sys; print(sys.stdin.readline(), end=''); print(repr(sys.stdin.read()), sys.argv)"
    async with launched(python(code)) as process:
        process.say_goodbye()
        assert await process.wait() == 0
        line, rest = process.last_lines
    assert Bootstrap.from_line(line.encode()) == BOOTSTRAP
    assert rest == "'' ['-c']"


@asyncio_test
async def test_no_secret_is_in_argv_or_environment() -> None:
    code = "import os, sys; print(sys.orig_argv, dict(os.environ))"
    async with launched(python(code)) as process:
        assert await process.wait() == 0
        assert "secret" not in "".join(process.last_lines)


@asyncio_test
async def test_the_last_lines_are_kept_and_all_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys\n"
        "for i in range(100): print('line', i, file=sys.stderr)\n"
        "print('x' * 5000)\n"
        "sys.stdout.write('no newline')"
    )
    async with launched(python(code)) as process:
        assert await process.wait() == 0
        lines = process.last_lines
    assert len(lines) == KEPT_LINES
    assert "line 99" in lines
    assert "x" * KEPT_CHARS in lines
    assert "no newline" in lines
    passed_on = capsys.readouterr().err
    assert "line 0\n" in passed_on
    assert "x" * 5000 in passed_on


@asyncio_test
async def test_a_flood_without_lines_does_not_grow_memory() -> None:
    code = "import sys\nfor i in range(64): sys.stdout.write('y' * 65536)"
    async with launched(python(code)) as process:
        assert await process.wait() == 0
        assert [len(line) for line in process.last_lines] == [KEPT_CHARS]


@pytest.mark.parametrize("stream", [None, "closed"])
def test_output_is_read_when_standard_error_is_gone(
    stream: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asyncio_test
    async def run() -> None:
        closed = (tmp_path / "closed").open("w")
        closed.close()
        monkeypatch.setattr(sys, "stderr", None if stream is None else closed)
        async with launched(python("print('hello\\n' * 100_000)")) as process:
            assert await process.wait() == 0
            assert process.last_lines[-1] == "hello"

    run()


@pytest.mark.skipif(os.name != "posix", reason="groups and signals are other things elsewhere")
@asyncio_test
async def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    async with launched(python("import os; print(os.getsid(0), os.getpgid(0))")) as process:
        await process.wait()
        session, group = process.last_lines[0].split()
        assert int(session) == int(group) == process.pid
        assert int(session) != os.getsid(0)


@asyncio_test
async def test_ending_it_twice_does_nothing() -> None:
    async with launched(python("pass")) as process:
        await process.wait()
        process.terminate()
        process.kill()
        process.say_goodbye()
        assert await process.wait() == 0


@asyncio_test
async def test_a_child_that_reads_nothing_is_no_failure_of_the_launch() -> None:
    async with launched(python("import os; os.close(0)")) as process:
        assert await process.wait() == 0


@asyncio_test
async def test_what_cannot_be_started_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await LocalLauncher(("/nonexistent/python",)).launch(BOOTSTRAP)


@pytest.mark.parametrize("turns", range(6))
def test_a_cancelled_launch_leaves_no_process(turns: int) -> None:
    """What is left of it would be seen by `nothing_left_behind`."""

    @asyncio_test
    async def run() -> None:
        launching = asyncio.create_task(python("import sys; sys.stdin.read()").launch(BOOTSTRAP))
        for _ in range(turns):
            await asyncio.sleep(0)
        launching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launching

    run()


@asyncio_test
async def test_the_end_is_known_while_a_stray_child_holds_the_output() -> None:
    code = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print(subprocess.Popen(sleep, stdin=subprocess.DEVNULL).pid, flush=True)\n"
        "sys.exit(5)"
    )
    async with launched(python(code)) as process:
        assert await process.wait() == 5
        stray = psutil.Process(int(process.last_lines[0]))
        assert stray.is_running()
        stray.kill()


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
def test_a_bot_may_run_on_uvloop() -> None:
    import uvloop

    async def run() -> None:
        for turns in range(6):
            launching = asyncio.create_task(python("input()").launch(BOOTSTRAP))
            for _ in range(turns):
                await asyncio.sleep(0)
            launching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await launching
        async with launched(python("print('hello'); raise SystemExit(4)")) as process:
            assert await process.wait() == 4
            assert process.last_lines == ("hello",)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(run(), SAFETY_S))


# What it is doing.


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@needs_signals
@asyncio_test
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
    async with launched(python(code)) as process:
        await until(lambda: "up" in process.last_lines)
        assert not process.is_stopped
        stacks = "\n".join(await process.dump_stacks(60.0))
        assert "in where_it_hangs" in stacks
        assert stacks.count("in in_a_thread") == 3
        assert process.last_lines == ("up",)
    assert "where_it_hangs" not in capsys.readouterr().err


@needs_signals
@asyncio_test
async def test_one_that_dies_of_the_question_is_not_waited_for() -> None:
    async with launched(python("import sys; print('up', flush=True); sys.stdin.read()")) as process:
        await until(lambda: process.last_lines)
        assert await process.dump_stacks(600.0) == ()
        assert await process.wait() == -signal.SIGUSR1


@needs_signals
@asyncio_test
async def test_one_that_does_not_answer_is_waited_for_no_longer_than_told() -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print('up', flush=True); input()"
    )
    async with launched(python(code)) as process:
        await until(lambda: process.last_lines)
        assert await process.dump_stacks(0.01) == ()


@needs_signals
@asyncio_test
async def test_stacks_without_end_do_not_grow_memory() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.stdout.write('a line\\n' * 100_000))\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    async with launched(python(code)) as process:
        await until(lambda: process.last_lines)
        assert len(await process.dump_stacks(600.0)) == MAX_DUMP_LINES


@pytest.mark.skipif(sys.platform != "linux", reason="as /proc tells")
@asyncio_test
async def test_a_stopped_process_is_seen_to_be() -> None:
    async with launched(python("input()")) as process:
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
    monkeypatch.setattr(_launcher, "Path", lambda _path: tmp_path / "stat")
    assert process_state(7) == "S"


@asyncio_test
async def test_a_local_process_can_be_asked() -> None:
    async with launched(python("input()")) as process:
        assert isinstance(process, Inspectable)


def test_the_default_command_runs_our_own_workers() -> None:
    assert worker_command() == (sys.executable, "-P", "-m", "voicepool.workers")
    assert worker_command("--doctor")[-1] == "--doctor"


def test_an_installed_package_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    home = site.getsitepackages()[0]
    monkeypatch.setattr(_launcher, "__file__", str(Path(home) / "voicepool" / "_process" / "launcher.py"))
    assert worker_environment({"A": "b"}) == {"A": "b"}


def test_a_checkout_comes_first_on_the_path() -> None:
    home = str(Path(__file__).parents[3])
    assert worker_environment({}) == {"PYTHONPATH": home}
    assert worker_environment({"PYTHONPATH": "x"}) == {"PYTHONPATH": f"{home}{os.pathsep}x"}


@asyncio_test
async def test_the_child_imports_the_same_package_whatever_lies_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "voicepool").mkdir()
    (tmp_path / "voicepool" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    code = "import os, voicepool; print(voicepool.__file__); print(os.getcwd())"
    async with launched(LocalLauncher((sys.executable, "-P", "-c", code))) as process:
        assert await process.wait() == 0, process.last_lines
        found, folder = process.last_lines
    assert same_place(found, voicepool.__file__)
    assert same_place(folder, str(tmp_path))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-200, "was killed by signal 200"),
    ],
)
def test_an_exit_is_put_in_words(status: int, text: str) -> None:
    assert describe_exit(status) == text
