"""What does a worker spend on what it plays, and how soon is a change heard?

Four parts, each in a module of its own, which says how it measures:

* `player_costs`: CPU time of a frame passed through, encoded, mixed of four tracks, filtered.
* `player_station`: the same for one station in up to 500 guilds, and what a further guild costs.
* `player_idle`: how often threads wake up for calls that are idle or paused.
* `player_latency`: how long play, volume, seek and skip take until the voice server has the first packet.

The calls of the first three are end-to-end encrypted. Goals in microseconds are for a quiet machine whose
cores clock at 3 GHz or so; the ratio beside each figure is what to compare elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from benchmarks.player_costs import GOAL_GUILDS, Lengths, cases, figures_of, measure
from benchmarks.player_idle import NOT_COUNTED, count_wake_ups
from benchmarks.player_latency import measure_latency
from benchmarks.player_station import figures_of_station, measure_station
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Result
from benchmarks.rig import open_rig, open_sources

__all__ = ["run"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    guilds: int
    station_guilds: tuple[int, ...]
    idle_calls: int
    idle_s: float
    repeats: int
    lengths: Lengths


_THOROUGH: Final = _Plan(
    guilds=GOAL_GUILDS,
    station_guilds=(1, 10, 100, 500),
    idle_calls=100,
    idle_s=5.0,
    repeats=20,
    lengths=Lengths(rounds=3, span_s=4.0, settle_s=1.5, bare_s=0.3, paced_s=1.0, start_s=20.0),
)
_QUICK: Final = _Plan(
    guilds=2,
    station_guilds=(1, 3),
    idle_calls=2,
    idle_s=0.3,
    repeats=1,
    lengths=Lengths(rounds=1, span_s=0.2, settle_s=0.05, bare_s=0.01, paced_s=0.1, start_s=8.0),
)


async def run(options: Options) -> Result:
    """Measure."""
    plan = _QUICK if options.quick else _THOROUGH
    lengths = plan.lengths
    began_s = time.monotonic()
    figures: list[Figure] = []
    notes = [note for note in (options.cores.note,) if note]
    async with open_sources(lengths.source_s) as sources, open_rig(options.cores, dave=True) as rig:
        config = rig.pool.config
        notes.append(f"Opus at {config.bitrate_bps // 1_000} kbit/s, complexity {config.complexity}")
        measured = [await measure(rig, case, lengths, sources.opus) for case in cases(sources, plan.guilds)]
        for each in measured:
            figures += figures_of(each)
        wake_ups = await count_wake_ups(rig, sources, calls=plan.idle_calls, span_s=plan.idle_s)
        series = await measure_station(rig, sources.mp3, plan.station_guilds, lengths, sources.opus)
        figures += [*figures_of_station(series), *wake_ups]
        notes += [] if wake_ups else [NOT_COUNTED]
        notes += [doubt for each in (*measured, *series) for doubt in each.doubts]
        totals = await rig.totals()
    notes += rig.notes_of_loss(totals)
    figures += await measure_latency(options.cores, repeats=plan.repeats)
    figures += rig.figures_of_loss(totals)
    return Result(
        name="player",
        question=BENCHMARKS["player"].question,
        seconds=time.monotonic() - began_s,
        figures=figures,
        notes=notes,
    )
