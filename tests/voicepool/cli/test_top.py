"""The command: finds a pool, shows it, and leaves quietly."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.voicepool.cli.test_top_rows import call, status, worker
from voicepool import cli
from voicepool._watching.status_view import Status
from voicepool.cli import top
from voicepool.cli._top_client import PoolGoneError, PoolSilentError, RunningPool


class Pools:
    """The pools that run, and what they answer, one look after the other."""

    def __init__(self, *names: str) -> None:
        self.found = [RunningPool(name, Path(f"{name}.sock")) for name in names]
        self.answers: Iterator[Status | Exception | type[BaseException]] = iter(
            status(float(look), workers=[worker(uptime_s=float(look))], calls=[call(7)], calls_total=1)
            for look in range(1_000)
        )

    def find(self) -> list[RunningPool]:
        return self.found

    def ask(self, _pool: RunningPool) -> Status:
        answer = next(self.answers)
        if isinstance(answer, Status):
            return answer
        raise answer


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Pools:
    made = Pools("4711-0")
    monkeypatch.setattr(top, "find", made.find)
    monkeypatch.setattr(top, "ask", made.ask)
    monkeypatch.setattr(top, "_pause", lambda _interval_s: None)
    return made


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    top.add_arguments(parser)
    return top.run(parser.parse_args(argv))


@pytest.mark.usefixtures("pools")
@pytest.mark.parametrize("argv", [["--once"], []])
def test_what_is_no_terminal_gets_plain_text_once(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv) == 0
    out = capsys.readouterr().out
    assert "bot.py (pid 4711)" in out
    assert "song" in out
    assert "\x1b" not in out
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.usefixtures("pools")
def test_json_needs_no_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calls"][0]["label"] == "song"
    assert run("--once") == 1
    assert 'pip install "voicepool[top]"' in capsys.readouterr().err


@pytest.mark.usefixtures("pools")
def test_a_picture_is_written(tmp_path: Path) -> None:
    assert run("--svg", str(tmp_path / "top.svg")) == 0
    text = (tmp_path / "top.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "bot.py" in text
    assert "@font-face" not in text, "it fetches nothing"


@pytest.mark.parametrize("interval", ["0", "-1", "61", "nan"])
def test_an_interval_must_make_sense(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--interval", interval) == 1
    assert "--interval must be from 0.1 to 60 s" in capsys.readouterr().err


def test_without_a_pool_it_says_what_to_look_at(pools: Pools) -> None:
    pools.found.clear()
    with pytest.raises(top._NoSuchPoolError, match="attach = false"):
        run("--once")
    with pytest.raises(top._NoSuchPoolError, match="no pool runs in process 5; there are:\n  none"):
        run("--once", "--pid", "5")


def test_several_pools_are_listed_and_one_is_named(pools: Pools) -> None:
    pools.found += Pools("99-0", "99-1").found
    with pytest.raises(top._NoSuchPoolError) as caught:
        run("--once")
    assert str(caught.value).splitlines()[1:] == [
        f"  {name}  bot.py: 1 workers, 1 calls" for name in ("4711-0", "99-0", "99-1")
    ]
    assert run("--once", "--pid", "4711") == 0
    assert run("--once", "--pid", "99-1") == 0
    with pytest.raises(top._NoSuchPoolError, match="several pools"):
        run("--once", "--pid", "99")


def test_one_that_does_not_answer_is_listed_too(pools: Pools) -> None:
    pools.found += Pools("99-0").found
    pools.answers = iter([PoolSilentError("no answer"), status()])
    with pytest.raises(top._NoSuchPoolError, match=r"4711-0  \(no answer\)\n  99-0  bot.py"):
        run()


def test_errors_are_one_line_of_the_command(
    pools: Pools, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli._COMMANDS, "top", "watch")
    pools.answers = iter([PoolGoneError("the pool of process 4711 has gone")])
    assert cli.main(["top", "--once"]) == 1
    assert capsys.readouterr().err == "voicepool top: the pool of process 4711 has gone\n"


class Terminal(io.StringIO):
    """What stands for the screen."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # Not a fixture: pytest puts its own standard output back between setting up and calling a test.
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "14")
    monkeypatch.setenv("COLUMNS", "80")
    return screen


def looks(*answers: Any) -> Iterator[Any]:
    yield from answers
    raise KeyboardInterrupt


def test_it_looks_again_until_a_worker_has_reported(pools: Pools, capsys: pytest.CaptureFixture[str]) -> None:
    def look(at_s: float, uptime_s: float, sent: int) -> Status:
        return status(at_s, workers=[worker(uptime_s=uptime_s, frames_sent=sent)])

    pools.answers = looks(look(0.0, 5.0, 100), look(1.0, 5.0, 100), look(2.0, 6.0, 150))
    assert run("--once") == 0
    assert "frames sent 50/s" in capsys.readouterr().out


def test_between_two_reports_the_last_one_is_shown(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    pools.answers = looks(
        *(
            status(at_s, workers=[worker(uptime_s=uptime_s, frames_sent=sent)])
            for at_s, uptime_s, sent in [(0.0, 5.0, 100), (1.0, 6.0, 150), (1.5, 6.0, 150), (2.0, 7.0, 210)]
        )
    )
    assert run() == 0
    assert re.findall(r"frames sent (\d+)/s", terminal.getvalue()) == ["50", "50", "60"]


def test_it_watches_until_one_leaves(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    calls = [call(guild) for guild in range(10)]
    pools.answers = looks(
        status(0.0),
        status(1.0, calls=calls, calls_total=10),
        PoolSilentError("no answer for 5 s"),
        status(3.0, workers=[worker("w0.2")]),
    )
    assert run("--interval", "0.5") == 0
    seen = terminal.getvalue()
    assert "\x1b[?1049h" in seen
    assert seen.endswith("\x1b[?25h\x1b[?1049l"), "cursor and screen are back"
    assert " … and 6 more calls" in seen
    assert "no answer for 5 s" in seen
    assert "w0.2" in seen


def test_a_pool_that_goes_away_says_so(
    pools: Pools, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = use_terminal(monkeypatch)
    pools.answers = iter([status(0.0), status(1.0), PoolGoneError("the pool of process 4711 has gone")])
    assert run() == 0
    assert "w0.1" in terminal.getvalue()
    assert capsys.readouterr().err == "voicepool top: the pool of process 4711 has gone\n"
