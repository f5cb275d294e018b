"""Waiting for the stand-in to reach a state, without polling and without sleeping."""

from __future__ import annotations

__all__ = ["Changes"]

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Changes:
    """Wakes everyone who waits whenever something about the stand-in has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Have every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_change(self) -> None:
        """Wait for the next `notify`. No change is lost between a look at the state and this call."""
        await self._changed.wait()

    async def wait_until(
        self, predicate: Callable[[], bool], *, timeout_s: float, describe: Callable[[], str]
    ) -> None:
        """Wait until `predicate` holds; it is asked again after each change.

        Parameters
        ----------
        predicate
            Cheap and free of side effects.
        timeout_s
            Seconds to wait at most.
        describe
            Says, when the time is up, what was waited for and what is the case instead.

        Raises
        ------
        TimeoutError
            If it does not come to hold in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate():
                    await self.next_change()
        except TimeoutError:
            raise TimeoutError(f"after {timeout_s:g} s still waiting for {describe()}") from None
