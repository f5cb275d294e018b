"""What looks at a pool from outside: its figures, the endpoint for Prometheus, the socket of the status.

All of it is taken on the pool's event loop, as a `View` that nothing changes any more; what is made of it may
be made in any thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Protocol

from voicepool._watching.ledger import Ledger, Photograph
from voicepool._watching.report import develop
from voicepool._watching.status import StatusSocket
from voicepool._watching.status_view import Playing, status_of, write
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import CallId
from voicepool.pool_events import PoolEvent
from voicepool.stats import PoolStats, WorkerInfo

if TYPE_CHECKING:
    from voicepool._watching.metrics_server import MetricsServer
    from voicepool.config import PoolConfig

__all__ = ["Observatory", "Subject", "View"]

PATIENCE_S: Final = 2.0
"""How long another thread waits for the event loop; Prometheus gives a scrape 10 s."""


class _Link(Protocol):
    """What is wanted of a `voicepool._process.link.Link`."""

    @property
    def worker(self) -> str: ...
    @property
    def stats(self) -> Stats | None: ...
    @property
    def cpu_share(self) -> float | None: ...
    @property
    def unreadable(self) -> int: ...


class Subject(Protocol):
    """What is looked at: the pool, as far as it is wanted here. Read on the event loop only."""

    @property
    def links(self) -> Sequence[_Link]:
        """The conversations with the workers that are up, spare ones too."""

    @property
    def infos(self) -> tuple[WorkerInfo, ...]:
        """What is known of each worker."""

    @property
    def wanted(self) -> int:
        """How many workers there ought to be."""

    @property
    def guilds(self) -> Mapping[CallId, int]:
        """The guild of each call."""

    def playing(self) -> Sequence[Playing]:
        """Say what each call plays, and where."""


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What was seen of a pool at one instant.

    Attributes
    ----------
    photograph
        Of the ledger.
    reports
        The last report of each worker that is up, and its CPU share.
    workers
        What is known of each worker.
    unreadable, wanted
        As in `PoolStats`.
    taken_at_s
        When, by `time.monotonic`.
    """

    photograph: Photograph
    reports: tuple[tuple[Stats, float | None], ...]
    workers: tuple[WorkerInfo, ...]
    unreadable: int
    wanted: int
    taken_at_s: float

    @property
    def age_s(self) -> float:
        """How long ago that was, in seconds."""
        return time.monotonic() - self.taken_at_s

    def stats(self) -> PoolStats:
        """Return the figures. Takes some 10 us a call, in any thread."""
        return develop(self.photograph, self.reports, unreadable=self.unreadable, wanted=self.wanted)


class Observatory:
    """Keeps the figures of a pool, and shows them to whom the config lets see them.

    Parameters
    ----------
    subject
        The pool; None is returned while it does not run.
    """

    def __init__(self, subject: Callable[[], Subject | None]) -> None:
        self._subject = subject
        self.ledger: Final = Ledger(self._guilds)
        """What was counted; told of reports and events by the pool."""
        self._unreadable: dict[str, int] = {}
        self._unreadable_before = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last: View | None = None
        self._server: MetricsServer | None = None
        self._status: StatusSocket | None = None

    # On the event loop.

    async def open(self, config: PoolConfig) -> None:
        """Show the figures as the config says, from now on; again with another config to change that.

        Raises
        ------
        ConfigError
            ``metrics_port`` is taken, ``metrics_host`` is not of this machine, or the library is missing.
            What was served before goes on, if it was at another port.
        """
        self._loop = asyncio.get_running_loop()
        wanted = (config.metrics_host, config.metrics_port)
        present = None if self._server is None else self._server.place
        if present != (wanted if config.metrics_port else None):
            if present is not None and present[1] == config.metrics_port:
                # At another address the same port may be taken by ourselves.
                await self._close_server()
            server = await _serve_metrics(self, *wanted) if config.metrics_port else None
            await self._close_server()
            self._server = server
        if config.attach and self._status is None:
            self._status = await StatusSocket.open(self.status)
        elif not config.attach and self._status is not None:
            status, self._status = self._status, None
            await status.close()

    async def close(self) -> None:
        """Show nothing any more."""
        status, self._status = self._status, None
        try:
            await self._close_server()
        finally:
            if status is not None:
                await status.close()

    def on_report(self, stats: Stats) -> None:
        """Take in a worker's report, as it comes."""
        self.ledger.take_report(stats, time.monotonic())

    def on_event(self, event: PoolEvent) -> None:
        """Take in what has happened to the pool."""
        self.ledger.take_event(event, time.monotonic())

    def stats(self) -> PoolStats:
        """Return the figures of now; empty ones while the pool does not run."""
        view = self.look()
        return PoolStats() if view is None else view.stats()

    def look(self) -> View | None:
        """Return what there is to be seen; None while the pool does not run. On the event loop only."""
        subject = self._subject()
        if subject is None:
            self._last = None
            return None
        links = subject.links
        for link in links:
            # Workers of which no report was handed over one by one.
            if link.stats is not None:
                self.ledger.take_report(link.stats, time.monotonic())
        self._last = View(
            photograph=self.ledger.photograph(),
            reports=tuple((link.stats, link.cpu_share) for link in links if link.stats is not None),
            workers=subject.infos,
            unreadable=self._count_unreadable(links),
            wanted=subject.wanted,
            taken_at_s=time.monotonic(),
        )
        return self._last

    def status(self) -> Callable[[], bytes] | None:
        """Return what makes the answer to ``voicepool top``, in any thread; None if the pool does not run."""
        subject, view = self._subject(), self.look()
        if subject is None or view is None:
            return None
        playing, stutters = subject.playing(), self.ledger.stutters()
        pid, program = os.getpid(), PurePath(sys.argv[0]).name
        return lambda: write(status_of(view, playing, stutters, pid=pid, program=program))

    # In any thread.

    def see(self) -> View | None:
        """Return what there is to be seen, from any thread; what was seen last if the loop is busy."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return None
        try:
            if asyncio.get_running_loop() is loop:
                return self.look()
        except RuntimeError:
            pass
        seen: concurrent.futures.Future[View | None] = concurrent.futures.Future()
        try:
            loop.call_soon_threadsafe(self._answer, seen)
        except RuntimeError:
            # It has been closed.
            return None
        try:
            return seen.result(PATIENCE_S)
        except TimeoutError:
            # If it is looking just now, that is kept for the next one.
            seen.cancel()
            return self._last

    def _answer(self, seen: concurrent.futures.Future[View | None]) -> None:
        if not seen.set_running_or_notify_cancel():
            return
        try:
            seen.set_result(self.look())
        except Exception as error:  # noqa: BLE001  # it is raised where it was asked for
            seen.set_exception(error)

    def _count_unreadable(self, links: Sequence[_Link]) -> int:
        present = {link.worker: link.unreadable for link in links}
        gone = self._unreadable.keys() - present.keys()
        self._unreadable_before += sum(self._unreadable[worker] for worker in gone)
        self._unreadable = present
        return self._unreadable_before + sum(present.values())

    async def _close_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def _guilds(self) -> Mapping[CallId, int]:
        subject = self._subject()
        return {} if subject is None else subject.guilds


async def _serve_metrics(observatory: Observatory, host: str, port: int) -> MetricsServer:
    # Only now: it needs a library that may be missing.
    from voicepool._watching.metrics_server import MetricsServer  # noqa: PLC0415

    return await MetricsServer.open(observatory.look, host=host, port=port)
