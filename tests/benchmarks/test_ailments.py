"""Expectations notice when they are not met."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ailments import (
    FAILED,
    FOLLOWED,
    FULL,
    MISSING,
    OVER,
    PLAIN,
    REJOINED,
    RESUMED,
    ROWS,
    UNHEARD,
    Row,
)
from benchmarks.patient import Observed
from voicepool.errors import ConnectError
from voicepool.testing.gateway_voice import Op4Outcome


def seen(**changes: Any) -> Observed:
    fields: dict[str, Any] = {
        "sessions": 1,
        "resumes": 0,
        "op4": (),
        "sent": (),
        "silent_ms": 0.0,
        "lost": 0,
        "dave_version": 1,
        "error": None,
        "closed": False,
        "in_channel": True,
        "wrong": (),
    }
    return Observed(**fields | changes)


GONE: dict[str, Any] = {"closed": True, "in_channel": False}


def test_what_is_as_expected_is_no_complaint() -> None:
    assert UNHEARD.complaints(seen()) == []
    assert RESUMED.complaints(seen(resumes=1)) == []
    assert FOLLOWED.complaints(seen(sessions=2, lost=5)) == []
    assert REJOINED.complaints(seen(sessions=2, op4=(Op4Outcome.LEFT, Op4Outcome.JOINED))) == []
    assert MISSING.complaints(seen(lost=20)) == []
    assert PLAIN.complaints(seen(dave_version=0)) == []
    assert OVER.complaints(seen(**GONE)) == []
    assert FAILED.complaints(seen(**GONE, error=ConnectError("gone"))) == []


@pytest.mark.parametrize(
    ("expectation", "changes", "complaint"),
    [
        (UNHEARD, {"lost": 1}, "1 frames were lost"),
        (UNHEARD, {"lost": -1}, "heard twice"),
        (UNHEARD, {"sessions": 2}, "another voice session"),
        (UNHEARD, {"wrong": ("op 3 came twice",)}, "op 3 came twice"),
        (UNHEARD, {"error": ConnectError("gone")}, "gone"),
        (RESUMED, {}, "not resumed"),
        (FOLLOWED, {}, "no other voice session"),
        (FOLLOWED, {"sessions": 2, "op4": (Op4Outcome.LEFT,)}, "sent op 4"),
        (REJOINED, {"sessions": 2}, "did not join again"),
        (MISSING, {"lost": 19}, "another number"),
        (PLAIN, {}, "was encrypted"),
        (OVER, {"closed": True}, "still in the channel"),
        (OVER, {"in_channel": False}, "is open"),
        (OVER, GONE | {"error": ConnectError("gone")}, "with an error"),
        (FAILED, GONE, "no error says why"),
        (FULL, GONE | {"sessions": 0}, "the reason was None"),
    ],
)
def test_what_is_not_as_expected_is_told(expectation: Any, changes: dict[str, Any], complaint: str) -> None:
    assert complaint in "; ".join(expectation.complaints(seen(**changes)))


def test_a_fault_that_did_not_show_is_a_complaint() -> None:
    row = Row("bad commit", UNHEARD, shown_by=("31", "26"))
    assert row.complaint(seen(sent=("28", "26"))) == "op 31 was not sent"
    assert row.complaint(seen(sent=("31", "26"))) is None


def test_what_was_sent_is_counted_in_its_order() -> None:
    assert seen(sent=("main 4", "0", "1", "0")).ops == "main 4, 0 (2 times), 1"


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [row.fault for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(row.inflict or row.before for row in ROWS)
