"""`VoicePool`: the worker processes of a bot, and the connections they hold."""

from __future__ import annotations

import asyncio
import enum
from types import TracebackType
from typing import Self

from voicepool._calls.hint import station_name
from voicepool._calls.switchboard import Switchboard
from voicepool._fleet.fleet import Fleet
from voicepool._pool_changing import PoolChanging
from voicepool._pool_listening import PoolListening
from voicepool._process.launcher import Launcher, LocalLauncher
from voicepool._watching.observatory import Observatory
from voicepool._watching.subject import subject_of
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection, CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import PoolNotStartedError, SupersededError
from voicepool.pool_events import PoolEvent
from voicepool.quarantine import Quarantine
from voicepool.station import Station
from voicepool.stats import PoolStats, Stutter, WorkerInfo

__all__ = ["VoicePool"]


class _State(enum.Enum):
    """Where a pool stands. ``start`` and ``close`` are the only ways on."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    CLOSED = "closed"


class VoicePool(PoolListening, PoolChanging):
    """Worker processes that send a bot's voice, so that the bot's own work cannot disturb it.

    Use it as an async context manager, or call `start` and `close`. It belongs to the event loop it was
    started on. A worker that dies is started again, and its calls go on at others. What workers have died of
    is refused; see `quarantine`. How many workers there are may change while calls go on: by `scale`, by the
    file that the settings came from (see `reload`), and by what there is to do (``autoscale``).

    Parameters
    ----------
    config
        The settings. If None, `PoolConfig.load` finds them: a ``voicepool.toml`` in the current directory and
        the ``VOICEPOOL_*`` environment variables.
    launcher
        Who starts the worker processes; if None, they are children of this process.

    Raises
    ------
    ConfigError
        No config is given, and the settings that were found are wrong.

    Examples
    --------
    ::

        async with voicepool.VoicePool(voicepool.PoolConfig(workers=2)) as pool:
            voice = await pool.connect(voicepool.VoiceCredentials(...))
            await voice.play("song.flac")
    """

    def __init__(self, config: PoolConfig | None = None, *, launcher: Launcher | None = None) -> None:
        if config is not None and not isinstance(config, PoolConfig):
            raise TypeError(f"config must be a PoolConfig, not {type(config).__name__}")
        config = config if config is not None else PoolConfig.load()
        self._launcher = launcher
        self._state = _State.NEW
        switchboard = Switchboard(config)
        switchboard.tell = self._tell
        observatory = Observatory(lambda: subject_of(switchboard))
        switchboard.recovery.on_given_up = observatory.ledger.count_lost_call
        PoolListening.__init__(self, switchboard.spawn)
        PoolChanging.__init__(self, config, switchboard, observatory, self._tell)
        self._quarantine = Quarantine(switchboard.suspicion)
        self._fleet: Fleet | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def config(self) -> PoolConfig:
        """The settings in force."""
        return self._config

    @property
    def running(self) -> bool:
        """Whether it takes calls: it was started and not closed."""
        return self._state is _State.RUNNING

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """What is known of each worker, spare ones among them; empty before `start` and after `close`."""
        return self._fleet.describe() if self._fleet is not None else ()

    @property
    def connections(self) -> tuple[BaseVoiceConnection, ...]:
        """The connections that have not closed."""
        return self._switchboard.connections

    @property
    def quarantine(self) -> Quarantine:
        """The sources that are refused, since workers died of them; it outlives `close`."""
        return self._quarantine

    @property
    def observatory(self) -> Observatory:
        """What monitoring reads; see `voicepool.metrics.PoolCollector`."""
        return self._observatory

    @property
    def host(self) -> CallHost:
        """What a connection is made with, for adapters of bot libraries; see `BaseVoiceConnection`."""
        return self._switchboard

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Start and end.

    async def start(self) -> None:
        """Start the workers, and return when all take calls. Does nothing on a pool that runs.

        When it fails or is cancelled nothing is left behind, and it may be tried again.

        Raises
        ------
        WorkerStartError
            A worker does not come up; the text has its last words. Or there is no place for the workers'
            sockets, or too few files may be open; the text has the way out.
        LibopusMissingError
            A worker finds no libopus.
        PoolClosedError
            The pool is closed, or was closed meanwhile.
        ConfigError
            ``metrics_port`` cannot be had.
        """
        self._switchboard.check_open()
        if self._state is _State.RUNNING:
            return
        if self._starting is None:
            self._state = _State.STARTING
            self._starting = asyncio.create_task(self._bring_up(), name="voicepool start")
        starting = self._starting
        try:
            await asyncio.wait({starting})
        except asyncio.CancelledError:
            await _cancel(starting)
            raise
        self._switchboard.check_open()
        if starting.cancelled():
            raise PoolNotStartedError("the start of the pool was cancelled; start it again")
        starting.result()

    async def close(self) -> None:
        """End all connections and workers, and return when nothing is left of them. Idempotent.

        When cancelled, the workers are killed instead of asked, and it still waits for their end.
        """
        if self._closing is None:
            self._state = _State.CLOSED
            self._switchboard.close()
            self._closing = asyncio.create_task(self._shut_down(), name="voicepool close")
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            if self._fleet is not None:
                self._fleet.kill()
            await asyncio.wait({self._closing})
            raise

    # Calls.

    async def connect(
        self, credentials: VoiceCredentials, *, station: Station | str | None = None
    ) -> BaseVoiceConnection:
        """Join a call with what the main gateway handed out.

        A user has one call in a guild: an older connection of the same user there closes.

        Parameters
        ----------
        credentials
            Of the join; each join has its own.
        station
            The `Station` that this call is going to hear, or its name, if that is known: guilds of one
            station are then placed at one worker, which encodes it once for all of them. It is a hint:
            nothing is played by it, and anything may be.

        Returns
        -------
        BaseVoiceConnection
            Connected: sound can be sent.

        Raises
        ------
        ConnectError
            The voice server cannot be reached or refuses; the class tells why.
        PoolFullError
            Every worker is full, of calls or of work; the text tells of each.
        WorkerError
            The worker was lost or does not answer.
        PoolNotStartedError, PoolClosedError
            The pool does not run.
        """
        if not isinstance(credentials, VoiceCredentials):
            raise TypeError(f"credentials must be VoiceCredentials, not {type(credentials).__name__}")
        if self._fleet is not None:
            self._fleet.check_process()
        expected = station_name(station)
        connection = BaseVoiceConnection(self._switchboard, credentials)
        connection.station_hint = expected
        try:
            await connection.connect()
        except SupersededError:
            # The pool's own end is told as such.
            self._switchboard.check_open()
            raise
        return connection

    # Figures.

    def stats(self) -> PoolStats:
        """Return the latest known figures; workers report each ``stats_interval_s``.

        Raises
        ------
        PoolNotStartedError, PoolClosedError
            The pool does not run.
        """
        _ = self._switchboard.fleet
        return self._observatory.stats()

    async def refresh_stats(self) -> PoolStats:
        """Ask all workers for figures of now, and return them.

        A worker that does not answer within ``command_timeout_s`` keeps its old ones.

        Raises
        ------
        PoolNotStartedError, PoolClosedError
            The pool does not run.
        """
        await self._switchboard.fleet.refresh_stats()
        return self.stats()

    def stutters(self, guild_id: int | None = None) -> tuple[Stutter, ...]:
        """Return what was heard of calls that should not have been, each with its cause, the newest last.

        Parameters
        ----------
        guild_id
            Of one guild alone; all if None.
        """
        return tuple(self._observatory.ledger.stutters(guild_id))

    # How it is done.

    def _tell(self, event: PoolEvent) -> None:
        self._observatory.on_event(event)
        self._hearers.tell([event])

    async def _bring_up(self) -> None:
        launcher = self._launcher if self._launcher is not None else LocalLauncher()
        fleet = Fleet(
            self._config,
            launcher,
            on_crash=self._switchboard.on_crash,
            tell=self._tell,
            on_heavy=self._on_heavy,
            on_report=self._observatory.on_report,
        )
        try:
            await self._observatory.open(self._config)
            await fleet.start()
        except BaseException:
            await self._observatory.close()
            if self._state is _State.STARTING:
                self._state = _State.NEW
            raise
        finally:
            self._starting = None
        self._fleet = fleet
        self._switchboard.open(fleet)
        if self._state is _State.STARTING:
            self._state = _State.RUNNING
            self._begin_changing(fleet)

    async def _shut_down(self) -> None:
        if self._starting is not None:
            await _cancel(self._starting)
        try:
            await self._end_changing()
            await self._observatory.close()
            await self._switchboard.finish(self._config.stop_timeout_s)
        finally:
            try:
                if self._fleet is not None:
                    await self._fleet.stop()
            finally:
                self._fleet = None
                self._hearers.end()
                # The end of a worker may have set something off.
                await self._switchboard.finish(self._config.stop_timeout_s)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        # Looked at, so that asyncio does not report it: who cancels does not want to know.
        task.exception()
