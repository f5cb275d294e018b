"""[pure] Why a worker process ended: from its exit status, and what was known beforehand, to an `Exit`.

A status alone does not tell much. The same SIGKILL is the pool's own at the end of its patience, the kernel's
when memory is short, or somebody's ``kill -9``; and only some ends speak against what the worker was playing.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from voicepool.pool_events import ExitReason

__all__ = ["FAILURES", "Exit", "judge"]

SIGKILL: Final = -9
"""As an exit status."""
ORDERLY: Final = frozenset({0, -1, -2, -15})
"""Exit without complaint, and SIGHUP, SIGINT, SIGTERM: someone wanted the process to leave."""

FAILURES: Final = frozenset(ExitReason) - {ExitReason.ASKED, ExitReason.OVER_MEMORY}
"""What a slot holds against itself: after these its next start may have to wait."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The end of one process instance.

    Attributes
    ----------
    reason
        Why.
    text
        The same as a sentence that begins with the worker's name.
    status
        Exit code, or the number of the signal that ended it, negative; None for a process that was given up
        and is only about to end.
    is_fault
        Whether what it was playing may have caused it, so that the quarantine has to know.
    silent_s
        For how long it had sent no sound when this was found, in seconds, as far as is known.
    """

    reason: ExitReason
    text: str
    status: int | None = None
    is_fault: bool = False
    silent_s: float = 0.0


def judge(worker: str, status: int, described: str, *, wanted: bool, oom_kills: int | None) -> Exit:
    """Tell why a worker that had been ready has ended.

    Parameters
    ----------
    worker
        Its name.
    status
        Exit code; negative for the number of the signal that ended it.
    described
        The status in words.
    wanted
        Whether the pool had told it to leave, or ended it.
    oom_kills
        How many processes the kernel has ended since the worker's start because memory was short; None where
        it does not tell.
    """
    text = f"worker {worker} {described}"
    if wanted:
        return Exit(ExitReason.ASKED, text, status)
    if status in ORDERLY:
        return Exit(ExitReason.LEFT, text, status)
    if status != SIGKILL:
        return Exit(ExitReason.CRASHED, text, status, is_fault=True)
    if oom_kills is None:
        return Exit(ExitReason.KILLED, text, status, is_fault=True)
    if oom_kills == 0:
        # The kernel would have counted it: somebody has sent the signal, and no source is to blame.
        return Exit(ExitReason.KILLED, text, status)
    text += ", it seems by the kernel for want of memory (its count of such ends has risen)"
    return Exit(ExitReason.KILLED, text, status, is_fault=True)
