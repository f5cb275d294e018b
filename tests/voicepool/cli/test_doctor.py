"""The command as a whole, with real worker processes that are well, broken, mute or hung."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from voicepool.cli import doctor
from voicepool.cli._diagnosis import Check, Verdict
from voicepool.cli.doctor import Diagnosis, ask_worker, examine, render, run
from voicepool.errors import WorkerStartError

if TYPE_CHECKING:
    from collections.abc import Sequence

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


@pytest.fixture(autouse=True)
def plain_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VOICEPOOL_")]:
        monkeypatch.delenv(name)
    # Away from the checkout, where a configuration file may lie; a worker finds the package all the same.
    monkeypatch.setenv("PYTHONPATH", str(PYPROJECT.parent))
    monkeypatch.chdir(tmp_path)


def test_on_this_machine_sound_can_be_made() -> None:
    diagnosis = examine()
    assert [check for check in diagnosis.checks if check.verdict is Verdict.FAIL] == []
    assert diagnosis.sound
    assert diagnosis.voicepool == importlib.metadata.version("voicepool")
    assert diagnosis.worker is not None
    assert diagnosis.worker.libopus.version


def test_every_declared_dependency_has_a_line() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    wanted = [Requirement(line) for line in lines]
    declared = {each.name for each in wanted if each.marker is None or each.marker.evaluate()}
    assert declared <= {check.name for check in examine(worker_command=python("")).checks}


def test_the_configured_libopus_is_handed_to_the_worker(tmp_path: Path) -> None:
    config = tmp_path / "custom.toml"
    config.write_text('libopus = "no-such-libopus.so"\n')
    diagnosis = examine(str(config))
    assert not diagnosis.sound
    check = next(check for check in diagnosis.checks if check.name == "libopus")
    assert str(tmp_path / "no-such-libopus.so") in check.found


@pytest.mark.parametrize(
    ("command", "timeout_s", "reason"),
    [
        (("/no/such/python",), 60, "/no/such/python cannot be started"),
        (python("raise ImportError('libopus.so: wrong ELF class')"), 60, "exit code 1: .*wrong ELF class"),
        (python("import os; os._exit(3)"), 60, "exit code 3: it said nothing"),
        (python("print('hello')"), 60, "cannot be read"),
        (python("print('{}')"), 60, "cannot be read: .*python"),
        (python("import threading; threading.Event().wait()"), 0.5, r"no report within 0\.5 s"),
    ],
)
def test_a_worker_that_gives_no_report(command: Sequence[str], timeout_s: float, reason: str) -> None:
    with pytest.raises(WorkerStartError, match=reason) as caught:
        ask_worker(command, libopus=None, timeout_s=timeout_s)
    assert "\n" not in str(caught.value)


def test_a_worker_that_cannot_start_is_one_failed_line() -> None:
    diagnosis = examine(worker_command=python("import sys; sys.exit('no memory')"))
    failed = [check for check in diagnosis.checks if check.verdict is Verdict.FAIL]
    assert [check.name for check in failed] == ["worker process"]
    assert failed[0].found == "it ended with exit code 1: no memory"
    assert failed[0].fix.endswith("--doctor")
    assert not diagnosis.sound
    assert diagnosis.worker is None


def test_a_wrong_config_is_a_failed_line_and_the_rest_is_still_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOICEPOOL_WORKERS", "0")
    diagnosis = examine()
    assert not diagnosis.sound
    check = next(check for check in diagnosis.checks if check.name == "config")
    assert "VOICEPOOL_WORKERS" in check.found
    assert diagnosis.worker is not None


def test_settings_that_differ_from_the_defaults_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPOOL_WORKERS", "2")
    monkeypatch.setenv("VOICEPOOL_LOG_LEVEL", "debug")
    checks = examine(worker_command=python("")).checks
    assert (
        next(check.found for check in checks if check.name == "config") == "workers = 2, log_level = 'DEBUG'"
    )


def test_without_metadata_the_dependencies_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    checks = examine(worker_command=python("")).checks
    assert next(check.verdict for check in checks if check.name == "dependencies") is Verdict.WARN


SAMPLE = Diagnosis(
    sound=False,
    voicepool="0.1.0",
    checks=[
        Check("python", Verdict.OK, "3.12.1"),
        Check("event loop", Verdict.WARN, "asyncio's own", "Install uvloop."),
        Check("libopus", Verdict.FAIL, " ".join(["word"] * 30), "Install it."),
    ],
    worker=None,
)


def test_the_table() -> None:
    assert render(SAMPLE, colour=False) == "\n".join(
        [
            "voicepool 0.1.0",
            "",
            "ok    python      3.12.1",
            "warn  event loop  asyncio's own",
            "                  -> Install uvloop.",
            "fail  libopus     " + " ".join(["word"] * 16),
            "                  " + " ".join(["word"] * 14),
            "                  -> Install it.",
            "",
            "No sound can be made until the failures are fixed. Failures: 1, warnings: 1.",
        ]
    )


def test_colours_change_nothing_else() -> None:
    coloured = render(SAMPLE, colour=True)
    assert "\x1b[32mok  \x1b[0m  python" in coloured
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == render(SAMPLE, colour=False)


def test_run_prints_a_table_or_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _config: SAMPLE)
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    assert run(parser.parse_args([])) == 1
    assert capsys.readouterr().out == render(SAMPLE, colour=False) + "\n"
    assert run(parser.parse_args(["--json"])) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["sound"] is False
    assert printed["checks"][1] == {
        "name": "event loop",
        "verdict": "warn",
        "found": "asyncio's own",
        "fix": "Install uvloop.",
    }
    monkeypatch.setattr(
        doctor,
        "examine",
        lambda _config: Diagnosis(sound=True, voicepool="", checks=[SAMPLE.checks[0]], worker=None),
    )
    assert run(parser.parse_args([])) == 0
    assert capsys.readouterr().out.endswith("Sound can be made. Failures: 0, warnings: 0.\n")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert doctor._wants_colour(Terminal()) is True  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert doctor._wants_colour(Terminal()) is False  # type: ignore[arg-type]
