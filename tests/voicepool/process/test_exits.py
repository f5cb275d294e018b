"""Why a worker ended."""

from __future__ import annotations

import pytest

from voicepool._process.exits import FAILURES, judge
from voicepool.pool_events import ExitReason


@pytest.mark.parametrize(
    ("status", "oom_kills", "reason", "is_fault"),
    [
        (0, 0, ExitReason.LEFT, False),
        (-15, 0, ExitReason.LEFT, False),
        (-2, 0, ExitReason.LEFT, False),
        (1, 0, ExitReason.CRASHED, True),
        (-6, 0, ExitReason.CRASHED, True),
        (-11, 0, ExitReason.CRASHED, True),
        (-11, 3, ExitReason.CRASHED, True),
        # Somebody's kill -9 is no source's fault; what the kernel ends may be, or what nobody knows of.
        (-9, 0, ExitReason.KILLED, False),
        (-9, 1, ExitReason.KILLED, True),
        (-9, None, ExitReason.KILLED, True),
    ],
)
def test_an_end_that_nobody_wanted(
    status: int, oom_kills: int | None, reason: ExitReason, *, is_fault: bool
) -> None:
    verdict = judge("w0.1", status, "did something", wanted=False, oom_kills=oom_kills)
    assert (verdict.reason, verdict.is_fault, verdict.status) == (reason, is_fault, status)
    assert verdict.text.startswith("worker w0.1 did something")


@pytest.mark.parametrize("status", [0, -9, -15, 1, -11])
def test_an_end_that_was_wanted_is_nobodys_fault(status: int) -> None:
    verdict = judge("w0.1", status, "ended", wanted=True, oom_kills=5)
    assert (verdict.reason, verdict.is_fault) == (ExitReason.ASKED, False)


def test_the_text_tells_of_the_kernel() -> None:
    assert "kernel for want of memory" in judge("w", -9, "died", wanted=False, oom_kills=1).text
    assert "kernel" not in judge("w", -9, "died", wanted=False, oom_kills=0).text
    assert "kernel" not in judge("w", -9, "died", wanted=False, oom_kills=None).text


def test_what_is_held_against_a_slot() -> None:
    assert set(ExitReason) - FAILURES == {ExitReason.ASKED, ExitReason.OVER_MEMORY}
