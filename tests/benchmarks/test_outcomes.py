"""The table of what came of each fault, and its place in a document."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.outcomes import MARKERS, Outcome, markdown, names, outcome_to_json, plain, spliced


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "fault": "cut",
        "expected": "resumed",
        "happened": "resumed",
        "silent_ms": 1.4,
        "lost": 0,
        "ops": "7, 5",
    }
    return Outcome(**fields | changes)


BAD = outcome(fault="kicked", complaint="the connection is open", silent_ms=None, lost=None, ops="")


def test_a_row_of_markdown_holds_everything() -> None:
    heading, _, good, bad = markdown([outcome(), BAD]).splitlines()
    assert heading.startswith("| fault | expected |")
    assert good == "| cut | resumed | resumed | 1 | 0 | 7, 5 |"
    assert bad == "| kicked | resumed | **resumed: the connection is open** | - | - | none |"


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    assert markdown([outcome(happened="a|b")]).splitlines()[-1].count("|") == 7


def test_names_are_what_stays_the_same_in_each_run() -> None:
    assert names(markdown([outcome(silent_ms=5.0), BAD])) == [("cut", "resumed"), ("kicked", "resumed")]


def test_the_table_replaces_the_one_before() -> None:
    document = f"above\n{MARKERS[0]}\nold\n{MARKERS[1]}\nbelow\n"
    once = spliced(document, "new")
    assert once == f"above\n{MARKERS[0]}\nnew\n{MARKERS[1]}\nbelow\n"
    assert spliced(once, "new") == once


@pytest.mark.parametrize("document", ["", MARKERS[0], MARKERS[1]])
def test_a_document_without_a_place_for_it_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        spliced(document, "new")


def test_the_terminal_says_what_was_not_as_expected() -> None:
    good, bad, why = plain([outcome(), BAD])
    assert good.split()[:2] == ["ok", "cut"]
    assert bad.split()[:2] == ["NOT", "kicked"]
    assert "the connection is open" in why


def test_json_says_it_in_a_word() -> None:
    assert outcome_to_json(outcome())["as_expected"] is True
    told = outcome_to_json(BAD)
    assert (told["as_expected"], told["silent_ms"], told["frames_lost"]) == (False, None, None)
