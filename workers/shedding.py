"""Applies the governor's decisions to a worker's encoders, and says so in the log.

The encoders are not told: they share a `Ceiling` and look at it with each frame. What is in the rings already
stays as it is, for making it again would take the time that is lacking.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.opus_encoder import MAX_COMPLEXITY, Ceiling
from voicepool.workers.governor import Governor, Load, Verdict
from voicepool.workers.sampling import ENCODING, SampledTime

__all__ = ["Shedding"]

_LOGGER: Final = logging.getLogger("voicepool.worker")


class _Encoders(Protocol):
    """What is asked of the encoder threads."""

    @property
    def role(self) -> str: ...

    @property
    def cpu_s(self) -> float: ...

    def worked_s(self, now_ns: int) -> float: ...

    def lag_ns(self, now_ns: int) -> int: ...


class _Pacer(Protocol):
    """What is asked of the pacing thread."""

    packets: int
    nulled: int
    nulled_by_source: int


class Shedding:
    """Lowers the complexity of all encoders of a worker when there is too much to do. On the control loop.

    Parameters
    ----------
    ceiling
        Which the encoders share.
    encoders, pacer
        The worker's threads.
    configured
        The complexity of calls that ask for none of their own.
    ring_frames
        How many frames of 20 ms a ring holds.
    encoding
        Account of the time that libopus takes.
    """

    def __init__(
        self,
        ceiling: Ceiling,
        encoders: _Encoders,
        pacer: _Pacer,
        *,
        configured: int,
        ring_frames: int,
        encoding: SampledTime = ENCODING,
    ) -> None:
        self._ceiling = ceiling
        self._encoders = encoders
        self._pacer = pacer
        self._configured = configured
        self._encoding = encoding
        self._governor = Governor(ring_frames * FRAME_NS / 1e9)
        self._shed_at_s = 0.0
        self._nulled_at_shed = 0

    @property
    def complexity(self) -> int:
        """Complexity in force for calls that ask for none of their own."""
        return min(self._configured, self._ceiling.complexity)

    @property
    def sheds(self) -> int:
        """How often it was lowered."""
        return self._governor.sheds

    def look(self, now_ns: int) -> None:
        """Look at the load, and lower or raise the complexity. To be called every `governor.LOOK_S`."""
        encoders, pacer = self._encoders, self._pacer
        was_shed = self._governor.ceiling is not None
        load = Load(
            worked_s=encoders.worked_s(now_ns),
            cpu_s=encoders.cpu_s,
            opus_s=self._encoding.seconds,
            lag_s=encoders.lag_ns(now_ns) / 1e9,
            nulled=pacer.nulled - pacer.nulled_by_source,
            made=self._encoding.turns,
            due=pacer.packets + pacer.nulled,
            rescuing=encoders.role == "normal",
            wanted=self._ceiling.wanted,
        )
        verdict = self._governor.look(now_ns / 1e9, load)
        if verdict is None:
            return
        self._ceiling.complexity = MAX_COMPLEXITY if verdict.ceiling is None else verdict.ceiling
        if not was_shed:
            self._shed_at_s, self._nulled_at_shed = now_ns / 1e9, load.nulled
        self._tell(verdict, load, now_ns / 1e9, was_shed=was_shed)

    def _tell(self, verdict: Verdict, load: Load, now_s: float, *, was_shed: bool) -> None:
        figures = (
            f"encoders at work {verdict.worked_share:.0%} of the time, on the core {verdict.cpu_share:.0%}, "
            f"rings {verdict.lag_ms:.0f} ms behind"
        )
        if verdict.ceiling is None:
            _LOGGER.info(
                "complexity is as configured again after %.0f s in which %d frames were missing; %s",
                now_s - self._shed_at_s,
                load.nulled - self._nulled_at_shed,
                figures,
            )
        elif not was_shed:
            _LOGGER.warning(
                "too much to encode: Opus complexity is %d at most until there is room; %s, %d frames "
                "missing. More workers, fewer calls each (max_calls_per_worker) or a lower complexity help.",
                verdict.ceiling,
                figures,
                verdict.nulled,
            )
        else:
            _LOGGER.debug("Opus complexity is %d at most now; %s", verdict.ceiling, figures)
