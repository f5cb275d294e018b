"""Waiting for something to become true, without polling."""

from __future__ import annotations

__all__ = ("Conditions",)

import asyncio
from collections.abc import Callable


class Conditions:
    """Waiters on the state of one object; its owner calls `notify` after each change."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def notify(self) -> None:
        """Let those go on whose predicate holds now."""
        for predicate, future in self._waiting:
            if future.done():
                continue
            try:
                holds = predicate()
            except Exception as error:  # noqa: BLE001 -- the predicate is the waiter's, and so is its error
                future.set_exception(error)
                continue
            if holds:
                future.set_result(None)

    async def wait(
        self, predicate: Callable[[], bool], timeout_s: float | None, describe: Callable[[], str]
    ) -> None:
        """Return once `predicate` holds.

        Raises
        ------
        TimeoutError
            It did not within `timeout_s` seconds; the text comes from `describe`.
        """
        if predicate():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (predicate, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s) as limit:
                await future
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"{describe()} (waited {timeout_s} s)") from None
        finally:
            self._waiting.remove(entry)
