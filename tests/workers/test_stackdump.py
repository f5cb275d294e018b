"""Where a worker hangs or crashed, said by a real process that does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from tests.fakes.running import SAFETY_S
from tests.workers.test_main import BOOTSTRAP
from voicepool.workers import stackdump

POSIX = sys.platform != "win32"
HANGING = """
import sys
from voicepool.workers import __main__, process

async def serve(bootstrap, gone, hardened):
    SECRET_IN_A_VARIABLE = "SECRET value"
    hang_here()

def hang_here():
    print("serving", flush=True)
    while True:
        pass

process.serve = serve
sys.argv[1:] = []
__main__.main()
"""


def ask(process: subprocess.Popen[str], said: int) -> str:
    """Return the stacks. One who asks while the last answer is being finished gets none, and asks again."""
    stacks = ""
    for _ in range(round(SAFETY_S)):
        process.send_signal(signal.SIGUSR1)
        while "in <module>" not in stacks and select.select([said], [], [], 1.0)[0]:
            stacks += os.read(said, 65_536).decode()
        if "in <module>" in stacks:
            return stacks
    pytest.fail("it does not say where it hangs")


@pytest.mark.skipif(not POSIX, reason="signals of POSIX systems")
def test_a_worker_whose_main_thread_hangs_says_where_and_lives() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(BOOTSTRAP.to_line().decode())
            process.stdin.flush()
            assert process.stdout.readline() == "serving\n"
            for _ in range(2):
                stacks = ask(process, process.stderr.fileno())
                assert "in hang_here" in stacks
                assert "in wait" in stacks, "the thread that watches the bot, too"
                assert "SECRET" not in stacks
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.skipif(not POSIX, reason="signals of POSIX systems")
def test_a_crash_says_where() -> None:
    code = (
        "import os, signal\n"
        "from voicepool.workers import hardening, stackdump\n"
        "stackdump.enable()\n"
        "hardening.harden()\n"
        "def crash_here(): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "crash_here()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=SAFETY_S, check=False, text=True
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "in crash_here" in done.stderr


def test_without_a_standard_error_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    stackdump.enable()


def test_it_can_be_asked_where_there_is_such_a_signal() -> None:
    assert stackdump.can_be_asked() == hasattr(signal, "SIGUSR1")
