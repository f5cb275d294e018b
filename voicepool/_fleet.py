"""The workers of a pool as one: started and stopped together, calls placed among them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from voicepool._launcher import Launcher
from voicepool._link import CallListener, Link
from voicepool._placement import Load, choose_worker, plan_cores
from voicepool._rendezvous import Rendezvous
from voicepool._slot import Slot
from voicepool._worker import Worker
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, WorkerError, WorkerLostError, WorkerTimeoutError
from voicepool.ipc.commands import ReportStats, WorkerSettings
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import CallId, WorkerId
from voicepool.stats import WorkerInfo

__all__ = ["Fleet"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Fleet:
    """All workers of one pool. Used once: `start`, then `stop`.

    Parameters
    ----------
    config
        The pool's.
    launcher
        Who starts the processes.
    on_crash
        Told which one has died unasked, before those whose calls it held are.
    """

    def __init__(
        self,
        config: PoolConfig,
        launcher: Launcher,
        *,
        on_crash: Callable[[WorkerId], None] = lambda _worker: None,
    ) -> None:
        self.config: Final = config
        self._launcher = launcher
        self._on_crash = on_crash
        self._rendezvous: Rendezvous | None = None
        self._slots: list[Slot] = []
        self._leases: dict[CallId, Link] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def links(self) -> list[Link]:
        """The conversations with the workers that take calls."""
        return [worker.link for slot in self._slots if (worker := slot.worker) is not None]

    async def start(self) -> None:
        """Bring all workers up, or none.

        Raises
        ------
        WorkerStartError
            One does not come up; the others have been ended.
        """
        config = self.config
        self._rendezvous = Rendezvous(config.ipc, max_attachment_bytes=config.max_source_bytes)
        count = config.resolve_workers()
        cores = plan_cores(count, _usable_cores() if config.pin_workers else ())
        self._slots = [
            Slot(index, core, make=self._make_worker, on_change=self._changed.set)
            for index, core in enumerate(cores)
        ]
        starts = [asyncio.create_task(slot.start(), name="voicepool worker start") for slot in self._slots]
        try:
            await _all_or_first_error(starts)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all workers and release everything. When cancelled, they are killed at once."""
        self._stopping = True
        stops = [asyncio.create_task(slot.stop(), name="voicepool worker stop") for slot in self._slots]
        try:
            if stops:
                await asyncio.wait(stops)
        finally:
            unfinished = {task for task in stops if not task.done()}
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
            if self._rendezvous is not None:
                await self._rendezvous.close()
        for task in stops:
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOGGER.error("a worker did not end in order", exc_info=error)

    def kill(self) -> None:
        """End all processes at once; `stop` still has to be awaited."""
        for slot in self._slots:
            slot.kill()

    async def place(self, call: CallId, listener: CallListener) -> Link:
        """Return the link to the worker that holds a call, choosing one if none does.

        Waits up to ``connect_timeout_s`` for a worker while all are being restarted. The place is taken
        until `release`.

        Raises
        ------
        PoolFullError
            Each worker holds as many calls as it may.
        WorkerLostError
            All workers are down.
        PoolClosedError
            The pool is being closed.
        """
        held = self._leases.get(call)
        if held is not None and held.lost is None:
            return held
        await self._wait_for_a_worker()
        held = self._leases.get(call)
        if held is not None and held.lost is None:
            # Another attempt of the same call waited too, and was first.
            return held
        links = self.links
        calls = Counter(lease.worker for lease in self._leases.values())
        loads = [_load(link, calls[link.worker]) for link in links]
        link = links[choose_worker(loads, max_calls=self.config.max_calls_per_worker)]
        self._leases[call] = link
        link.listen(call, listener)
        return link

    def release(self, call: CallId) -> None:
        """Give a call's place back."""
        link = self._leases.pop(call, None)
        if link is not None:
            link.unlisten(call)

    def worker_of(self, call: CallId) -> str:
        """Return the name of the worker that holds a call; empty if none does."""
        link = self._leases.get(call)
        return link.worker if link is not None else ""

    def describe(self) -> tuple[WorkerInfo, ...]:
        """Describe all workers."""
        calls = Counter(lease.worker for lease in self._leases.values())
        return tuple(_describe(slot, calls[WorkerId(slot.name)]) for slot in self._slots)

    async def refresh_stats(self) -> None:
        """Ask all workers for fresh figures; one that does not answer keeps its old ones."""
        requests = []
        for link in self.links:
            try:
                request = link.request(
                    lambda number: ReportStats(request=number), Stats, timeout_s=self.config.command_timeout_s
                )
            except WorkerError as error:
                _LOGGER.warning("no figures from %s: %s", link.worker, error)
            else:
                requests.append(request.answer())
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(outcome, WorkerLostError | WorkerTimeoutError):
                _LOGGER.warning("no fresh figures: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _wait_for_a_worker(self) -> None:
        try:
            async with asyncio.timeout(self.config.connect_timeout_s):
                while not self.links and not self._stopping:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            reasons = "; ".join(sorted({slot.last_error or "is starting" for slot in self._slots}))
            raise WorkerLostError(f"no worker is running, all are being restarted: {reasons}") from None
        if self._stopping:
            raise PoolClosedError("the pool is being closed")

    def _make_worker(self, slot: Slot, start: int) -> Worker:
        assert self._rendezvous is not None
        return Worker(
            WorkerId(f"w{slot.index}.{start}"),
            settings=_settings(self.config, slot.core),
            rendezvous=self._rendezvous,
            launcher=self._launcher,
            start_timeout_s=self.config.start_timeout_s,
            stop_timeout_s=self.config.stop_timeout_s,
            on_crash=self._on_crash,
        )


def _describe(slot: Slot, calls: int) -> WorkerInfo:
    worker = slot.worker
    if worker is None:
        return WorkerInfo(
            slot=slot.index,
            name=slot.name,
            state=slot.state,
            restarts=slot.restarts,
            last_error=slot.last_error,
        )
    ready = worker.ready
    return WorkerInfo(
        slot=slot.index,
        name=worker.name,
        state=slot.state,
        pid=worker.pid,
        core=ready.core,
        calls=calls,
        restarts=slot.restarts,
        last_error=slot.last_error,
        libopus=ready.libopus,
        libopus_origin=ready.libopus_origin,
        loop=ready.loop,
        encoder_class=ready.encoder_class,
        pacing_class=ready.pacing_class,
    )


def _load(link: Link, calls: int) -> Load:
    playing = 0 if link.stats is None else sum(bool(call.tracks) for call in link.stats.calls)
    return Load(calls=calls, playing=playing, cpu_share=link.cpu_share)


def _settings(config: PoolConfig, core: int | None) -> WorkerSettings:
    return WorkerSettings(
        core=core,
        encoder_class=config.encoder_class,
        pacing_class=config.pacing_class,
        libopus=_path(config.libopus),
        ca_file=_path(config.ca_file),
        modes=config.modes,
        bitrate_bps=config.bitrate_bps,
        complexity=config.complexity,
        ring_frames=config.ring_frames,
        dave=config.dave,
        max_calls=config.max_calls_per_worker,
        connect_timeout_s=config.connect_timeout_s,
        source_open_timeout_s=config.source_open_timeout_s,
        source_read_timeout_s=config.source_read_timeout_s,
        read_ahead_s=config.read_ahead_s,
        stats_interval_s=config.stats_interval_s,
        reconnect_first_pause_s=config.reconnect_first_pause_s,
        reconnect_longest_pause_s=config.reconnect_longest_pause_s,
        reconnect_attempts=config.reconnect_attempts,
        server_wait_s=config.server_wait_s,
        removal_grace_s=config.removal_grace_s,
        log_level=config.log_level,
        log_format=config.log_format,
        shed_complexity=config.shed_complexity,
    )


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(path) if path is not None else None


def _usable_cores() -> list[int]:
    # Where the kernel has no such call (macOS, Windows), processes are not pinned.
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


async def _all_or_first_error(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for all tasks; at the first failure, or when cancelled, cancel the others and wait for them."""
    tasks = set(tasks)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        unfinished = {task for task in tasks if not task.done()}
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if errors:
        raise errors[0]
