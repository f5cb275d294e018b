from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.report import FORMAT, Figure, Goal, Report, Result, render, to_json


def figure(**changes: Any) -> Figure:
    fields: dict[str, Any] = {"group": "64 guilds", "name": "worker", "value": 12.0, "unit": "µs"}
    return Figure(**fields | changes)


def report(*figures: Figure, quick: bool = False, **changes: Any) -> Report:
    fields: dict[str, Any] = {"name": "frame_cost", "question": "What does a frame cost?", "seconds": 3.0}
    result = Result(figures=figures, **fields | changes)
    return Report(
        machine={"cpu": "A CPU", "cores": 2},
        commit="abc",
        date="2026-01-02T03:04:05+00:00",
        quick=quick,
        results=[result],
    )


class TestFigure:
    def test_the_ratio_is_value_over_bare_cost(self) -> None:
        assert figure(bare=8.0).ratio == 1.5

    @pytest.mark.parametrize("bare", [None, 0.0])
    def test_without_a_bare_cost_there_is_no_ratio(self, bare: float | None) -> None:
        assert figure(bare=bare).ratio is None

    def test_without_a_goal_nothing_is_met_or_missed(self) -> None:
        assert figure(bare=8.0).met is None

    @pytest.mark.parametrize(("limit", "met"), [(11.9, False), (12.0, True), (12.1, True)])
    def test_a_goal_for_the_value(self, limit: float, *, met: bool) -> None:
        assert figure(goal=Goal(limit)).met is met

    @pytest.mark.parametrize(("limit", "met"), [(1.49, False), (1.5, True)])
    def test_a_goal_for_the_ratio(self, limit: float, *, met: bool) -> None:
        assert figure(bare=8.0, goal=Goal(limit, of="ratio")).met is met

    def test_a_goal_for_a_ratio_that_is_not_known_is_neither_met_nor_missed(self) -> None:
        assert figure(goal=Goal(1.2, of="ratio")).met is None


class TestJson:
    def test_it_is_json_with_all_that_is_needed_to_compare_runs(self) -> None:
        made = report(figure(bare=8.0, bare_name="libopus", goal=Goal(1.15, of="ratio")), notes=["a note"])
        read = json.loads(json.dumps(to_json(made)))
        assert read["format"] == FORMAT
        assert (read["date"], read["commit"], read["quick"]) == ("2026-01-02T03:04:05+00:00", "abc", False)
        assert read["machine"] == {"cpu": "A CPU", "cores": 2}
        (benchmark,) = read["benchmarks"]
        assert (benchmark["name"], benchmark["seconds"], benchmark["notes"]) == (
            "frame_cost",
            3.0,
            ["a note"],
        )
        assert benchmark["figures"] == [
            {
                "group": "64 guilds",
                "name": "worker",
                "value": 12.0,
                "unit": "µs",
                "bare": 8.0,
                "bare_name": "libopus",
                "ratio": 1.5,
                "goal": {"at_most": 1.15, "of": "ratio"},
                "met": False,
            }
        ]

    def test_what_a_figure_does_not_have_is_left_out(self) -> None:
        ((shown,),) = [benchmark["figures"] for benchmark in to_json(report(figure()))["benchmarks"]]  # type: ignore[attr-defined]
        assert set(shown) == {"group", "name", "value", "unit"}

    def test_histograms_are_pairs(self) -> None:
        made = to_json(report(histograms={"calm": [(7, 2), (15, 1)]}))
        assert made["benchmarks"][0]["lateness_histograms_us"] == {"calm": [[7, 2], [15, 1]]}  # type: ignore[index]


class TestText:
    def test_a_missed_goal_is_plain_to_see(self) -> None:
        text = render(report(figure(bare=8.0, bare_name="libopus", goal=Goal(1.15, of="ratio"))))
        (line,) = [line for line in text.splitlines() if "MISSED" in line]
        assert [word in line for word in ("worker", "12 µs", "8 µs", "1.50", "1.15", "libopus")] == [True] * 6
        assert "0 of 1 goals met" in text

    def test_a_met_goal_is_counted(self) -> None:
        text = render(report(figure(goal=Goal(20.0)), figure(name="other"), figure(goal=Goal(10.0))))
        assert "1 of 2 goals met" in text

    def test_without_goals_none_are_counted(self) -> None:
        assert "goals met" not in render(report(figure()))

    def test_a_group_is_named_once(self) -> None:
        text = render(report(figure(), figure(name="other"), figure(group="1 guild")))
        assert text.count("64 guilds") == 1
        assert text.index("64 guilds") < text.index("other") < text.index("1 guild")

    def test_columns_line_up(self) -> None:
        lines = render(report(figure(value=1.0), figure(name="a longer name", value=123_456.0))).splitlines()
        ends = {line.index(" µs") for line in lines if " µs" in line}
        assert len(ends) == 1

    def test_the_machine_and_the_notes_are_shown(self) -> None:
        text = render(report(figure(), notes=["one core only"]))
        assert "cpu: A CPU" in text
        assert "note: one core only" in text

    def test_the_short_version_says_so(self) -> None:
        assert "SHORT VERSION" in render(report(figure(), quick=True))
        assert "SHORT VERSION" not in render(report(figure()))

    def test_a_result_without_figures_is_shown(self) -> None:
        assert "What does a frame cost?" in render(report())

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0.0, "0"), (0.1234, "0.123"), (0.25, "0.25"), (12.34, "12.3"), (123.4, "123"), (1234.0, "1,234")],
    )
    def test_numbers_show_what_can_be_trusted(self, value: float, shown: str) -> None:
        assert f" {shown} µs" in render(report(figure(value=value)))
