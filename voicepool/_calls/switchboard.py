"""The calls of a pool: which there are, which worker holds them, and what still runs on their behalf."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Final

from voicepool._calls.moving import Moving
from voicepool._calls.recovery import Recovery, Urgency
from voicepool._fleet.balancing import Movable, Transfer
from voicepool._fleet.fleet import Fleet
from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import Link
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import PoolClosedError, PoolNotStartedError
from voicepool.ipc.ids import CallId, WorkerId
from voicepool.pool_events import PoolEvent

__all__ = ["Switchboard"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Switchboard:
    """Joins connections and workers; what connections know as `voicepool.connection.CallHost`.

    Parameters
    ----------
    config
        The pool's.

    Attributes
    ----------
    suspicion
        Which sources workers may have died of.
    recovery
        Begins calls again that have lost their workers.
    tell
        Takes events for whoever listens on the pool; the pool's to set.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self.suspicion: Final = Suspicion()
        self._fleet: Fleet | None = None
        self._closed = False
        self._connections: dict[tuple[int, int], BaseVoiceConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.tell: Callable[[PoolEvent], None] = lambda _event: None
        self.recovery: Final = Recovery(config, spawn=lambda work, name: self.spawn(work, name=name))

    @property
    def config(self) -> PoolConfig:
        """The pool's settings."""
        return self._config

    @property
    def connections(self) -> tuple[BaseVoiceConnection, ...]:
        """The connections that have not closed."""
        return tuple(self._connections.values())

    @property
    def guilds(self) -> dict[CallId, int]:
        """The guild of each call."""
        return {connection.call_id: connection.guild_id for connection in self._connections.values()}

    @property
    def fleet(self) -> Fleet:
        """The workers.

        Raises
        ------
        PoolNotStartedError, PoolClosedError
            There are none.
        """
        self.check_open()
        if self._fleet is None:
            raise PoolNotStartedError("the pool is not running; use `async with` or await pool.start() first")
        return self._fleet

    def check_open(self) -> None:
        """Do nothing, unless `close` was called.

        Raises
        ------
        PoolClosedError
            It was.
        """
        if self._closed:
            raise PoolClosedError("the pool is closed; make a new VoicePool")

    def open(self, fleet: Fleet) -> None:
        """Place calls with these workers from now on."""
        self._fleet = fleet

    def on_crash(self, worker: WorkerId) -> None:
        """Take note that a worker has died, before those whose calls it held are told."""
        for label in self.suspicion.on_death(worker, asyncio.get_running_loop().time()):
            text = "%s is quarantined: %s is not the first worker to die of it; pool.quarantine lifts it"
            _LOGGER.error(text, label, worker, extra=about(worker=worker))

    def close(self) -> None:
        """Take no calls any more, and begin to end those there are."""
        self._closed = True
        if (closer := asyncio.current_task()) is not None:
            # A listener that waits for the end of the pool cannot be waited for.
            self._tasks.discard(closer)
        for connection in self.connections:
            connection.leave()

    async def place(self, connection: BaseVoiceConnection, *, avoid: Collection[WorkerId] = ()) -> Link:
        """Return the link to the worker that holds the connection's call, choosing one if none does."""
        fleet = self.fleet
        key = (connection.guild_id, connection.user_id)
        before = self._connections.get(key)
        if before is not connection:
            if before is not None:
                before.supersede()
            self._connections[key] = connection
            # It may have been made before the settings were changed.
            connection.configure(self._config)
        link = await fleet.place(connection.call_id, connection, avoid=avoid, station=connection.station)
        if connection.closed:
            # It ended while it waited for a worker, before there was a place to give back.
            fleet.release(connection.call_id)
        return link

    async def move_calls(self, link: Link) -> None:
        """Move all calls of one worker to others, ``moves_at_once`` at a time; return when none is left.

        The fleet is to place no new ones there. A call that cannot be moved is begun again elsewhere, like
        one whose worker was lost.

        Raises
        ------
        PoolNotStartedError, PoolClosedError
            There are no workers.
        """
        await self._moving().run(link)

    def movables(self) -> list[Movable]:
        """Return the calls that could move: those that are connected, and stay where they are so far."""
        return [
            Movable(
                each.call_id,
                each.link.worker,
                playing=each.urgency is not Urgency.IDLE,
                held=each.urgency is Urgency.PAUSED,
                station=each.player.station,
                members=len(each.members),
            )
            for each in self.connections
            if each.link is not None and each.connected and not each.interrupted and each.understudy is None
        ]

    async def move_some(self, transfers: Sequence[Transfer]) -> None:
        """Move some calls, ``moves_at_once`` at a time; return when those that can have moved.

        Raises
        ------
        PoolNotStartedError, PoolClosedError
            There are no workers.
        """
        await self._moving().run_some(transfers)

    def reconfigure(self, config: PoolConfig) -> None:
        """Go by other settings from now on."""
        self._config = config
        self.recovery.configure(config)
        for connection in self.connections:
            connection.configure(config)

    def recover(self, connection: BaseVoiceConnection, *, was_opening: bool) -> bool:
        """Have a call begun again that has lost its worker; return False if the pool is closing."""
        if self._closed:
            return False
        self.recovery.add(connection, was_opening=was_opening)
        return True

    def release(self, connection: BaseVoiceConnection) -> None:
        """Forget a connection that has closed."""
        self.recovery.discard(connection.call_id)
        key = (connection.guild_id, connection.user_id)
        if self._connections.get(key) is connection:
            del self._connections[key]
        if self._fleet is not None:
            self._fleet.release(connection.call_id)

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run something on a connection's behalf; `finish` sees to its end."""
        task = asyncio.create_task(work, name=f"voicepool {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, patience_s: float) -> None:
        """Wait for all that was spawned; cancel what is not done after `patience_s`, or when cancelled."""
        try:
            async with asyncio.timeout(patience_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            _LOGGER.warning("%d things do not end in order: %s", len(self._tasks), _names(self._tasks))
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                _, stubborn = await asyncio.wait(self._tasks, timeout=patience_s)
                if stubborn:
                    _LOGGER.error("left behind, since they refuse to be cancelled: %s", _names(stubborn))

    def _moving(self) -> Moving:
        return Moving(
            self.fleet,
            self._config,
            self.recovery,
            lambda: self.connections,
            lambda work, name: self.spawn(work, name=name),
        )


def _names(tasks: set[asyncio.Task[None]]) -> str:
    return ", ".join(sorted(task.get_name() for task in tasks))
