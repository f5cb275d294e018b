"""The command line: commands are loaded when asked for, errors become one line and an exit code."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types

import pytest

from voicepool import cli
from voicepool.errors import WorkerStartError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("voicepool.cli.doctor")
    module.__dict__["add_arguments"] = lambda parser: parser.add_argument("--guilds", type=int, default=8)
    module.__dict__["run"] = lambda args: int(args.guilds)
    monkeypatch.setitem(sys.modules, "voicepool.cli.doctor", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name.endswith("doctor") or None)
    return module


@pytest.mark.usefixtures("command")
def test_the_exit_code_is_the_commands() -> None:
    assert cli.main(["doctor"]) == 8
    assert cli.main(["doctor", "--guilds", "3"]) == 3


@pytest.mark.usefixtures("command")
def test_the_arguments_of_the_process_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["voicepool", "doctor", "--guilds", "5"])
    assert cli.main() == 5


def test_an_error_of_ours_is_one_line(command: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_args: object) -> int:
        raise WorkerStartError("no worker came up; see the log")

    command.__dict__["run"] = run
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "voicepool doctor: no worker came up; see the log\n"


def test_other_errors_keep_their_traceback(command: types.ModuleType) -> None:
    command.__dict__["run"] = lambda args: args.no_such_option
    with pytest.raises(AttributeError):
        cli.main(["doctor"])


def test_interrupting_is_no_crash(command: types.ModuleType) -> None:
    def run(_args: object) -> int:
        raise KeyboardInterrupt

    command.__dict__["run"] = run
    assert cli.main(["doctor"]) == 130


def test_a_reader_that_has_seen_enough_is_no_crash() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        done = subprocess.run(
            [sys.executable, "-m", "voicepool", "config", "--schema"],
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("argv", [[], ["dance"], ["doctor", "--dance"], ["--dance"]])
def test_what_is_unknown_ends_with_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert "usage: voicepool" in capsys.readouterr().err


@pytest.mark.usefixtures("command")
def test_a_command_whose_module_is_absent_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "doctor" in out
    assert "demo" not in out


def test_the_version_is_the_installed_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"voicepool {importlib.metadata.version('voicepool')}\n"

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert "not installed" in capsys.readouterr().out


def test_the_module_runs_as_the_command_and_loads_only_what_it_needs() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['voicepool', 'doctor', '--help']\n"
        "try:\n"
        "    runpy.run_module('voicepool', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print('exit', end.code)\n"
        "heavy = {'av', 'numpy', 'zmq', 'hikari', 'aiohttp', 'voicepool.workers', 'voicepool.cli.demo'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "usage: voicepool doctor" in done.stdout
    assert done.stdout.endswith("exit 0\nloaded []\n")
