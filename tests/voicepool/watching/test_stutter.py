"""What was heard, and why, from two reports of a call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.figures import call_figures
from voicepool._watching.stutter import WorkerTrouble, stutters_between
from voicepool.stutters import StutterCause

CALM = WorkerTrouble()


def heard(worker: WorkerTrouble = CALM, before: dict[str, Any] | None = None, **now: Any) -> object:
    return stutters_between(call_figures(**before or {}), call_figures(**now), worker)


def test_a_call_that_went_on_well_has_nothing_to_tell() -> None:
    assert heard(before={"frames_sent": 50, "frames_nulled": 3}, frames_sent=100, frames_nulled=3) == []


@pytest.mark.parametrize(
    ("now", "cause", "frames"),
    [
        ({"frames_nulled": 4, "nulled_by_source": 4}, StutterCause.SOURCE, 4),
        ({"frames_nulled": 4, "nulled_by_encoder": 4}, StutterCause.ENCODER, 4),
        ({"frames_nulled": 4}, StutterCause.ENCODER, 4),
        ({"send_errors": 2}, StutterCause.NETWORK, 2),
        ({"reconnects": 1}, StutterCause.INTERRUPTED, 0),
        ({"dave_failures": 7}, StutterCause.ENCRYPTION, 7),
    ],
)
def test_each_figure_has_its_cause(now: dict[str, int], cause: StutterCause, frames: int) -> None:
    assert heard(CALM, None, **now) == [(cause, frames)]


def test_only_what_came_since_counts() -> None:
    before = {"frames_nulled": 10, "nulled_by_source": 10, "reconnects": 1}
    assert heard(before=before, frames_nulled=13, nulled_by_source=12, reconnects=1) == [
        (StutterCause.SOURCE, 2),
        (StutterCause.ENCODER, 1),
    ]


def test_a_worker_that_has_no_time_left_is_overloaded() -> None:
    assert heard(WorkerTrouble(overloaded=True), frames_nulled=5, nulled_by_source=2) == [
        (StutterCause.SOURCE, 2),
        (StutterCause.OVERLOAD, 3),
    ]


def test_a_stall_of_the_worker_is_heard_in_each_call_that_plays() -> None:
    assert heard(WorkerTrouble(ticks_skipped=6)) == [(StutterCause.STALL, 6)]
    assert heard(WorkerTrouble(ticks_skipped=6), playing=False) != []
    assert heard(WorkerTrouble(ticks_skipped=6), before={"playing": False}, playing=False) == []


def test_what_broke_while_nothing_played_was_not_heard() -> None:
    assert heard(before={"playing": False}, playing=False, reconnects=2, send_errors=1) == []
