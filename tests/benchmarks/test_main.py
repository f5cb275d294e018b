from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import BenchmarkError


class Fake:
    """A benchmark that does nothing."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        self.name = name
        self.question = f"What about {name}?"
        self.error = error
        self.options: list[Options] = []

    def load(self) -> Fake:
        return self

    async def __call__(self, options: Options) -> Result:
        self.options.append(options)
        if self.error is not None:
            raise self.error
        figure = Figure(group="all", name="cost", value=1.5, unit="µs", goal=Goal(1.0))
        return Result(name=self.name, question=self.question, seconds=0.0, figures=[figure])


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    made = {name: Fake(name) for name in ("one", "two")}
    monkeypatch.setattr(program, "BENCHMARKS", made)
    return made


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)


def test_an_unknown_name_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        program.main(["frame_costs"])
    assert exit_info.value.code == 2
    assert "frame_cost" in capsys.readouterr().err


@pytest.mark.usefixtures("fakes")
def test_a_missed_goal_is_no_failure_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["one"]) == 0
    out = capsys.readouterr().out
    assert "What about one?" in out
    assert "0 of 1 goals met" in out


def test_without_names_all_run(fakes: dict[str, Fake]) -> None:
    assert program.main([]) == 0
    assert [len(fake.options) for fake in fakes.values()] == [1, 1]


@pytest.mark.parametrize("quick", [False, True])
def test_quick_reaches_the_benchmarks(fakes: dict[str, Fake], *, quick: bool) -> None:
    program.main(["two", *(["--quick"] if quick else [])])
    assert [options.quick for options in fakes["two"].options] == [quick]
    assert fakes["one"].options == []


@pytest.mark.usefixtures("fakes")
def test_json_goes_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert program.main(["two", "one", "--json", str(file)]) == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [benchmark["name"] for benchmark in written["benchmarks"]] == ["two", "one"]
    assert written["benchmarks"][0]["figures"][0]["unit"] == "µs"
    assert written["machine"]["libopus"]


def test_a_file_that_cannot_be_written_is_known_before_anything_runs(
    fakes: dict[str, Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        program.main(["one", "--json", str(tmp_path / "nowhere" / "figures.json")])
    assert exit_info.value.code == 2
    assert "figures.json" in capsys.readouterr().err
    assert fakes["one"].options == []


def test_a_benchmark_that_cannot_run_is_one_sentence(
    fakes: dict[str, Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    fakes["one"].error = BenchmarkError("the worker is gone")
    assert program.main(["one"]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == "benchmarks: the worker is gone"
    assert captured.out == ""
