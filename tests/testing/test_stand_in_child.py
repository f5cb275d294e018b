"""How the child is started: the same interpreter, the same voicepool, out of Ctrl-C's reach."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

import voicepool
from voicepool.testing.stand_in_child import command, environment, own_group

HOME = str(Path(voicepool.__file__).absolute().parents[1])


def test_it_is_this_interpreter_without_the_current_directory() -> None:
    assert command(["--guilds=2"]) == (sys.executable, "-P", "-m", "voicepool.testing", "--guilds=2")


def test_an_installed_package_is_found_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(site, "getsitepackages", lambda: [HOME])
    assert environment() == dict(os.environ)


@pytest.mark.parametrize("others", [None, "elsewhere"])
def test_a_checkout_is_named_first(others: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "getsitepackages", list)
    if others is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", others)
    assert environment()["PYTHONPATH"].split(os.pathsep) == [HOME, *([others] if others else [])]


def test_the_child_imports_the_same_voicepool_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "voicepool.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import voicepool; print(voicepool.__file__)"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == Path(voicepool.__file__)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX sessions")
def test_it_has_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    done = subprocess.run(
        [sys.executable, "-c", code], **own_group(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
