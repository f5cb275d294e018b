"""A place for one worker in the pool: keeps a process in it, restarting with growing pauses.

What a fleet does with it:

* `start` and `stop`; `retire` when what is there shall go on, but not be replaced.
* ``make(slot, number)`` is asked for each instance anew, and so gives the next one other settings, another
  core, or another name. A worker is replaced without a gap by a second slot beside it.
* ``tell`` is handed `WorkerStarted`, `WorkerLost`, `WorkerLooping`, `WorkerHeavy` and `WorkerShed`;
  ``on_heavy`` asks for a successor, since only a fleet can move calls.
* `exits` counts why instances have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from voicepool._process.exits import FAILURES, Exit
from voicepool._process.health import RestartPolicy
from voicepool._process.worker import Worker
from voicepool._subject_log import about
from voicepool.errors import WorkerError
from voicepool.pool_events import (
    ExitReason,
    PoolEvent,
    WorkerHeavy,
    WorkerLooping,
    WorkerLost,
    WorkerShed,
    WorkerStarted,
)
from voicepool.stats import WorkerState

__all__ = ["Slot"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

_MIB: Final = 1 << 20


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
    tell
        Handed what happens.
    on_heavy
        Handed the slot when its worker has reached its limit of memory, so that its calls should move.
    """

    def __init__(
        self,
        index: int,
        core: int | None,
        *,
        make: Callable[[Slot, int], Worker],
        on_change: Callable[[], None],
        tell: Callable[[PoolEvent], None] = lambda _event: None,
        on_heavy: Callable[[Slot], None] = lambda _slot: None,
    ) -> None:
        self.index: Final = index
        self.core = core
        self.last_error: str | None = None
        """Why it was last lost or could not be started."""
        self.exits: Final[Counter[ExitReason]] = Counter()
        """How many instances have ended, by reason."""
        self._make = make
        self._on_change = on_change
        self._listener = tell
        self._on_heavy = on_heavy
        self._policy = RestartPolicy()
        self._starts = 0
        self._state = WorkerState.STOPPED
        self._is_retired = False
        self._worker: Worker | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._untold: Worker | None = None
        """The instance that was told to have started, and not yet to be lost."""
        self._leaving: set[asyncio.Task[None]] = set()

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
    def newest(self) -> Worker | None:
        """The newest instance, whether it takes calls or not; None before the first."""
        return self._worker

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

    def retire(self) -> None:
        """Replace the worker no more when it is lost. It takes calls as long as it is there."""
        self._is_retired = True

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
                self._see_off(self._worker)
            await self._finish_leaving()

    def kill(self) -> None:
        """End the process at once; `stop` still has to be awaited."""
        if self._worker is not None:
            self._worker.kill()

    # Keeping one up.

    async def _keep(self, worker: Worker) -> None:
        while True:
            await worker.wait_lost()
            assert worker.exit is not None
            self._take_end_of(worker)
            self._move(WorkerState.STOPPED if self._is_retired else WorkerState.RESTARTING)
            # It may take a while to end; its successor need not wait for that.
            self._see_off(worker)
            if self._is_retired:
                return
            worker = await self._replace(worker.exit)

    async def _replace(self, exit_: Exit) -> Worker:
        while True:
            self.last_error = exit_.text
            now = time.monotonic()
            was_looping = self._policy.is_looping
            failed = exit_.reason in FAILURES
            pause_s = self._policy.failed(now) if failed else self._policy.ended(now)
            level = logging.INFO if exit_.reason is ExitReason.ASKED else logging.ERROR
            _LOGGER.log(
                level,
                "%s (%s); starting another in %g s",
                exit_.text,
                exit_.reason,
                pause_s,
                extra=about(worker=self.name),
            )
            if self._policy.is_looping:
                self._move(WorkerState.LOOPING)
                if not was_looping:
                    self._tell_of_loop(pause_s, exit_.text)
            await asyncio.sleep(pause_s)
            try:
                return await self._bring_up()
            except WorkerError as error:
                exit_ = Exit(ExitReason.NOT_STARTED, str(error))

    async def _bring_up(self) -> Worker:
        self._starts += 1
        worker = self._worker = self._make(self, self._starts)
        worker.on_memory = lambda used_bytes, replace: self._take_memory(worker, used_bytes, replace)
        worker.on_complexity = lambda complexity: self._tell(
            WorkerShed(slot=self.index, worker=worker.name, complexity=complexity)
        )
        try:
            await worker.start()
        except WorkerError as error:
            self._take_end(worker.name, Exit(ExitReason.NOT_STARTED, str(error)), calls=0)
            raise
        self._policy.became_ready(time.monotonic())
        self._untold = worker
        self._move(WorkerState.READY)
        self._tell(WorkerStarted(slot=self.index, worker=worker.name, pid=worker.pid))
        return worker

    # What is told.

    def _take_memory(self, worker: Worker, used_bytes: int, replace: bool) -> None:  # noqa: FBT001 - one callback
        self._tell(
            WorkerHeavy(
                slot=self.index,
                worker=worker.name,
                pss_bytes=used_bytes,
                limit_bytes=worker.memory_limit_bytes,
                replaced=replace,
            )
        )
        _LOGGER.warning(
            "worker %s uses %.0f MiB of memory_limit_mib = %.0f%s",
            worker.name,
            used_bytes / _MIB,
            worker.memory_limit_bytes / _MIB,
            "; it is replaced" if replace else "",
            extra=about(worker=worker.name),
        )
        if replace:
            self._on_heavy(self)

    def _tell_of_loop(self, pause_s: float, text: str) -> None:
        failures = self._policy.failures
        _LOGGER.error(
            "the worker of slot %d has ended %d times in a row soon after its start; from now on it is "
            "started every %g s, until it stays up for a while",
            self.index,
            failures,
            pause_s,
            extra=about(worker=self.name),
        )
        self._tell(WorkerLooping(slot=self.index, failures=failures, pause_s=pause_s, text=text))

    def _tell(self, event: PoolEvent) -> None:
        try:
            self._listener(event)
        except Exception:
            # Whoever listens must not keep the slot from its work.
            _LOGGER.exception("cannot tell of %r", event, extra=about(worker=self.name))

    def _take_end(self, worker: str, exit_: Exit, calls: int) -> None:
        self.exits[exit_.reason] += 1
        self._tell(
            WorkerLost(slot=self.index, worker=worker, reason=exit_.reason, text=exit_.text, calls=calls)
        )

    def _take_end_of(self, worker: Worker) -> None:
        if worker is self._untold and worker.exit is not None:
            self._untold = None
            self._take_end(worker.name, worker.exit, worker.link.calls)

    # The end of instances.

    def _see_off(self, worker: Worker) -> None:
        task = asyncio.create_task(self._end(worker), name=f"voicepool end of {worker.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _end(self, worker: Worker) -> None:
        try:
            await worker.stop()
        except Exception:
            _LOGGER.exception("worker %s did not end in order", worker.name, extra=about(worker=worker.name))
        finally:
            self._take_end_of(worker)

    async def _finish_leaving(self) -> None:
        leaving = set(self._leaving)
        try:
            if leaving:
                await asyncio.wait(leaving)
        finally:
            unfinished = {task for task in leaving if not task.done()}
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)

    def _move(self, state: WorkerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change()
