"""Who starts a worker, with which command and environment; what comes of it is in ``test_child.py``."""

from __future__ import annotations

import contextlib
import os
import site
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import voicepool
from tests.fakes.running import asyncio_test
from voicepool._process import launcher as _launcher
from voicepool._process.launcher import (
    Inspectable,
    LocalLauncher,
    LocalProcess,
    describe_exit,
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
async def test_the_bootstrap_comes_on_standard_input() -> None:
    code = "import sys; print(sys.stdin.readline(), end=''); sys.stdin.read()"
    async with launched(python(code)) as process:
        process.say_goodbye()
        assert await process.wait() == 0
        (line,) = process.last_lines
    assert Bootstrap.from_line(line.encode()) == BOOTSTRAP


@asyncio_test
async def test_no_secret_is_in_argv_or_environment() -> None:
    code = "import os, sys; print(sys.orig_argv, dict(os.environ))"
    async with launched(python(code)) as process:
        assert await process.wait() == 0
        assert "secret" not in "".join(process.last_lines)


@asyncio_test
async def test_what_cannot_be_started_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await LocalLauncher(("/nonexistent/python",)).launch(BOOTSTRAP)


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
