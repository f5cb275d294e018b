"""``voicepool config``: as it is called, what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voicepool import cli
from voicepool._machine.isolation import Topology
from voicepool.cli.config import check
from voicepool.config import PoolConfig


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for item in PoolConfig.explain():
        monkeypatch.delenv(item.variable, raising=False)
    monkeypatch.delenv("VOICEPOOL_CONFIG", raising=False)


def write(tmp_path: Path, text: str) -> str:
    file = tmp_path / "some.toml"
    file.write_text(text)
    return str(file)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "workers = 1\n")
    assert cli.main(["config", "--check", file]) == 0
    assert printed(capsys) == f"{file}: 0 problems, 0 warnings\n"


def test_all_problems_are_shown_as_compilers_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, 'worker = 1\nconnect_timeout_s = "15s"\ndave = false\n')
    assert cli.main(["config", "--check", file]) == 1
    out = printed(capsys)
    assert f"{file}:1: error: worker is no setting" in out
    assert f"{file}:2: error: connect_timeout_s" in out
    assert "write 15" in out
    assert f"{file}:3: warning: dave = false" in out
    assert out.endswith(f"{file}: 2 problems, 1 warnings\n")


def test_a_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "ring_frames = 1\n")
    assert cli.main(["config", "--check", file, "--json"]) == 1
    assert json.loads(printed(capsys)) == {
        "file": file,
        "exit_code": 1,
        "problems": [
            {
                "key": "ring_frames",
                "line": 1,
                "text": "ring_frames = 1 is below 2; allowed is a whole number from 2 to 50",
            }
        ],
        "warnings": [],
    }


@pytest.mark.parametrize(("text", "line"), [(None, None), ("workers =\n", 1)])
def test_no_file_and_no_toml_are_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, line: int | None
) -> None:
    file = str(tmp_path / "some.toml") if text is None else write(tmp_path, text)
    assert cli.main(["config", "--check", file]) == 2
    assert "error: the " in printed(capsys)
    report = check(Path(file), Topology(allowed=4))
    assert [problem["line"] for problem in report["problems"]] == [line]


def test_the_environment_is_no_part_of_a_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEPOOL_WORKERS", "nonsense")
    assert cli.main(["config", "--check", write(tmp_path, "")]) == 0
    assert "0 problems" in printed(capsys)


def test_more_workers_than_cores_is_a_warning(tmp_path: Path) -> None:
    report = check(Path(write(tmp_path, "\nworkers = 3")), Topology(allowed=2))
    assert report["exit_code"] == 0
    (warning,) = report["warnings"]
    assert (warning["key"], warning["line"]) == ("workers", 2)


def test_contradictions_are_problems(tmp_path: Path) -> None:
    report = check(Path(write(tmp_path, "min_workers = 3\nmax_workers = 2\n")), Topology(allowed=2))
    assert [(problem["key"], problem["line"]) for problem in report["problems"]] == [("max_workers", 2)]


def test_the_settings_in_force_and_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "voicepool.toml").write_text("# mine\nring_frames = 9\ncomplexity = 3\n")
    monkeypatch.setenv("VOICEPOOL_COMPLEXITY", "4")
    assert cli.main(["config", "--json"]) == 0
    shown = json.loads(printed(capsys))
    assert shown["file"] == str(tmp_path / "voicepool.toml")
    by_key: dict[str, Any] = {item["key"]: item for item in shown["settings"]}
    assert set(by_key) == set(PoolConfig().as_dict())
    assert (by_key["ring_frames"]["value"], by_key["ring_frames"]["line"]) == (9, 2)
    assert (by_key["complexity"]["value"], by_key["complexity"]["origin"]) == (4, "VOICEPOOL_COMPLEXITY")
    assert (by_key["dave"]["value"], by_key["dave"]["origin"]) == (True, "default")

    assert cli.main(["config"]) == 0
    lines = [line.split() for line in printed(capsys).splitlines()]
    assert ["ring_frames", "9", "frames", "of", "20", "ms", "voicepool.toml:2"] in lines
    assert ["complexity", "4", "VOICEPOOL_COMPLEXITY"] in lines
    assert ["ca_file", "unset", "default"] in lines


def test_another_file_and_a_broken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--config", write(tmp_path, "workers = 1\ndave = false")]) == 0
    out = printed(capsys)
    assert "some.toml:1" in out
    assert "warning: dave = false" in out
    assert cli.main(["config", "--config", write(tmp_path, "workers = 0")]) == 1
    assert "voicepool config: workers = 0 (from" in capsys.readouterr().err


def test_settings_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--explain", "ring_frames", "modes"]) == 0
    out = printed(capsys)
    for words in ("VOICEPOOL_RING_FRAMES", "frames of 20 ms", "a whole number from 2 to 50", "takes effect:"):
        assert words in out
    assert "at the next worker start" in out
    assert "VOICEPOOL_MODES" in out

    assert cli.main(["config", "--explain", "--json"]) == 0
    assert [item["key"] for item in json.loads(printed(capsys))] == list(PoolConfig().as_dict())


def test_what_cannot_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--explain", "ring_frame"]) == 1
    assert "did you mean ring_frames?" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--schema"]) == 0
    assert json.loads(printed(capsys)) == PoolConfig.schema()


def test_the_example_is_printed_or_written_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "--example"]) == 0
    text = printed(capsys)
    file = tmp_path / "voicepool.toml"
    assert cli.main(["config", "--example", str(file)]) == 0
    assert printed(capsys) == f"wrote {file}\n"
    assert file.read_text() == text
    assert cli.main(["config", "--check", str(file)]) == 0
    printed(capsys)

    file.write_text("mine = 1")
    assert cli.main(["config", "--example", str(file)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine = 1"
    assert cli.main(["config", "--example", str(tmp_path / "no" / "x.toml")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--schema", "--example"],
        ["--example", "--json"],
        ["--schema", "--config", "x.toml"],
        ["--explain", "--config", "x.toml"],
        ["--check", "x.toml", "--config", "y.toml"],
    ],
)
def test_no_option_is_taken_and_ignored(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["config", *arguments])
    assert caught.value.code == 2
