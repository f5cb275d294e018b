"""What the screen says, in 80 columns and without colour."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tests.voicepool.cli.test_top_rows import call, status, worker
from voicepool.cli._top_rows import TopView, compare
from voicepool.cli._top_screen import screen

GUILD = 1_234_567_890_123_456_789


def view(**more: Any) -> TopView:
    return compare(status(), status(1.0, **more))


def shown(view: TopView, *, colour: bool = False, rows: int | None = None) -> list[str]:
    console = Console(
        file=io.StringIO(), width=80, color_system="standard" if colour else None, force_terminal=colour
    )
    console.print(screen(view, rows=rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    return [line.rstrip() for line in text.splitlines()]


def test_it_fits_80_columns() -> None:
    long = call(
        GUILD,
        stutters={"connection interrupted": 123, "source starved": 7},
        gateway_rtt_ms=1_234.5,
        dave_version=1,
        ring_low=8,
        worker="w12.345",
    )
    fat = worker(
        "w12.345",
        123_456,
        pid=4_194_303,
        core=127,
        calls=500,
        memory_bytes=4_096 << 20,
        cpu_share=1.0,
        complexity=10,
    )
    lines = shown(view(calls=[long], calls_total=1, workers=[fat]))
    assert all(len(line) <= 80 for line in lines)
    told = next(line for line in lines if str(GUILD) in line)
    for part in ("w12.345", "song", "0:03", " 8 ", "1234", "v1", "connection"):
        assert part in told
    told = next(line for line in lines if "4194303" in line)
    for part in ("ready", "127", "500", "100%", "4096", "123.5"):
        assert part in told


def test_the_heading_says_how_the_pool_is() -> None:
    workers = [
        worker("w0.1"),
        worker("w1.2", state="draining"),
        worker("w2.1", state="spare"),
        worker("", slot=3, state="restarting", last_error="worker w3.1 was killed by SIGKILL"),
    ]
    lines = shown(
        view(
            workers=workers,
            wanted=3,
            recovered=4,
            moved=5,
            lost=6,
            exits={"killed": 2},
            stutters={"moved": 9},
        )
    )
    text = "\n".join(lines)
    assert "bot.py (pid 4711)" in text
    assert "workers 2 of 3 + 1 spare   calls 0" in text
    assert "4 recovered, 5 moved, 6 lost   exits: killed 2" in text
    assert "bad seconds so far: moved 9" in text
    assert " w3: worker w3.1 was killed by SIGKILL" in lines


def test_calls_beyond_the_screen_are_counted() -> None:
    calls = [call(guild) for guild in range(1, 9)]
    lines = shown(view(calls=calls, calls_total=20), rows=3)
    assert lines[-1] == " … and 17 more calls"
    assert sum("song" in line for line in lines) == 3
    assert shown(view(calls=calls, calls_total=8), rows=-5)[-1] == " … and 8 more calls"


@pytest.mark.parametrize(
    ("state", "more", "trouble"),
    [
        ("interrupted", {}, "interrupted now"),
        ("playing", {"stutters": {"overloaded": 3}}, "overloaded 3"),
        ("playing", {}, ""),
    ],
)
def test_the_trouble_of_a_call_has_a_name(state: str, more: dict[str, Any], trouble: str) -> None:
    [line] = [line for line in shown(view(calls=[call(77, state, **more)])) if line.startswith("77")]
    assert line.endswith(trouble or "-")


def test_colour_is_for_terminals() -> None:
    assert not any("\x1b" in line for line in shown(view(calls=[call()])))
    assert any("\x1b" in line for line in shown(view(calls=[call()]), colour=True))


def test_long_positions_have_hours() -> None:
    playing = call(5)
    playing = type(playing)(
        worker="w0.1",
        playing=type(playing.playing)(guild=5, channel=1, state="playing", label="x", position_s=3_725.9),
    )
    assert any("1:02:05" in line for line in shown(view(calls=[playing])))
