"""[pure] Which worker takes a call, and which core a worker is pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voicepool.errors import PoolFullError

__all__ = ["Load", "choose_worker", "cost", "plan_cores"]

CALL_SHARE: Final = 0.01
"""Share of a core that a playing call is taken to cost until it is measured: 187 µs of encoding in 20 ms."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of one worker that is ready.

    Attributes
    ----------
    calls
        Calls it holds now.
    playing
        How many of them were playing at its last report.
    cpu_share
        CPU time per wall time at that report, 1.0 being a whole core; None without one.
    """

    calls: int
    playing: int = 0
    cpu_share: float | None = None


def cost(load: Load) -> float:
    """Return the share of a core that a worker is expected to need once all its calls play.

    What plays was measured; each other call is counted as `CALL_SHARE`. So many calls that arrive between
    two reports are spread, and without any report the count decides.
    """
    if load.cpu_share is None:
        return load.calls * CALL_SHARE
    return load.cpu_share + max(0, load.calls - load.playing) * CALL_SHARE


def choose_worker(loads: Sequence[Load], *, max_calls: int) -> int:
    """Return the index of the worker to take the next call: the one with the lowest cost.

    Parameters
    ----------
    loads
        The workers that are ready; at least one.
    max_calls
        How many calls each may hold.

    Raises
    ------
    PoolFullError
        Each holds that many.
    """
    open_for_more = [index for index, load in enumerate(loads) if load.calls < max_calls]
    if not open_for_more:
        held = sum(load.calls for load in loads)
        raise PoolFullError(
            f"the pool is full: {held} calls on {len(loads)} running workers, {max_calls} allowed on each; "
            "raise workers or max_calls_per_worker",
            calls=held,
            workers=len(loads),
            max_calls_per_worker=max_calls,
        )
    return min(open_for_more, key=lambda index: (cost(loads[index]), loads[index].calls, index))


def plan_cores(workers: int, cores: Sequence[int]) -> list[int | None]:
    """Return the core to pin each worker to.

    Parameters
    ----------
    workers
        How many there are.
    cores
        Numbers of the cores this process may use; empty where processes cannot be pinned.

    Returns
    -------
    list of int or None
        A core of its own for each worker, the first core being left to the bot where there are enough.
        More workers than cores share them evenly.
    """
    if not cores:
        return [None] * workers
    own = list(cores[1:]) if len(cores) > workers else list(cores)
    return [own[index % len(own)] for index in range(workers)]
