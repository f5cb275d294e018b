"""Other workers than before, while calls go on: more, fewer, or fresh ones in the place of old ones.

Each change is a task of its own, which goes on when whoever waits for it gives up; they take turns, so that
two never want the same worker for different things. A worker that shall go is relieved first: a spare takes
its part, or a successor is started beside it. Then its calls move, and then it is asked to leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from voicepool._fleet.spares import Crew, Member, Part
from voicepool._process.link import Link
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, VoicePoolError, WorkerError
from voicepool.pool_events import PoolEvent, PoolScaled

__all__ = ["Rolling", "Workforce"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

RETRY_FIRST_S: Final = 5.0
"""Until what did not start in the background is tried again; doubled with each failure in a row."""
RETRY_LONGEST_S: Final = 60.0
_DOUBLINGS: Final = 32
"""More of them than any pause can take."""


class Workforce(Protocol):
    """What is wanted of the pool's `voicepool._fleet.fleet.Fleet`."""

    @property
    def config(self) -> PoolConfig:
        """The settings in force."""

    @property
    def crew(self) -> Crew:
        """The workers, each with its part."""

    def calls_at(self, member: Member) -> int:
        """Return how many calls a worker holds."""

    def is_outdated(self, member: Member) -> bool:
        """Whether a worker runs with settings that are no longer those in force."""

    async def enlist(self, part: Part, *, instead_of: Member | None = None) -> Member:
        """Start one more worker."""

    async def dismiss(self, member: Member) -> None:
        """End a worker, and forget it."""


class Rolling:
    """The changes to one pool's workers. Made on the event loop; `close` ends all that is under way.

    Parameters
    ----------
    fleet
        Starts and ends workers.
    move_calls
        Moves all calls off a worker, and returns when none is left there.
    tell
        Handed what happens.
    """

    def __init__(
        self,
        fleet: Workforce,
        *,
        move_calls: Callable[[Link], Coroutine[Any, Any, None]],
        tell: Callable[[PoolEvent], None],
    ) -> None:
        self._fleet = fleet
        self._crew = fleet.crew
        self._move_calls = move_calls
        self._tell = tell
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._not_before = 0.0
        self._failures = 0
        """How often in a row `catch_up` left something undone."""
        self._has_failed = False
        """Whether that happened since the last look."""
        self._worn: set[str] = set()
        """Names of workers that are to be replaced though their settings are the present ones."""

    async def close(self) -> None:
        """End what is under way. Workers that have been started are the fleet's, who ends them."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def scale(self, count: int, reason: str) -> None:
        """Have so many workers; returns when those that were added take calls, and the others have ended.

        A newer wish replaces an older one that has not come true yet.

        Parameters
        ----------
        count
            At least 1.
        reason
            For `PoolScaled`.

        Raises
        ------
        WorkerStartError
            One does not come up; there are as many then as did.
        PoolClosedError
            The pool was closed meanwhile.
        """
        self.want(count, reason)
        await self._carry_out(self._fill(reason), name="scaling")

    def want(self, count: int, reason: str) -> None:
        """Have so many workers as soon as can be: `catch_up` is to follow, and `tend` repeats it.

        Parameters
        ----------
        count, reason
            As of `scale`.
        """
        before, self._crew.wanted = self._crew.wanted, count
        if before != count:
            self._take_outcome(all_done=True)
            _LOGGER.info("%d workers instead of %d (%s)", count, before, reason)
            self._tell(PoolScaled(before=before, after=count, reason=reason))

    async def replace(self, members: Iterable[Member]) -> None:
        """Put a fresh process in the place of each of these, one after the other, and move their calls.

        Of those that meanwhile were replaced or have died nothing more is done.

        Raises
        ------
        WorkerStartError
            A successor does not come up. The worker it was for goes on, and so do those that were to follow.
        PoolClosedError
            The pool was closed meanwhile.
        """
        named = [(member, member.slot.name) for member in members]
        await self._carry_out(self._replace_all(named), name="replacing workers")

    def renew(self, member: Member) -> None:
        """Have a worker replaced in the background, tried again until that is done."""
        self._worn.add(member.slot.name)
        self.begin(self.catch_up(), name="replacing a worker")

    def begin(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Do something in the background; what goes wrong is logged."""
        if self._closed:
            work.close()
            return
        self._own(asyncio.create_task(_logged(work, name), name=f"voicepool {name}"))

    def tend(self, now: float) -> None:
        """Bring about what is wanted and is not so yet, if nothing else is under way.

        Parameters
        ----------
        now
            Seconds of a monotonic clock.
        """
        if self._tasks:
            return
        if self._has_failed:
            self._has_failed, self._not_before = False, now + self.pause_s
        if now < self._not_before:
            return
        spares, wanted = len(self._crew.of(Part.SPARE)), self._fleet.config.spare_workers
        active = len(self._crew.of(Part.ACTIVE))
        if spares != wanted or active != self._crew.wanted or self._outdated():
            self.begin(self.catch_up(), name="seeing to the workers")

    @property
    def pause_s(self) -> float:
        """Until what has failed is tried again, in seconds."""
        doublings = min(max(self._failures - 1, 0), _DOUBLINGS)
        return float(min(RETRY_FIRST_S * 2.0**doublings, RETRY_LONGEST_S))

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._tasks)

    async def take_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something while no worker is added, replaced or taken away."""
        async with self._turn:
            await work()

    async def catch_up(self) -> None:
        """Have as many workers as are wanted, none that is old or worn out, and as many spares as configured.

        Raises
        ------
        WorkerStartError
            A worker does not come up; what would have followed is left for the next time.
        """
        try:
            async with self._turn:
                await self._fill_up()
                await self._see_off_surplus()
            await self._replace_all([(member, member.slot.name) for member in self._outdated()])
            self._worn &= {member.slot.name for member in self._crew}
            async with self._turn:
                all_done = await self._set_spares()
        except Exception:
            self._take_outcome(all_done=False)
            raise
        self._take_outcome(all_done=all_done)

    # How it is done.

    async def _carry_out(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        if self._closed:
            work.close()
            raise PoolClosedError("the pool is being closed")
        task = asyncio.create_task(work, name=f"voicepool {name}")
        self._own(task)
        await asyncio.wait({task})
        if task.cancelled():
            raise PoolClosedError("the pool was closed meanwhile")
        task.result()

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at: who has given up waiting does not want to know.
            task.exception()

    def _take_outcome(self, *, all_done: bool) -> None:
        self._has_failed = not all_done
        self._failures = 0 if all_done else self._failures + 1
        if all_done:
            self._not_before = 0.0
            return
        there, wanted = len(self._crew.of(Part.ACTIVE)), self._crew.wanted
        text = "%d of the %d workers that are wanted are there; what did not start is tried again in %g s"
        _LOGGER.warning(text, there, wanted, self.pause_s)

    def _outdated(self) -> list[Member]:
        """Return the workers that are to be replaced; spares first, since they relieve the others."""
        return [
            member
            for member in (*self._crew.of(Part.SPARE), *self._crew.of(Part.ACTIVE))
            if member.is_up and (member.slot.name in self._worn or self._fleet.is_outdated(member))
        ]

    async def _fill(self, reason: str) -> None:
        async with self._turn:
            wanted = self._crew.wanted
            try:
                await self._fill_up()
            except WorkerError:
                if self._crew.wanted == wanted:
                    # Else there is a newer wish, which is to come true.
                    self._content_itself(reason)
                raise
            await self._see_off_surplus()
            await self._set_spares()

    def _content_itself(self, reason: str) -> None:
        """Want as many workers as there are."""
        before, self._crew.wanted = self._crew.wanted, max(1, len(self._crew.of(Part.ACTIVE)))
        if before != self._crew.wanted:
            self._tell(PoolScaled(before=before, after=self._crew.wanted, reason=reason))

    async def _fill_up(self) -> None:
        self._crew.balance()
        missing = self._crew.wanted - len(self._crew.of(Part.ACTIVE))
        starts = [asyncio.create_task(self._fleet.enlist(Part.ACTIVE)) for _ in range(missing)]
        if not starts:
            return
        try:
            await asyncio.wait(starts)
        except asyncio.CancelledError:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)
            raise
        errors = [error for start in starts if (error := start.exception()) is not None]
        if errors:
            raise errors[0]

    async def _see_off_surplus(self) -> None:
        """End the workers that can go best: those that are not up, then the emptiest, the newest first."""
        active = self._crew.of(Part.ACTIVE)
        active.sort(key=lambda member: (member.is_up, self._fleet.calls_at(member), -member.slot.index))
        surplus = active[: max(0, len(active) - self._crew.wanted)]
        for member in surplus:
            member.part = Part.LEAVING
        for member in surplus:
            await self._see_off(member)

    async def _set_spares(self) -> bool:
        """Have as many spares as configured; return whether that is so."""
        wanted = self._fleet.config.spare_workers
        spares = self._crew.of(Part.SPARE)
        for member in spares[wanted:]:
            await self._fleet.dismiss(member)
        for _ in range(wanted - len(spares)):
            try:
                await self._fleet.enlist(Part.SPARE)
            except WorkerError as error:
                # Calls do without it; `tend` tries again.
                _LOGGER.warning("a spare worker does not come up: %s", error)
                return False
        return True

    async def _replace_all(self, named: list[tuple[Member, str]]) -> None:
        for member, name in named:
            async with self._turn:
                if (
                    member in tuple(self._crew)
                    and member.slot.name == name
                    and member.part is not Part.LEAVING
                ):
                    await self._replace(member)

    async def _replace(self, member: Member) -> None:
        _LOGGER.info("worker %s is replaced", member.slot.name, extra=about(worker=member.slot.name))
        if member.part is Part.SPARE:
            await self._fleet.enlist(Part.SPARE, instead_of=member)
            await self._fleet.dismiss(member)
            return
        if not any(spare.is_up and not self._fleet.is_outdated(spare) for spare in self._crew.of(Part.SPARE)):
            await self._fleet.enlist(Part.ACTIVE, instead_of=member)
        member.part = Part.LEAVING
        self._crew.balance()
        await self._see_off(member)
        await self._set_spares()

    async def _see_off(self, member: Member) -> None:
        """Move the calls of a worker, and end it."""
        member.part = Part.LEAVING
        # If it dies now, its calls go elsewhere anyway.
        member.slot.retire()
        worker = member.slot.worker
        try:
            if worker is not None:
                await self._move_calls(worker.link)
        except VoicePoolError as error:
            _LOGGER.warning(
                "calls cannot leave worker %s in order: %s",
                member.slot.name,
                error,
                extra=about(worker=member.slot.name),
            )
        finally:
            await self._fleet.dismiss(member)


async def _logged(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except VoicePoolError as error:
        _LOGGER.error("%s: %s", name, error)  # noqa: TRY400 - a worker's text, not a defect of ours
    except Exception:
        _LOGGER.exception("%s failed", name)
