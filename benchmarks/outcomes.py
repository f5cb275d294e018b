"""[pure] What came of each fault, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["MARKERS", "Outcome", "markdown", "names", "outcome_to_json", "plain", "spliced"]

MARKERS: Final = ("<!-- life-cycle matrix -->", "<!-- /life-cycle matrix -->")
"""Between these lines of a document the table is put."""

_HEADINGS: Final = ("fault", "expected", "happened", "sound again after (ms)", "frames lost", "ops sent")
_NAMES: Final = 2
"""Columns that are the same in each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One row: a fault, and what came of it.

    Attributes
    ----------
    fault, expected, happened
        A few words each.
    complaint
        What was not as expected, in a sentence; None when all was.
    silent_ms
        Longest time that the listener was without a new frame, in milliseconds, beyond the 20 ms that lie
        between any two frames; None when sound is not to come back.
    lost
        Frames of the song that the listener never heard; None likewise.
    ops
        What the client sent because of the fault, heartbeats left out, as ``4, 0, 1, 5``: first op 4 of the
        main gateway, then the voice gateway's opcodes.
    """

    fault: str
    expected: str
    happened: str
    complaint: str | None = None
    silent_ms: float | None = None
    lost: int | None = None
    ops: str = ""


def plain(outcomes: Iterable[Outcome]) -> list[str]:
    """Return lines for a terminal: a row a fault, and below it what was not as expected."""
    lines = []
    for outcome in outcomes:
        _, _, _, silent, lost, ops = _cells(outcome)
        mark = "ok " if outcome.complaint is None else "NOT"
        lines.append(
            f"  {mark} {outcome.fault:52} {outcome.happened}; silent {silent} ms, lost {lost}; ops {ops}"
        )
        if outcome.complaint is not None:
            lines.append(f"      expected: {outcome.expected}; but {outcome.complaint}")
    return lines


def markdown(outcomes: Iterable[Outcome]) -> str:
    """Return a table in Markdown."""
    lines = [_row(_HEADINGS), _row(["---"] * len(_HEADINGS))]
    lines += [_row(_cells(outcome)) for outcome in outcomes]
    return "\n".join(lines)


def names(table: str) -> list[tuple[str, ...]]:
    """Return fault and expectation of each row of a table that `markdown` made."""
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in row.split("|")[1 : 1 + _NAMES]) for row in rows[2:]]


def spliced(document: str, table: str) -> str:
    """Return a document with another table between its `MARKERS`.

    Raises
    ------
    ValueError
        It has no such markers.
    """
    before, start, rest = document.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not start or not end:
        raise ValueError(f"there is no place for the table: put {MARKERS[0]} and {MARKERS[1]} around it")
    return f"{before}{start}\n{table}\n{end}{after}"


def outcome_to_json(outcome: Outcome) -> dict[str, object]:
    """Return a row as JSON types."""
    return {
        "fault": outcome.fault,
        "expected": outcome.expected,
        "happened": outcome.happened,
        "as_expected": outcome.complaint is None,
        "complaint": outcome.complaint,
        "silent_ms": outcome.silent_ms,
        "frames_lost": outcome.lost,
        "ops": outcome.ops,
    }


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.fault,
        outcome.expected,
        outcome.happened if outcome.complaint is None else f"**{outcome.happened}: {outcome.complaint}**",
        "-" if outcome.silent_ms is None else f"{outcome.silent_ms:.0f}",
        "-" if outcome.lost is None else f"{outcome.lost}",
        outcome.ops or "none",
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
