"""[pure] What a worker's reports say of its load, and what one call costs, learned from all of them.

Counters in a report run since the worker started, so what happened lately is the difference of two. The clock
is the worker's own uptime: a worker that stops reporting stands still, and what is placed on it adds up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from voicepool.ipc.events import Stats
from voicepool.ipc.histogram import LatenessHistogram

__all__ = ["Costs", "Gauge", "Span"]

SHORTEST_SPAN_S: Final = 0.05
"""Shorter spans between two reports say more about the clock than about the load."""
STEADY_S: Final = 8.0
"""Time constant of the smoothed load: a second of joining is no lasting load."""
MEMORY_S: Final = 120.0
"""Time constant in which what was learned of the costs of a call is forgotten."""
PRIOR_CALL_SECONDS: Final = 5.0
"""How much measuring the guesses are worth: after as many seconds of one call, half of each is measured."""

ENCODING_SHARE: Final = 0.0094
"""Of a core, for one call that is decoded and encoded, until it is measured: 187 µs in 20 ms."""
PASSING_SHARE: Final = 0.0012
"""Of a core, for encrypting and sending one call's packets, until it is measured."""
IDLE_SHARE: Final = 0.0004
"""Of a core, for keeping one call up, until it is measured."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a worker did between two of its reports.

    Attributes
    ----------
    span_s
        How long that was.
    cpu_share, encode_share, pacing_share
        CPU time per wall time, 1.0 being a core: of the process, its encoder threads, its pacing thread.
    late_p99_ms
        Lateness that 99 of 100 packets kept to; 0.0 if none left.
    calls, playing
        Calls at its end, and how many of them played.
    """

    span_s: float
    cpu_share: float
    encode_share: float
    pacing_share: float
    late_p99_ms: float
    calls: int
    playing: int


class Gauge:
    """The load of one worker.

    Attributes
    ----------
    latest
        Its last report; None before the first.
    span
        What it did before that; None before the second.
    steady_share
        CPU time per wall time, smoothed; it begins at 0, so that the work of starting is soon forgotten.
    """

    def __init__(self) -> None:
        self.latest: Stats | None = None
        self.span: Span | None = None
        self.steady_share = 0.0
        self._since: Stats | None = None
        self._lateness = LatenessHistogram()

    @property
    def uptime_s(self) -> float:
        """Age of the worker at its last report, in seconds; 0.0 before the first."""
        return self.latest.uptime_s if self.latest is not None else 0.0

    def take(self, stats: Stats | None) -> Span | None:
        """Look at a report; one that was looked at before changes nothing.

        Returns
        -------
        Span or None
            What is new; None if the report is not, or came too soon after the one before.
        """
        if stats is None or stats is self.latest:
            return None
        self.latest = stats
        since = self._since
        if since is not None and stats.uptime_s - since.uptime_s < SHORTEST_SPAN_S:
            return None
        self._since = stats
        lateness = LatenessHistogram(stats.lateness_counts, stats.lateness_max_us)
        before, self._lateness = self._lateness, lateness
        if since is None:
            return None
        span_s = stats.uptime_s - since.uptime_s
        self.span = Span(
            span_s=span_s,
            cpu_share=max(0.0, stats.cpu_s - since.cpu_s) / span_s,
            encode_share=max(0.0, stats.encode_cpu_s - since.encode_cpu_s) / span_s,
            pacing_share=max(0.0, stats.pacing_cpu_s - since.pacing_cpu_s) / span_s,
            late_p99_ms=lateness.since(before).percentile_ms(99),
            calls=len(stats.calls),
            playing=sum(bool(call.tracks) for call in stats.calls),
        )
        weight = 1.0 - math.exp(-span_s / STEADY_S)
        self.steady_share += (self.span.cpu_share - self.steady_share) * weight
        return self.span


class Costs:
    """What one more call costs a worker, in shares of a core: learned from what the present ones cost.

    Attributes are the sums of calls times seconds, and of what they cost; both fade.
    """

    def __init__(self) -> None:
        self._encoding = _Mean(ENCODING_SHARE)
        self._passing = _Mean(PASSING_SHARE)
        self._idle = _Mean(IDLE_SHARE)

    @property
    def playing(self) -> float:
        """A call whose sound is decoded and encoded for it alone."""
        return self._encoding.value + self.passing

    @property
    def passing(self) -> float:
        """A call whose sound is there already: packets that are passed on, a station on the air."""
        return self._passing.value + self._idle.value

    def learn(self, span: Span) -> None:
        """Take in what one worker did."""
        rest = max(0.0, span.cpu_share - span.encode_share - span.pacing_share)
        self._encoding.take(span.encode_share, span.playing, span.span_s)
        self._passing.take(span.pacing_share, span.playing, span.span_s)
        self._idle.take(rest, span.calls, span.span_s)


class _Mean:
    """A mean over calls and time that begins at a guess and forgets."""

    def __init__(self, guess: float) -> None:
        self._shares = guess * PRIOR_CALL_SECONDS
        self._calls = PRIOR_CALL_SECONDS

    @property
    def value(self) -> float:
        return self._shares / self._calls

    def take(self, share: float, calls: int, span_s: float) -> None:
        if not calls:
            return
        kept = math.exp(-span_s / MEMORY_S)
        self._shares = self._shares * kept + share * span_s
        self._calls = self._calls * kept + calls * span_s
