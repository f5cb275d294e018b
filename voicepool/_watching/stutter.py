"""[pure] From two reports of a call to the causes of what was heard of it in between.

What the figures say, and which cause that is:

=====================================  ===========================================================
`nulled_by_source` rose                the source was starved
`frames_nulled` rose for other causes  the encoder was behind; overloaded, if its worker is at its end
`ticks_skipped` of the worker rose     pacing was stalled: its thread did not get to run
`send_errors` rose                     the network refused packets
`reconnects` rose                      the connection to the voice server was interrupted
`dave_failures` rose                   frames could not be end-to-end encrypted
=====================================  ===========================================================

A call for which nothing plays does not stutter, whatever happens to it. That a call went to another worker is
told by an event, not by figures; `voicepool._watching.ledger` counts that.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from voicepool.ipc.events import CallStats
from voicepool.stutters import StutterCause

__all__ = ["BUSY_SHARE", "WorkerTrouble", "stutters_between"]

BUSY_SHARE: Final = 0.9
"""Time at work per time beyond which an encoder that is behind has too much to do, rather than bad luck."""


class WorkerTrouble(NamedTuple):
    """What happened to a whole worker between two reports.

    Attributes
    ----------
    ticks_skipped
        Ticks of 20 ms that it gave up after stalls.
    overloaded
        Whether its encoder has no time left, or has lowered its complexity already.
    """

    ticks_skipped: int = 0
    overloaded: bool = False


def stutters_between(
    before: CallStats, now: CallStats, worker: WorkerTrouble
) -> list[tuple[StutterCause, int]]:
    """Name what was heard of a call between two reports of one worker.

    Parameters
    ----------
    before, now
        The earlier report and the later one. For the first report of a call, an empty one comes before it.
    worker
        What happened to the worker meanwhile.

    Returns
    -------
    list of (StutterCause, int)
        Each cause, and the frames of 20 ms it cost; 0 where that is not known. Empty if all was well.
    """
    if not (now.tracks or before.tracks):
        return []
    source = now.nulled_by_source - before.nulled_by_source
    # What nobody lays at the source's door is ours.
    own = now.frames_nulled - before.frames_nulled - source
    found: list[tuple[StutterCause, int]] = []
    if source > 0:
        found.append((StutterCause.SOURCE, source))
    if own > 0:
        found.append((StutterCause.OVERLOAD if worker.overloaded else StutterCause.ENCODER, own))
    if worker.ticks_skipped > 0:
        found.append((StutterCause.STALL, worker.ticks_skipped))
    if (refused := now.send_errors - before.send_errors) > 0:
        found.append((StutterCause.NETWORK, refused))
    if now.reconnects > before.reconnects:
        found.append((StutterCause.INTERRUPTED, 0))
    if now.dave_failures > before.dave_failures:
        found.append((StutterCause.ENCRYPTION, now.dave_failures - before.dave_failures))
    return found
