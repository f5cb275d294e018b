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


def test_a_call_with_several_troubles_takes_as_many_lines_and_names_them_all() -> None:
    suffering = call(1, stutters={"source starved": 3, "pacing stalled": 1})
    lines = shown(view(calls=[suffering, call(2), call(3)], calls_total=3), rows=3)
    assert lines[-4].endswith(" source starved 3")
    assert lines[-3].strip() == "pacing stalled 1"
    assert lines[-2].startswith("2 ")
    assert lines[-1] == " … and 1 more calls"


@pytest.mark.parametrize(
    ("suffered_s", "trouble"),
    [
        (7.4, "7 s ago: moved 1"),
        (150.0, "2 min ago: moved 1"),
        (7_300.0, "2 h ago: moved 1"),
        (None, "earlier: moved 1"),
    ],
)
def test_without_colour_the_past_is_told_from_the_present_by_its_time(
    suffered_s: float | None, trouble: str
) -> None:
    before = status(calls=[call(77, stutters={"moved": 1})])
    now = compare(before, status(1.0, calls=[call(77, stutters={"moved": 1}, suffered_s=suffered_s)]))
    [line] = [line for line in shown(now) if line.startswith("77")]
    assert line.endswith(trouble)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"ticks_skipped": 49}, "w0.1: 980 ms were not sent, since it did not get to run"),
        ({}, {"rescues": 2}, "w0.1: its encoder fell behind and was lifted 2 times"),
        ({}, {"complexity": 5, "best_complexity": 10}, "w0.1: encodes with Opus complexity 5 instead of 10"),
        ({}, {"loop_lag_ms": 1_002.0}, "w0.1: its control loop was up to 1,002 ms late"),
        (
            {},
            {"restarts": 1, "uptime_s": 12.0, "last_error": "worker w0.0 was killed by SIGKILL"},
            "w0.1: started again 12 s ago: worker w0.0 was killed by SIGKILL",
        ),
        (
            {"ticks_skipped": 49},
            {"ticks_skipped": 49, "loop_lag_ms": 10.0, "restarts": 1, "uptime_s": 90.0},
            None,
        ),
        ({}, {"complexity": 10, "best_complexity": 10}, None),
        ({}, {"complexity": 10}, None),
        ({}, {}, None),
    ],
)
def test_what_is_wrong_with_a_worker_is_said_in_words(
    before: dict[str, Any], after: dict[str, Any], said: str | None
) -> None:
    now = compare(status(workers=[worker("w0.1", **before)]), status(1.0, workers=[worker("w0.1", **after)]))
    lines = shown(now)
    assert all(len(line) <= 80 for line in lines)
    found = [line for line in lines if line.startswith(" w0.1: ")]
    assert ([line.strip()[: len(said)] for line in found] == [said]) if said else not found


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
