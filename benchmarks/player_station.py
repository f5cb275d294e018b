"""What one more guild costs that hears a station: its source is read and encoded once for all of them.

The figure that counts is the *further* guild: by how much the worker's CPU time grew from one number of
guilds to the next, over the frames that the new ones were sent. Beside it stands what the bare thread grew
by, which seals and sends on as many sockets after the same sleeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks.player_costs import Case, Lengths, Measured, measure
from benchmarks.report import Figure, Goal
from benchmarks.rig import Rig
from benchmarks.rounds import maker, of_sending

__all__ = ["figures_of_station", "measure_station"]

FURTHER_GOAL_US: Final = 10.0
GOAL_GUILDS: Final = 500


async def measure_station(
    rig: Rig, file: Path, guilds: Sequence[int], lengths: Lengths, packets: Path
) -> list[Measured]:
    """Play one station in as many guilds, one number after the other, the smallest first."""
    return [
        await measure(rig, Case(name="one station", file=file, guilds=count, station=True), lengths, packets)
        for count in guilds
    ]


def figures_of_station(series: Sequence[Measured]) -> list[Figure]:
    """Return the figures of all numbers of guilds, the smallest first."""
    figures = []
    for measured in series:
        figure, span, bare = maker(measured.case.group), measured.round.span, measured.round.bare
        figures += [
            figure(
                "worker, all in all",
                span.frame_us,
                measured.round.everything_us,
                "PyAV, libopus, both shared; DAVE, seal, send",
            ),
            figure(
                "  encoder threads", span.encode_us, bare["source"] + bare["opus"], "PyAV, libopus, shared"
            ),
            figure("  pacing thread", span.pacing_us, bare["woken"], "DAVE, seal, send, waking up"),
            figure("  control loop and the rest", span.control_us),
            *of_sending(figure, bare),
        ]
    for before, after in pairwise(series):
        figures.append(_further(before, after))
    return figures


def _further(before: Measured, after: Measured) -> Figure:
    """Return what each guild cost that came between two numbers of them; the goal is about a full worker."""
    fewer, more = before.case.guilds, after.case.guilds
    figure = maker(f"one station, from {fewer} to {more} guilds")
    grown_us = _grown(fewer, before.round.span.frame_us, more, after.round.span.frame_us)
    bare_us = _grown(fewer, before.round.bare["woken"], more, after.round.bare["woken"])
    return figure(
        "a further guild, each frame",
        grown_us,
        # On a disturbed machine the larger number may come out as the cheaper one.
        bare_us if bare_us > 0 else None,
        "DAVE, seal, send, waking up",
        goal=Goal(FURTHER_GOAL_US) if more >= GOAL_GUILDS else None,
    )


def _grown(fewer: int, fewer_us: float, more: int, more_us: float) -> float:
    return (more * more_us - fewer * fewer_us) / (more - fewer)
