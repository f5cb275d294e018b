"""[pure] Spans beside the bare costs around them, and which of several is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.report import Figure, Goal
from benchmarks.span import Span

__all__ = ["Make", "Round", "maker", "means", "middle", "of_sending", "of_threads"]


@dataclass(frozen=True, slots=True)
class Round:
    """A span, and the bare costs around it by name, in microseconds for each frame sent.

    ``source`` is that of reading or decoding, ``opus`` of libopus, ``filters`` of libavfilter (the last two
    if there are any), ``paced`` of sealing and sending.
    """

    span: Span
    bare: Mapping[str, float]

    @property
    def everything_us(self) -> float:
        """The bare cost of all that a worker does for a frame."""
        bare = self.bare
        return bare["source"] + bare.get("filters", 0.0) + bare.get("opus", 0.0) + bare["paced"]


def middle(rounds: Sequence[Round]) -> Round:
    """Return the round whose cost, as a ratio to the bare one, is the median; of two, the dearer."""
    return sorted(rounds, key=lambda each: each.span.frame_us / each.everything_us)[len(rounds) // 2]


def means(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the means of bare costs that were measured before a span and after it."""
    return {name: (cost_us + after[name]) / 2 for name, cost_us in before.items()}


class Make(Protocol):
    """Makes the figures of a group, which are in microseconds."""

    def __call__(
        self,
        name: str,
        value: float,
        bare: float | None = None,
        bare_name: str = "",
        *,
        goal: Goal | None = None,
    ) -> Figure:
        """Make one."""


def maker(group: str) -> Make:
    """Return what makes the figures of this group."""

    def make(
        name: str,
        value: float,
        bare: float | None = None,
        bare_name: str = "",
        *,
        goal: Goal | None = None,
    ) -> Figure:
        return Figure(
            group=group, name=name, value=value, unit="µs", bare=bare, bare_name=bare_name, goal=goal
        )

    return make


def of_threads(figure: Make, measured: Round) -> list[Figure]:
    """Return what the worker's other threads have spent."""
    span, bare = measured.span, measured.bare
    work = "DAVE, seal, send, waking up" if "dave" in bare else "seal and send, and waking up"
    return [
        figure("  pacing thread", span.pacing_us, bare["woken"], work),
        figure("  control loop and the rest", span.control_us),
    ]


def of_sending(figure: Make, bare: Mapping[str, float]) -> list[Figure]:
    """Return the bare costs of a packet; that of DAVE, too, if it was measured."""
    is_encrypted = "dave" in bare
    paced = f"{'DAVE, ' if is_encrypted else ''}seal and send, paced"
    return [
        *([figure("DAVE", bare["dave"])] if is_encrypted else []),
        figure("seal", bare["seal"]),
        figure("send", bare["send"]),
        figure(paced, bare["paced"], bare["hot"], "the same in a tight loop"),
    ]
