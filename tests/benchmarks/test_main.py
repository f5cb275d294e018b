from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.outcomes import MARKERS, Outcome
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import BenchmarkError


class Fake:
    """A benchmark that does nothing."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        self.name = name
        self.question = f"What about {name}?"
        self.minutes: float | None = None
        self.error = error
        self.options: list[Options] = []
        self.outcomes: list[Outcome] = []

    def load(self) -> Fake:
        return self

    async def __call__(self, options: Options) -> Result:
        self.options.append(options)
        if self.error is not None:
            raise self.error
        figure = Figure(group="all", name="cost", value=1.5, unit="µs", goal=Goal(1.0))
        return Result(
            name=self.name, question=self.question, seconds=0.0, figures=[figure], outcomes=self.outcomes
        )


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


def test_those_that_go_on_for_minutes_run_only_when_named(fakes: dict[str, Fake]) -> None:
    fakes["two"].minutes = 30.0
    assert program.main([]) == 0
    assert [len(fake.options) for fake in fakes.values()] == [1, 0]
    assert program.main(["two"]) == 0
    assert program.main(["two", "--minutes", "0.5"]) == 0
    assert [options.minutes for options in fakes["two"].options] == [None, 0.5]


@pytest.mark.parametrize(
    "arguments", [["one", "--minutes", "1"], ["two", "--minutes", "0"], ["--minutes", "2"]]
)
def test_minutes_are_for_those_that_take_them(fakes: dict[str, Fake], arguments: list[str]) -> None:
    fakes["two"].minutes = 30.0
    with pytest.raises(SystemExit) as exit_info:
        program.main(arguments)
    assert exit_info.value.code == 2
    assert fakes["one"].options == fakes["two"].options == []


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


def test_a_fault_that_ends_otherwise_than_expected_is_a_failure(
    fakes: dict[str, Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes["one"].outcomes = [
        Outcome(fault="kicked", expected="closed", happened="open", complaint="it is open")
    ]
    file = tmp_path / "figures.json"
    assert program.main(["one", "--json", str(file)]) == 1
    assert "it is open" in capsys.readouterr().out
    (told,) = json.loads(file.read_text(encoding="utf-8"))["benchmarks"][0]["outcomes"]
    assert (told["fault"], told["as_expected"]) == ("kicked", False)


def test_the_table_goes_between_its_markers(fakes: dict[str, Fake], tmp_path: Path) -> None:
    fakes["life_cycle"] = Fake("life_cycle")
    fakes["life_cycle"].outcomes = [Outcome(fault="kicked", expected="closed", happened="closed")]
    document = tmp_path / "DOCUMENT.md"
    document.write_text("\n".join(("above", *MARKERS, "below")), encoding="utf-8")
    assert program.main(["life_cycle", "--markdown", str(document)]) == 0
    assert "| kicked | closed | closed | - | - | none |" in document.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["one"], "name it"),
        (["life_cycle", "--quick"], "leave --quick out"),
        (["life_cycle"], "no place for the table"),
    ],
)
def test_a_table_that_cannot_be_written_is_known_before_anything_runs(
    arguments: list[str],
    complaint: str,
    fakes: dict[str, Fake],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fakes["life_cycle"] = Fake("life_cycle")
    document = tmp_path / "DOCUMENT.md"
    document.write_text("nothing", encoding="utf-8")
    with pytest.raises(SystemExit) as exit_info:
        program.main([*arguments, "--markdown", str(document)])
    assert exit_info.value.code == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
