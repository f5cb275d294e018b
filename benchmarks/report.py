"""[pure] One form for all results: a figure beside its bare cost, its goal, and whether that is met.

The same `Report` becomes a table for people and JSON for programs. Nothing is rounded in the JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from benchmarks.outcomes import Outcome, outcome_to_json, plain

__all__ = ["FORMAT", "Figure", "Goal", "Report", "Result", "render", "to_json"]

FORMAT: Final = 1
"""Version of the JSON; raised when a key changes its meaning or goes."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should keep to.

    Attributes
    ----------
    at_most
        The largest good number, in the figure's unit if it is about the value.
    of
        Which number is meant: the value, or the ratio of the value to the bare cost.
    """

    at_most: float
    of: Literal["value", "ratio"] = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    group
        The circumstances, for example ``64 guilds, encoding a WAV``.
    name
        What was measured.
    value, unit
        How much of what.
    bare, bare_name
        The same work without voicepool around it, in the same unit, measured in the same run; None where
        there is no such thing.
    goal
        What it should keep to; None for numbers that only explain others.
    """

    group: str
    name: str
    value: float
    unit: str
    bare: float | None = None
    bare_name: str = ""
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Value over bare cost; None without one."""
        return self.value / self.bare if self.bare else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or without the bare cost it is about."""
        if self.goal is None:
            return None
        number = self.value if self.goal.of == "value" else self.ratio
        return None if number is None else number <= self.goal.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark found.

    Attributes
    ----------
    name, question
        Of the benchmark.
    seconds
        How long it ran.
    figures
        In the order to be read.
    histograms
        Lateness by circumstances: pairs of the upper bound of a bucket in microseconds and its packets.
    notes
        What a reader must know to judge the figures.
    outcomes
        What came of each fault. One that is not as expected is a defect, unlike a goal that is missed.
    """

    name: str
    question: str
    seconds: float
    figures: Sequence[Figure]
    histograms: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    outcomes: Sequence[Outcome] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the program.

    Attributes
    ----------
    machine
        What it ran on (`benchmarks.machine.describe`).
    commit
        Of the checkout, with ``+changes`` when files differ from it; None outside a git checkout.
    date
        Start, UTC, ISO 8601.
    quick
        Whether this was the short version, whose figures mean little.
    results
        One for each benchmark.
    """

    machine: Json
    commit: str | None
    date: str
    quick: bool
    results: Sequence[Result]


def to_json(report: Report) -> Json:
    """Return the report as JSON types."""
    return {
        "format": FORMAT,
        "date": report.date,
        "commit": report.commit,
        "quick": report.quick,
        "machine": report.machine,
        "benchmarks": [
            {
                "name": result.name,
                "question": result.question,
                "seconds": result.seconds,
                "figures": [_figure_to_json(figure) for figure in result.figures],
                "lateness_histograms_us": {
                    name: [list(bucket) for bucket in buckets] for name, buckets in result.histograms.items()
                },
                "notes": list(result.notes),
                "outcomes": [outcome_to_json(outcome) for outcome in result.outcomes],
            }
            for result in report.results
        ],
    }


def _figure_to_json(figure: Figure) -> Json:
    shown: Json = {
        "group": figure.group,
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
    }
    if figure.bare is not None:
        shown |= {"bare": figure.bare, "bare_name": figure.bare_name, "ratio": figure.ratio}
    if figure.goal is not None:
        shown |= {"goal": {"at_most": figure.goal.at_most, "of": figure.goal.of}, "met": figure.met}
    return shown


def render(report: Report) -> str:
    """Return the report as text, at most about 110 columns wide."""
    lines = [
        f"voicepool benchmarks, {report.date}, commit {report.commit or 'unknown'}",
        *(f"  {key}: {value}" for key, value in report.machine.items()),
    ]
    if report.quick:
        lines.append("  THE SHORT VERSION: good to see that it runs, its figures mean little")
    for result in report.results:
        lines += ["", *_render_result(result)]
    goals = [figure.met for result in report.results for figure in result.figures if figure.met is not None]
    if goals:
        lines += ["", f"{sum(goals)} of {len(goals)} goals met"]
    return "\n".join(lines)


_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_HEADINGS: Final = ("", "value", "bare", "ratio", "goal", "", "bare cost of")


def _render_result(result: Result) -> list[str]:
    rows: list[tuple[str, ...] | str] = []
    group = None
    for figure in result.figures:
        if figure.group != group:
            group = figure.group
            rows.append(group)
        rows.append(_cells(figure))
    cells = [row for row in rows if not isinstance(row, str)]
    widths = [
        max(len(heading), *(len(row[column]) for row in cells)) if cells else 0
        for column, heading in enumerate(_HEADINGS)
    ]
    lines = [f"{result.name}: {result.question} ({result.seconds:.0f} s)", f"    {_line(_HEADINGS, widths)}"]
    lines += [f"  {row}" if isinstance(row, str) else f"    {_line(row, widths)}" for row in rows]
    lines += plain(result.outcomes)
    lines += [f"  note: {note}" for note in result.notes]
    return [line.rstrip() for line in lines]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Set names to the left of their column and numbers to the right."""
    left = {0, len(_HEADINGS) - 1}
    return "  ".join(
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    goal = figure.goal
    limit = ""
    if goal is not None:
        limit = f"≤ {goal.at_most:g} {_TIMES}" if goal.of == "ratio" else f"≤ {goal.at_most:g} {figure.unit}"
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        "" if figure.bare is None else f"{_number(figure.bare)} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f} {_TIMES}",
        limit,
        {True: "met", False: "MISSED", None: ""}[figure.met],
        figure.bare_name,
    )


def _number(value: float) -> str:
    """Show what can be trusted: whole numbers as they are, others to three digits or so."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}".rstrip("0")
