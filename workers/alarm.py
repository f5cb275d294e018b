"""A moment of an event loop at which something is to be done, unless it is put off or called off before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voicepool.workers.nobody import tell_nobody

__all__ = ["Alarm"]


class Alarm:
    """Goes off once each time it is set. On the event loop that runs when it is made.

    Parameters
    ----------
    on_due
        Called when it goes off.
    """

    __slots__ = ("_loop", "_on_due", "_timer")

    def __init__(self, on_due: Callable[[], object]) -> None:
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it will go off."""
        return self._timer is not None

    def set(self, delay_s: float) -> None:
        """Have it go off after so many seconds, and not when it was to before."""
        self.stop()
        self._timer = self._loop.call_later(max(0.0, delay_s), self._go_off)

    def stop(self) -> None:
        """Have it not go off."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def retire(self) -> None:
        """Have it not go off any more, and let go of whom it would have called."""
        self.stop()
        self._on_due = tell_nobody

    def _go_off(self) -> None:
        self._timer = None
        self._on_due()
