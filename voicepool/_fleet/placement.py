"""[pure] Which worker takes a call.

The cheapest one does, of those that are not full. What a worker costs is what it was measured to need, and
what the calls will need that came since; what it sends too late, a control loop that lags, and a lowered Opus
complexity make it dearer. A guild that hears a station goes where the station is on the air already, unless
it would sound worse there.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voicepool._fleet.gauge import Costs, Gauge
from voicepool.errors import PoolFullError

__all__ = ["Ceilings", "Load", "Refusal", "choose_worker", "cost", "measure", "refusal"]

WAITING_PART: Final = 0.5
"""How much of a playing call's cost one counts that does not play: it may begin to at any time."""
PUNCTUAL_MS: Final = 2.0
"""Lateness of the 99th percentile that any busy machine has."""
LATE_MS: Final = 10.0
"""Lateness of the 99th percentile from which on saving CPU time is no reason to choose a worker."""
TICK_MS: Final = 20.0
PROMPT_MS: Final = 50.0
"""Lag of a control loop that joining a call makes."""
SHED_SHARE: Final = 0.3
"""What a worker that sheds complexity is dearer by: about as much work as it cannot do now."""
LOWEST_COMPLEXITY: Final = 0
"""Where a worker has shed all it can."""


class Refusal(enum.StrEnum):
    """Why a worker takes no further call."""

    CALLS = "calls"
    """It holds ``max_calls_per_worker``."""
    CPU = "cpu"
    """It uses ``full_share`` of a core."""
    ENCODER = "encoder"
    """It has lowered its Opus complexity as far as it can, and still has too much to encode."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What makes a worker full.

    Attributes
    ----------
    max_calls
        How many calls it may hold.
    full_share
        CPU time per wall time beyond which it takes no further one.
    """

    max_calls: int
    full_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of one worker that takes calls.

    Attributes
    ----------
    name
        Of the worker.
    calls
        Calls it holds now, and those for which a place is reserved.
    playing
        How many of them played at its last report.
    fresh
        How many of them came so lately that they are in no figure yet.
    fresh_passing
        How many of `fresh` are known to cost little, since they hear a station that is on the air there.
    cpu_share, encoder_share
        CPU time per wall time, and the encoder's time at work, at that report; 1.0 is a whole core.
    steady_share
        CPU time per wall time, smoothed over some seconds.
    late_p99_ms, lag_ms
        Lateness of its packets and of its control loop, lately.
    shed
        How many steps its Opus complexity is below the configured one.
    exhausted
        Whether it cannot be lowered further.
    on_air
        Whether the station that the call hears is on the air there, or is about to be.
    """

    name: str
    calls: int
    playing: int = 0
    fresh: int = 0
    fresh_passing: int = 0
    cpu_share: float = 0.0
    encoder_share: float = 0.0
    steady_share: float = 0.0
    late_p99_ms: float = 0.0
    lag_ms: float = 0.0
    shed: int = 0
    exhausted: bool = False
    on_air: bool = False


def measure(
    gauge: Gauge,
    *,
    name: str,
    calls: int,
    fresh: int,
    fresh_passing: int = 0,
    complexity: int,
    on_air: bool = False,
) -> Load:
    """Join what a worker reported and what is known of its calls.

    Parameters
    ----------
    gauge
        Of its reports.
    name, calls, fresh, fresh_passing
        As in `Load`.
    complexity
        The configured one.
    on_air
        Whether the call's station was put on the air there since the last report.
    """
    stats, span = gauge.latest, gauge.span
    if stats is None:
        return Load(name=name, calls=calls, fresh=fresh, fresh_passing=fresh_passing, on_air=on_air)
    shed = max(0, complexity - stats.complexity)
    return Load(
        name=name,
        calls=calls,
        playing=sum(bool(call.tracks) for call in stats.calls),
        fresh=fresh,
        fresh_passing=fresh_passing,
        cpu_share=span.cpu_share if span is not None else 0.0,
        encoder_share=stats.encoder_share,
        steady_share=gauge.steady_share,
        late_p99_ms=span.late_p99_ms if span is not None else 0.0,
        lag_ms=stats.loop_lag_ms,
        shed=shed,
        exhausted=shed > 0 and stats.complexity <= LOWEST_COMPLEXITY,
        on_air=on_air,
    )


def cost(load: Load, costs: Costs) -> float:
    """Return the share of a core that a worker is expected to need, and what makes it worse than that.

    Calls that came since its last report count with what such calls cost here, so that a hundred that come
    within a second are spread.
    """
    measured = max(load.cpu_share, load.encoder_share)
    fresh = (load.fresh - load.fresh_passing) * costs.playing + load.fresh_passing * costs.passing
    waiting = max(0, load.calls - load.fresh - load.playing) * costs.playing * WAITING_PART
    late = max(0.0, load.late_p99_ms - PUNCTUAL_MS) / TICK_MS
    lag = max(0.0, load.lag_ms - PROMPT_MS) / 1_000
    return measured + fresh + waiting + late + lag + (SHED_SHARE if load.shed else 0.0)


def refusal(load: Load, ceilings: Ceilings) -> Refusal | None:
    """Say why a worker takes no further call; None if it does."""
    if load.calls >= ceilings.max_calls:
        return Refusal.CALLS
    if load.exhausted:
        return Refusal.ENCODER
    if load.steady_share >= ceilings.full_share:
        return Refusal.CPU
    return None


def choose_worker(loads: Sequence[Load], ceilings: Ceilings, costs: Costs, *, exists: bool = False) -> int:
    """Return the index of the worker to take the next call: the cheapest of those that are not full.

    Parameters
    ----------
    loads
        The workers that take calls; at least one.
    ceilings
        What makes them full.
    costs
        Of a call.
    exists
        Whether the call was up already, at a worker that is lost or drained. It may go where new calls are
        refused, as long as there is room for it: sound that may be late is better than none.

    Raises
    ------
    PoolFullError
        All are full.
    """
    refusals = [refusal(load, ceilings) for load in loads]
    open_for_it = [index for index, why in enumerate(refusals) if why is None]
    if not open_for_it and exists:
        open_for_it = [index for index, why in enumerate(refusals) if why is not Refusal.CALLS]
    if not open_for_it:
        raise _full(loads, refusals, ceilings)
    on_air = [index for index in open_for_it if loads[index].on_air and not _is_in_trouble(loads[index])]
    return min(
        on_air or open_for_it, key=lambda index: (cost(loads[index], costs), loads[index].calls, index)
    )


def _is_in_trouble(load: Load) -> bool:
    return load.shed > 0 or load.late_p99_ms >= LATE_MS


def _full(loads: Sequence[Load], refusals: Sequence[Refusal | None], ceilings: Ceilings) -> PoolFullError:
    held = sum(load.calls for load in loads)
    data: dict[str, str | float] = {
        "calls": held,
        "workers": len(loads),
        "max_calls_per_worker": ceilings.max_calls,
        "full_share": ceilings.full_share,
    }
    lines = []
    for load, why in zip(loads, refusals, strict=True):
        assert why is not None
        data[f"{load.name}:calls"] = load.calls
        data[f"{load.name}:cpu_share"] = round(load.steady_share, 3)
        data[f"{load.name}:refusal"] = why.value
        lines.append(f"{load.name}: {load.calls} calls, {load.steady_share:.2f} of a core, {_words(why)}")
    ways_out = {
        Refusal.CALLS: "max_calls_per_worker",
        Refusal.CPU: "full_share",
        Refusal.ENCODER: "complexity (lower)",
    }
    knobs = ["workers", *(knob for why, knob in ways_out.items() if why in refusals)]
    text = (
        f"the pool is full: {held} calls on {len(loads)} running workers, {ceilings.max_calls} allowed on "
        f"each, none beyond {ceilings.full_share:g} of a core ({'; '.join(lines)}); "
        f"change {', '.join(knobs)}"
    )
    return PoolFullError(text, **data)


def _words(why: Refusal) -> str:
    return {
        Refusal.CALLS: "as many calls as it may hold",
        Refusal.CPU: "as much CPU time as it may use",
        Refusal.ENCODER: "Opus complexity lowered as far as it goes",
    }[why]
