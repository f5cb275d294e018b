"""Looks after a worker that is up: does it live, what does it weigh, does it say too much.

Judges only. Who condemns a worker ends it; see `voicepool._process.worker.Worker.condemn`.

Whatever a worker says is a sign of life, and its reports come regularly. It is asked for one (`Ping`) only
when nothing was heard of it for an interval, and now and then for the time that the answer takes. So at the
defaults a bot at rest is woken by each report, and by nothing else that a worker needs.

An interval of 0.2 s was once what told how long a stopped worker had sent no sound; that is asked of the
system now (`voicepool._process.stops`). Where it does not know, the middle of the interval has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from voicepool._process.link import Link
from voicepool._process.memory import MemoryUse, MemoryWatch, Weight
from voicepool._process.pulse import Pulse
from voicepool.errors import WorkerError
from voicepool.ipc.events import Stats
from voicepool.pool_events import ExitReason

__all__ = ["Supervision"]

_MIB: Final = 1 << 20
_ROUND_TRIP_EVERY_S: Final = 15.0
"""How often one that has enough to say is asked all the same, for the time that the answer takes."""


class Condemn(Protocol):
    """How a worker is given up; see `voicepool._process.worker.Worker.condemn`."""

    def __call__(
        self,
        reason: ExitReason,
        what: str,
        *,
        is_fault: bool = True,
        inquire: bool = False,
        silent_s: float = 0.0,
    ) -> None:
        """Give it up."""


class Supervision:
    """Of one worker, from `Ready` to its loss. Made on the event loop.

    Parameters
    ----------
    heartbeat_interval_s, hang_timeout_s
        How long nothing may have been heard of it before it is asked for a sign of life, and how long it may
        give none.
    memory_limit_bytes
        What it may use; 0 for any amount.
    complexity
        Opus complexity that it was told.
    condemn
        Gives it up.
    is_stopped
        Tells whether the process was stopped, as by SIGSTOP.
    stopped_s
        Tells for how long it has been, in seconds; None if nobody knows.
    on_memory
        Handed its memory in bytes, and whether it has to be replaced, when it uses most of what it may.
    on_complexity
        Handed its Opus complexity when it changes that.
    """

    def __init__(
        self,
        *,
        heartbeat_interval_s: float,
        hang_timeout_s: float,
        memory_limit_bytes: int,
        complexity: int,
        condemn: Condemn,
        is_stopped: Callable[[], bool],
        stopped_s: Callable[[], float | None] = lambda: None,
        on_memory: Callable[[int, bool], None],
        on_complexity: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        now = self._clock()
        self._pulse = Pulse(interval_s=heartbeat_interval_s, timeout_s=hang_timeout_s, now=now)
        self._memory = MemoryWatch(memory_limit_bytes, now=now)
        self._use = MemoryUse()
        self._complexity = complexity
        self._condemn = condemn
        self._is_stopped = is_stopped
        self._stopped_s = stopped_s
        self._on_memory = on_memory
        self._on_complexity = on_complexity
        self._link: Link | None = None
        self._asked_at = now
        self._rested = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    def configure(self, *, heartbeat_interval_s: float, hang_timeout_s: float) -> None:
        """Go by other settings from the next look on."""
        self._pulse.interval_s, self._pulse.timeout_s = heartbeat_interval_s, hang_timeout_s

    async def run(self, link: Link) -> None:
        """Ask it for signs of life until it is lost, or hangs, or this is cancelled.

        Parameters
        ----------
        link
            To the worker.
        """
        self._link = link
        try:
            self._ask(link)
            while link.lost is None:
                await self._rest(self._pulse.rest_s(self._clock(), link.heard_at))
                if self._pulse.look(self._clock(), link.heard_at):
                    await link.catch_up()
                    if self._pulse.is_hung(self._clock(), link.heard_at):
                        self._give_up_silent(link)
                        return
                if self._pulse.is_quiet(self._clock()):
                    self._ask(link)
        finally:
            self._link = None

    def on_stats(self, stats: Stats) -> None:
        """Take a report."""
        self._put_off()
        used_bytes = self._use.estimate(
            pss_bytes=stats.pss_bytes, rss_bytes=stats.rss_bytes, uptime_s=stats.uptime_s
        )
        if used_bytes is not None:
            self._weigh(used_bytes)
        # One that never lowered it may have been told one that we do not know of: that is no news.
        if stats.complexity != self._complexity:
            self._complexity = stats.complexity
            if stats.sheds > 0:
                self._on_complexity(stats.complexity)

    def on_flood(self) -> None:
        """Take note that it sends more than any worker has to say."""
        self._condemn(ExitReason.CRASHED, "floods its bot with messages")

    def _ask(self, link: Link) -> None:
        self._asked_at = self._clock()
        with contextlib.suppress(WorkerError):
            # One that takes no more messages will be silent soon.
            link.ping()

    async def _rest(self, rest_s: float) -> None:
        """Wait until it is time to look, which `_put_off` may put off."""
        self._rested.clear()
        self._alarm = self._loop.call_later(rest_s, self._rested.set)
        try:
            await self._rested.wait()
        finally:
            self._alarm.cancel()
            self._alarm = None

    def _put_off(self) -> None:
        """Save the look that is due, since the worker is heard just now: each look would wake the bot."""
        link, now = self._link, self._clock()
        if link is None:
            return
        if now - self._asked_at >= _ROUND_TRIP_EVERY_S:
            self._ask(link)
        if self._alarm is not None and not self._rested.is_set():
            self._alarm.cancel()
            self._alarm = self._loop.call_later(self._pulse.rest_s(now, link.heard_at), self._rested.set)

    def _give_up_silent(self, link: Link) -> None:
        is_stopped = self._is_stopped()
        rtt = "never answered" if link.rtt_ms is None else f"last answered within {link.rtt_ms:.1f} ms"
        what = (
            f"gave no sign of life for {self._pulse.silence_s(self._clock()):.1f} s "
            f"(hang_timeout_s = {self._pulse.timeout_s:g}); it held {link.calls} calls, and {rtt}"
        )
        # One that merely hangs sends on.
        silent_s = 0.0
        if is_stopped:
            what += "; its process was stopped, as by SIGSTOP"
            told_s = self._stopped_s()
            # If nobody knows: it was some time between the last that was heard and what was to be next.
            guessed_s = max(0.0, self._pulse.silence_s(self._clock()) - self._pulse.interval_s / 2)
            silent_s = guessed_s if told_s is None else told_s
        # What it plays can make it hang, but cannot stop it.
        self._condemn(ExitReason.HUNG, what, is_fault=not is_stopped, inquire=True, silent_s=silent_s)

    def _weigh(self, used_bytes: int) -> None:
        weight = self._memory.weigh(used_bytes, self._clock())
        if weight is Weight.OVER:
            limit_mib = self._memory.limit_bytes / _MIB
            self._condemn(
                ExitReason.OVER_MEMORY,
                f"uses {used_bytes / _MIB:.0f} MiB of memory, far beyond memory_limit_mib = {limit_mib:g}",
                # Memory adds up over all that was played: what plays now may be innocent.
                is_fault=False,
            )
        elif weight is not Weight.LIGHT:
            self._on_memory(used_bytes, weight is Weight.FULL)
