"""The command itself: what it refuses before anything is started, and how it ends."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.voicepool.cli.test_demo_report import GOOD
from voicepool import cli
from voicepool.cli import _demo_run, demo
from voicepool.cli._demo_bot import DemoError
from voicepool.cli._demo_media import DEMO_MUSIC
from voicepool.cli._demo_report import DemoReport
from voicepool.testing import StandInError


class Stage:
    """Stands where the performance is."""

    def __init__(self) -> None:
        self.plans: list[_demo_run.Plan] = []
        self.report: DemoReport | BaseException = GOOD

    async def perform(self, plan: _demo_run.Plan, _progress: object) -> DemoReport:
        self.plans.append(plan)
        if isinstance(self.report, BaseException):
            raise self.report
        return self.report


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    found = Stage()
    monkeypatch.setattr(_demo_run, "perform", found.perform)
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("VOICEPOOL_"):
            monkeypatch.delenv(name)
    return found


def test_the_defaults_are_those_of_the_documentation(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo"]) == 0
    (plan,) = stage.plans
    assert (plan.guilds, plan.config.workers, plan.seconds) == (8, 2, 10.0)
    assert plan.config.dave
    assert plan.source == DEMO_MUSIC
    assert len(plan.music) == 15 * 48_000
    assert plan.out == Path("demo-out")
    assert plan.out.is_dir()
    printed = capsys.readouterr()
    assert "frames received" in printed.out
    assert printed.err == ""


def test_json_is_one_object_and_nothing_else(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--json", "--guilds", "3", "--workers", "4", "--seconds", "2.5", "--out", "heard"]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    (plan,) = stage.plans
    assert (plan.guilds, plan.config.workers, plan.seconds, plan.out) == (3, 4, 2.5, Path("heard"))


def test_a_run_that_is_not_flawless_says_so_and_fails(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.report = dataclasses.replace(GOOD, frames_received=1_000)
    assert cli.main(["demo", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["ok"] is False
    assert printed.err == "voicepool demo: 10 of 1,010 frames did not arrive\n"


def test_end_to_end_encryption_can_be_turned_off(stage: Stage) -> None:
    assert cli.main(["demo", "--no-dave"]) == 0
    Path("voicepool.toml").write_text("dave = false\n")
    assert cli.main(["demo"]) == 0
    assert [plan.config.dave for plan in stage.plans] == [False, False]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dave_failures": 3}, "3 frames could not be decrypted end to end (DAVE)"),
        ({"dave_protocol_version": 0}, "a call was not end-to-end encrypted"),
    ],
)
def test_encryption_that_fails_fails_the_demo(
    changes: dict[str, Any], sentence: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.report = dataclasses.replace(GOOD, **changes)
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err.startswith(f"voicepool demo: {sentence}")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StandInError("the stand-in did not start: no"), "the stand-in did not start: no"),
        (DemoError("the bot cannot join"), "the bot cannot join"),
        (
            PermissionError(13, "Permission denied", "demo-out/guild-0.wav"),
            "Permission denied: demo-out/guild-0",
        ),
        (OSError("no room"), "no room: demo-out"),
    ],
)
def test_what_cannot_go_on_is_one_sentence(
    error: Exception, sentence: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.report = error
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"voicepool demo: {sentence}")
    assert printed.err.count("\n") == 1


def test_an_interruption_has_the_exit_code_of_one(stage: Stage) -> None:
    stage.report = KeyboardInterrupt()
    assert cli.main(["demo"]) == 130


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--guilds", "0"], "--guilds"),
        (["--guilds", "51"], "--guilds"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--seconds", "inf"], "--seconds"),
        (["--workers", "0"], "workers"),
        (["--source", "missing.mp3"], "missing.mp3"),
        (["--source", "."], "regular file"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--out", "file/inside"], "file"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    arguments: list[str], named: str, stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["demo", *arguments]) == 1
    assert stage.plans == []
    error = capsys.readouterr().err
    assert error.startswith("voicepool demo: ")
    assert named in error
    assert error.count("\n") == 1


def test_settings_are_found_where_a_pool_finds_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "voicepool.toml").write_text("complexity = 3\nworkers = 7\n")
    monkeypatch.setenv("VOICEPOOL_BITRATE_BPS", "64000")
    assert cli.main(["demo"]) == 0
    other = tmp_path / "other.toml"
    other.write_text("complexity = 5\n")
    assert cli.main(["demo", "--config", str(other)]) == 0
    found = [(plan.config.complexity, plan.config.bitrate_bps, plan.config.workers) for plan in stage.plans]
    assert found == [(3, 64_000, 2), (5, 64_000, 2)]


@pytest.mark.parametrize(
    ("absent", "named"), [({"hikari"}, "hikari;"), ({"hikari", "aiohttp"}, "hikari and aiohttp;")]
)
@pytest.mark.usefixtures("stage")
def test_a_missing_extra_is_named_with_what_installs_it(
    absent: set[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in absent else find(name, *more)
    )
    assert cli.main(["demo"]) == 1
    error = capsys.readouterr().err
    assert named in error
    assert 'pip install "voicepool[hikari,testing]"' in error


def test_every_option_is_explained() -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    for action in parser._actions:
        assert action.help, action.dest
