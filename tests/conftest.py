"""No test may leave anything behind: no process, task, thread, socket or temporary file.

What is seen before a test is not held against it, so fixtures of a wider scope may keep a server. Whatever is
on its way out gets a moment: the check waits on the thing itself, and a clean test pays next to nothing.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

_PATIENCE_S = 5.0
_THIS_PROCESS = psutil.Process()


def pytest_configure(config: pytest.Config) -> None:
    """Have the same surroundings wherever the tests run.

    Shells let what runs in their background ignore SIGINT, and children inherit that: bots that are to end by
    it would live on. And where Python was told to keep nothing beside the sources that it compiles, each of
    the hundreds of processes that the tests start would compile the whole package for itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(config.rootpath / ".pytest_cache" / "bytecode")
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def temporary_files() -> Iterator[Path]:
    """A directory for this run's temporary files, its path short enough for sockets to live in."""
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    path = Path(tempfile.mkdtemp(prefix="vp-"))
    tempfile.tempdir = str(path)
    os.environ["TMPDIR"] = str(path)
    yield path
    tempfile.tempdir = before[0]
    if before[1] is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before[1]
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left_behind(temporary_files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    tasks: list[str] = []
    _record_tasks_at_the_end_of_a_loop(tasks, monkeypatch)
    # Started by multiprocessing for a whole run; a library under test may be the first to want it.
    processes = _processes()
    threads = set(threading.enumerate())
    sockets = _sockets()
    files = _files(temporary_files)
    yield
    left = {
        "tasks": tasks,
        "processes": _wait_until_empty(lambda: _processes() - processes),
        "threads": _wait_until_empty(lambda: {t for t in threading.enumerate() if t not in threads}),
        "sockets": _wait_until_empty(lambda: _sockets() - sockets),
        "files": _wait_until_empty(lambda: _files(temporary_files) - files),
    }
    found = {kind: what for kind, what in left.items() if what}
    assert not found, f"left behind: {found}"


def _record_tasks_at_the_end_of_a_loop(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # asyncio.run cancels what is left, and would hide that a task had no owner.
    cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def record(loop: asyncio.AbstractEventLoop) -> None:
        found.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel_all(loop)

    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", record)


def _wait_until_empty(look: Callable[[], set[Any]]) -> set[Any]:
    found = look()
    if found:
        gc.collect()
    deadline = time.monotonic() + _PATIENCE_S
    while found and time.monotonic() < deadline:
        for thing in found:
            if isinstance(thing, threading.Thread):
                thread = thing
                thread.join(0.1)
        if not any(isinstance(thing, threading.Thread) for thing in found):
            threading.Event().wait(0.02)
        found = look()
    return found


def _processes() -> set[psutil.Process]:
    if not _has_children():
        return set()
    return {
        child
        for child in _THIS_PROCESS.children()
        if "multiprocessing.resource_tracker" not in " ".join(_command_of(child))
    }


def _has_children() -> bool:
    """Whether it is worth to look at every process of the machine, which takes far longer."""
    tasks = Path("/proc/self/task")
    try:
        return any((task / "children").read_bytes() for task in tasks.iterdir())
    except OSError:
        return True


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _sockets() -> set[str]:
    """The open sockets, by inode; empty where the system has no ``/proc``."""
    found = set()
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith("pytest-of-")}
