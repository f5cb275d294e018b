"""The example for bot authors runs as it is, and notices a bot that does not follow."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from voicepool.testing import StandInProcess

FILE = Path(__file__).parents[2] / "examples" / "survives_a_region_move.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("survives_a_region_move", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bot_of_the_example_survives(capsys: pytest.CaptureFixture[str]) -> None:
    assert load().main() == 0, capsys.readouterr().out
    assert "not a frame was lost" in capsys.readouterr().out


def test_a_move_that_does_not_happen_is_noticed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stay(_: StandInProcess, guild_id: int) -> str:
        return f"{guild_id} stays"

    monkeypatch.setattr(StandInProcess, "move_region", stay)
    example = load()
    monkeypatch.setattr(example, "SONG_S", 2)
    assert example.main() == 1
    assert "1 voice sessions and not two" in capsys.readouterr().out
