"""``python -m voicepool.workers`` as a program: what it is given, what it says, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import SAFETY_S
from tests.workers.worker_process import COMMAND
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.ids import WorkerId

USAGE = "A voicepool worker is started by a VoicePool. To see what it would use: voicepool doctor\n"
POSIX = sys.platform != "win32"
BOOTSTRAP = Bootstrap(
    # Nobody is there, which a worker does not mind: its bot may be slow.
    address="ipc:///nonexistent/w.sock" if POSIX else "tcp://127.0.0.1:9",
    worker=WorkerId("w0.1"),
    start_token="SECRET-token",
)


def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments], input=given, capture_output=True, timeout=SAFETY_S, check=False
    )


@pytest.mark.parametrize("argument", ["--help", "start", "-v"])
def test_to_a_person_it_says_who_starts_it(argument: str) -> None:
    done = run(argument)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", USAGE)


@pytest.mark.skipif(not POSIX, reason="terminals of POSIX systems")
def test_on_a_terminal_it_does_not_wait_for_a_line() -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([*COMMAND], stdin=theirs, capture_output=True, timeout=SAFETY_S, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr.decode()) == (2, USAGE)


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"[]", b'{"address": 1}', b'{"address": "\xff"}', b"x" * 40_000]
)
def test_another_line_than_a_bootstrap_is_refused_without_a_traceback(line: bytes) -> None:
    done = run(given=line + b"\n")
    assert (done.returncode, done.stderr.decode()) == (2, USAGE)


@pytest.mark.parametrize("beginning", [b"", b'{"address": '])
def test_a_bot_that_is_gone_before_the_line_is_no_error(beginning: bytes) -> None:
    done = run(given=beginning)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_bot_that_is_gone_after_the_line_is_no_error_either() -> None:
    done = run(given=BOOTSTRAP.to_line())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_for_the_doctor_it_prints_one_json_object() -> None:
    done = run("--doctor")
    assert (done.returncode, done.stderr) == (0, b"")
    report = json.loads(done.stdout)
    assert report["executable"] == sys.executable
    assert {"libopus", "aes", "scheduling"} <= report.keys()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the signal mask from /proc")
def test_a_ctrl_c_is_ignored_from_the_first_line_on() -> None:
    code = (
        "import runpy, sys\n"
        "class Stop(Exception): pass\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'asyncio': raise Stop\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try: runpy.run_module('voicepool.workers', run_name='__main__')\n"
        "except Stop: print(open('/proc/self/status').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=SAFETY_S, check=True, text=True
    )
    [ignored] = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("SigIgn")]
    assert int(ignored, 16) & 1 << (signal.SIGINT - 1), "asyncio takes long to import; a Ctrl-C may come then"


@pytest.mark.skipif(not POSIX, reason="kills by signal")
def test_a_bot_that_is_killed_leaves_no_worker() -> None:
    bot = (
        "import subprocess, sys\n"
        "worker = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)\n"
        "worker.stdin.write(sys.argv[1].encode() + b'\\n')\n"
        "worker.stdin.flush()\n"
        "print(worker.pid, flush=True)\n"
        "worker.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", bot, BOOTSTRAP.to_line().decode().strip(), *COMMAND], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
        process.wait(SAFETY_S)
        worker.wait(SAFETY_S)


@pytest.mark.skipif(not POSIX, reason="stops by signal")
def test_a_bot_that_is_stopped_for_a_while_finds_its_worker_again() -> None:
    # The bot's end of standard input is all that its life is told by; nothing of it is timed.
    bot = (
        "import subprocess, sys\n"
        "worker = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)\n"
        "worker.stdin.write(sys.argv[1].encode() + b'\\n')\n"
        "worker.stdin.flush()\n"
        "print(worker.pid, flush=True)\n"
        "sys.stdin.readline()\n"
        "print(worker.poll(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", bot, BOOTSTRAP.to_line().decode().strip(), *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGSTOP)
        # It goes through all of its start meanwhile: the thread that watches the bot, and those of ZeroMQ.
        while worker.num_threads() < 4:
            assert worker.is_running()
        process.send_signal(signal.SIGCONT)
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"None\n", "it is still there"
        process.wait(SAFETY_S)
        worker.wait(SAFETY_S)


def test_what_a_worker_loads_is_not_the_client() -> None:
    code = (
        "import sys\n"
        "from voicepool.workers import process\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('hikari', 'aiohttp')"
        " or name in ('voicepool.pool', 'voicepool.connection', 'voicepool.testing')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=SAFETY_S, check=True)
    assert done.stdout.decode().strip() == "[]"
