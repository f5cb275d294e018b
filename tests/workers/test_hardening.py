"""What a worker gives up: looked at from inside and from outside of real processes."""

from __future__ import annotations

import builtins
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.fakes.running import SAFETY_S
from voicepool.workers import hardening
from voicepool.workers.hardening import LARGEST_FILE_BYTES, Step

LINUX = sys.platform.startswith("linux")
linux_only = pytest.mark.skipif(not LINUX, reason="prctl and /proc are Linux's")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="resource limits of POSIX systems")


def inside(code: str) -> Any:
    """Run code in a process that has hardened itself; what it leaves in `found`."""
    program = (
        "import json, sys\n"
        "from voicepool.workers import hardening\n"
        "steps = hardening.harden()\n"
        f"{code}\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=SAFETY_S, check=True)
    return json.loads(done.stdout)


@linux_only
def test_all_of_it_is_applied_here() -> None:
    found = inside("found = [[step.name, step.applied] for step in steps]")
    assert found == [
        ["no new privileges", True],
        ["not dumpable", True],
        ["no core dumps", True],
        ["bounded files", True],
        ["open files", True],
    ]


@linux_only
def test_the_kernel_says_so_too() -> None:
    found: Mapping[str, str] = inside(
        "found = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)"
    )
    assert found["NoNewPrivs"].strip() == "1"
    dumpable = inside("import ctypes\nfound = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE")
    assert dumpable == 0


@posix_only
def test_limits_are_in_force() -> None:
    found = inside(
        "import resource\n"
        "found = [resource.getrlimit(which) for which in"
        " (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)]"
    )
    core, size, (files, most_files) = found
    assert core == [0, 0]
    assert size == [LARGEST_FILE_BYTES, LARGEST_FILE_BYTES]
    assert files == most_files or files >= 1 << 20


@posix_only
def test_a_limit_that_is_lower_already_stays() -> None:
    found = inside(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "steps = hardening.harden()\n"
        "found = [resource.getrlimit(resource.RLIMIT_FSIZE), str(steps[3])]"
    )
    assert found == [[1000, 1000], "bounded files: RLIMIT_FSIZE 1,000"]


@posix_only
def test_a_file_that_grows_beyond_the_bound_is_an_error_and_no_death() -> None:
    found = inside(
        "import os, tempfile\n"
        "hardening.LARGEST_FILE_BYTES\n"
        "with tempfile.TemporaryFile() as file:\n"
        "    try: os.ftruncate(file.fileno(), hardening.LARGEST_FILE_BYTES + 1)\n"
        "    except OSError as error: found = error.errno\n"
        "    else: found = 'it grew'"
    )
    import errno

    assert found == errno.EFBIG


@linux_only
def test_memory_beyond_its_bound_is_refused_and_what_fits_is_not() -> None:
    found = inside(
        "step = hardening.limit_memory(64 * 1024**2)\n"
        "found = [step.applied]\n"
        "fits = bytearray(32 * 1024**2)\n"
        "try: bytearray(2 * 1024**3)\n"
        "except MemoryError: found.append('refused')\n"
        "import threading\n"
        "go = threading.Event()\n"
        "threads = [threading.Thread(target=go.wait) for _ in range(60)]\n"
        "for thread in threads: thread.start()\n"
        "go.set()\n"
        "for thread in threads: thread.join()\n"
    )
    assert found == [True, "refused"]


@linux_only
def test_its_own_figures_are_still_read() -> None:
    found = inside(
        "from pathlib import Path\n"
        "from voicepool.workers.machine import pin_to_core, rss_bytes\n"
        "import os\n"
        "core = min(os.sched_getaffinity(0))\n"
        "found = [b'Pss:' in Path('/proc/self/smaps_rollup').read_bytes(), rss_bytes() > 0,"
        " pin_to_core(core) == core]"
    )
    assert found == [True, True, True]


# Where there is none of it.


def test_another_platform_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    real_import = builtins.__import__

    def no_resource(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "resource":
            raise ModuleNotFoundError("No module named 'resource'")
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_resource)
    steps = [*hardening.harden(), hardening.limit_memory(1)]
    assert [step.applied for step in steps] == [False] * 6
    assert str(steps[0]) == "no new privileges: not applied, win32 has no prctl"


@posix_only
def test_what_the_kernel_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    step = hardening.limit_memory(1)
    assert step == Step("bounded memory", applied=False, detail="not allowed to raise maximum limit")


def test_what_was_applied_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    steps = [Step("a", applied=True, detail="on"), Step("b", applied=False, detail="no such thing")]
    with caplog.at_level(logging.DEBUG):
        hardening.log_steps(steps)
    assert caplog.messages == ["a: on", "b: not applied, no such thing"]
