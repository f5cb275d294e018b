"""A place for one worker in the pool: keeps a process in it, restarting with growing pauses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from voicepool._health import RestartPolicy
from voicepool._worker import Worker
from voicepool.errors import WorkerError
from voicepool.stats import WorkerState

__all__ = ["Slot"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Slot:
    """One of the pool's workers, over all its process instances.

    Parameters
    ----------
    index
        From 0.
    core
        What it is pinned to, or None.
    make
        Makes the next instance from the slot and the number of its start, from 1.
    on_change
        Told after each change of `state`.
    """

    def __init__(
        self,
        index: int,
        core: int | None,
        *,
        make: Callable[[Slot, int], Worker],
        on_change: Callable[[], None],
    ) -> None:
        self.index: Final = index
        self.core: Final = core
        self.last_error: str | None = None
        """Why it was last lost or could not be started."""
        self._make = make
        self._on_change = on_change
        self._policy = RestartPolicy()
        self._starts = 0
        self._state = WorkerState.STOPPED
        self._worker: Worker | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def state(self) -> WorkerState:
        """Where it stands."""
        if self._state is WorkerState.READY and self._worker is not None and self._worker.lost is not None:
            # The keeper will notice at its next turn.
            return WorkerState.RESTARTING
        return self._state

    @property
    def worker(self) -> Worker | None:
        """The worker, if it takes calls."""
        return self._worker if self.state is WorkerState.READY else None

    @property
    def name(self) -> str:
        """Of the newest instance; empty before the first."""
        return self._worker.name if self._worker is not None else ""

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self._starts - 1)

    async def start(self) -> None:
        """Bring the first instance up, and keep one up from then on.

        Raises
        ------
        WorkerStartError
            It does not come up; it is not tried again.
        """
        self._move(WorkerState.STARTING)
        try:
            worker = await self._bring_up()
        except BaseException:
            self._move(WorkerState.STOPPED)
            raise
        self._keeper = asyncio.create_task(self._keep(worker), name=f"voicepool keeper of w{self.index}")

    async def stop(self) -> None:
        """Keep nothing up any more; ends the instance, and a restart under way."""
        keeper, self._keeper = self._keeper, None
        try:
            if keeper is not None:
                keeper.cancel()
                await asyncio.wait({keeper})
        finally:
            self._move(WorkerState.STOPPED)
            if self._worker is not None:
                await self._worker.stop()

    def kill(self) -> None:
        """End the process at once; `stop` still has to be awaited."""
        if self._worker is not None:
            self._worker.kill()

    async def _keep(self, worker: Worker) -> None:
        while True:
            error = await worker.wait_lost()
            self._move(WorkerState.RESTARTING)
            await worker.stop()
            worker = await self._replace(str(error))

    async def _replace(self, reason: str) -> Worker:
        while True:
            self.last_error = reason
            pause_s = self._policy.failed(time.monotonic())
            _LOGGER.error("%s; starting another in %g s", reason, pause_s)
            await asyncio.sleep(pause_s)
            try:
                return await self._bring_up()
            except WorkerError as error:
                reason = str(error)

    async def _bring_up(self) -> Worker:
        self._starts += 1
        self._worker = self._make(self, self._starts)
        await self._worker.start()
        self._policy.became_ready(time.monotonic())
        self._move(WorkerState.READY)
        return self._worker

    def _move(self, state: WorkerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change()
