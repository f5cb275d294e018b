"""How a bot changes a pool that runs: the half of `voicepool.pool.VoicePool` about workers and settings."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Final

from voicepool._calls.switchboard import Switchboard
from voicepool._fleet.fleet import Fleet
from voicepool._fleet.rolling import Rolling
from voicepool._fleet.spares import Member, Part
from voicepool._fleet.upkeep import Upkeep
from voicepool._settings.knobs import TakesEffect
from voicepool._settings.reloading import Reloading, read_config
from voicepool._settings.room import keep_room
from voicepool._watching.observatory import Observatory
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, PoolFullError, PoolNotStartedError
from voicepool.pool_events import ConfigReloaded, PoolEvent, SettingRefused
from voicepool.stats import WorkerInfo

__all__ = ["PoolChanging"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class PoolChanging:
    """Change the workers and the settings of a pool; mixed into `voicepool.pool.VoicePool`.

    Parameters
    ----------
    config
        The settings to begin with.
    switchboard, observatory
        The pool's.
    tell
        Handed what happens.
    """

    def __init__(
        self,
        config: PoolConfig,
        switchboard: Switchboard,
        observatory: Observatory,
        tell: Callable[[PoolEvent], None],
    ) -> None:
        self._config = config
        self._switchboard = switchboard
        self._observatory = observatory
        self._tell_of_change = tell
        self._rolling: Rolling | None = None
        self._upkeep: Upkeep | None = None
        self._reloading: Reloading | None = None
        self._reload_turn = asyncio.Lock()

    async def scale(self, workers: int) -> None:
        """Have so many workers, and return when that is so.

        Those that are added take calls then. The emptiest ones are taken away: their calls move to the
        others, each with a gap of a handshake, before they end. A newer `scale` replaces one that is under
        way. It goes on when it is cancelled. With ``autoscale`` the number may change again afterwards.

        Parameters
        ----------
        workers
            At least 1. Spares are not counted.

        Raises
        ------
        ConfigError
            The number is not allowed.
        PoolFullError
            So few cannot hold the calls there are (``max_calls_per_worker``); nothing has changed.
        WorkerStartError
            A worker does not come up. There are as many then as did.
        PoolNotStartedError, PoolClosedError
            The pool does not run, or was closed meanwhile.
        """
        if isinstance(workers, str):
            raise TypeError("workers must be a number here")
        # The setting knows what is allowed.
        count = dataclasses.replace(self._config, workers=workers).resolve_workers()
        rolling = self._running_rolling()
        self._check_room(count)
        await rolling.scale(count, "scale")

    async def drain(self, worker: str | WorkerInfo) -> None:
        """Put a fresh process in a worker's place, move its calls, and return when the old one has ended.

        The successor is started first, or a spare takes over, so that there is never a worker less. Call
        `scale` to have fewer. It goes on when it is cancelled.

        Parameters
        ----------
        worker
            Its name, such as ``w0.1``, or an entry of `workers`.

        Raises
        ------
        ValueError
            There is no such worker (any more).
        WorkerStartError
            The successor does not come up; the old one goes on.
        PoolNotStartedError, PoolClosedError
            The pool does not run, or was closed meanwhile.
        """
        rolling = self._running_rolling()
        name = worker.name if isinstance(worker, WorkerInfo) else worker
        staying = [member for member in self._switchboard.fleet.crew if member.part is not Part.LEAVING]
        found = [member for member in staying if member.slot.name == name]
        if not found:
            there = ", ".join(member.slot.name for member in staying)
            raise ValueError(f"there is no worker {name!r}; there are {there}")
        await rolling.replace(found)

    async def restart(self) -> None:
        """Replace all workers by fresh processes, one after the other, as `drain` does; calls go on.

        Raises
        ------
        WorkerStartError
            A successor does not come up; the old one goes on, and so do those that were to follow.
        PoolNotStartedError, PoolClosedError
            The pool does not run, or was closed meanwhile.
        """
        rolling = self._running_rolling()
        crew = self._switchboard.fleet.crew
        await rolling.replace((*crew.of(Part.SPARE), *crew.of(Part.ACTIVE)))

    async def reload(self, config: PoolConfig | None = None) -> frozenset[str]:
        """Take other settings while calls go on.

        What concerns the bot's side holds at once. Workers are added and taken away in the background, and
        replaced one by one if a setting that they got at their start has changed; listen for
        `ConfigReloaded`, `PoolScaled` and `WorkerStarted`. A worker that does not come up is tried again
        after growing pauses; until then ``stats().workers_wanted`` is more than there are.

        So few workers, or calls on each, that calls would be lost are refused: those settings stay as they
        were, which `SettingRefused` and the log say, and the others change.

        A file that has changed is noticed by itself (``config_check_s``), and SIGHUP does the same where the
        platform has it and nobody else handles it.

        Parameters
        ----------
        config
            The settings. If None, those of the file that the present ones came from, and of the environment.

        Returns
        -------
        frozenset of str
            Names of the settings that have changed.

        Raises
        ------
        ConfigError
            The file is wrong (the text names key and line), or there is none. The old settings stay.
        PoolNotStartedError, PoolClosedError
            The pool does not run.
        """
        if config is not None and not isinstance(config, PoolConfig):
            raise TypeError(f"config must be a PoolConfig, not {type(config).__name__}")
        async with self._reload_turn:
            rolling = self._running_rolling()
            new = config if config is not None else await read_config(self._config.origin)
            new = self._without_losses(new)
            changed = new.changes_from(self._config)
            count, before = new.resolve_workers(), self._config.resolve_workers()
            await self._take(new)
            if not changed:
                return frozenset()
            _LOGGER.info("other settings are in force: %s", ", ".join(sorted(changed)))
            replaced = TakesEffect.NEXT_WORKER in changed.values()
            self._tell_of_change(ConfigReloaded(changed=frozenset(changed), replaced=replaced))
            if count != before:
                rolling.want(count, "config")
            rolling.begin(rolling.catch_up(), name="seeing to the workers")
            return frozenset(changed)

    # How it is done.

    def _begin_changing(self, fleet: Fleet) -> None:
        """Allow changes, and begin those that a pool makes by itself."""
        self._rolling = Rolling(fleet, move_calls=self._switchboard.move_calls, tell=self._tell_of_change)
        self._upkeep = Upkeep(
            fleet,
            self._rolling,
            movables=self._switchboard.movables,
            move=self._switchboard.move_some,
            look=self._observatory.look,
        )
        self._reloading = Reloading(lambda: self._config, self.reload)

    async def _end_changing(self) -> None:
        """Change nothing any more; what is under way ends."""
        # Each may set off something in the next.
        for changer in (self._reloading, self._upkeep, self._rolling):
            if changer is not None:
                await changer.close()

    def _running_rolling(self) -> Rolling:
        """Return what changes the workers; raise if the pool does not run."""
        _ = self._switchboard.fleet
        if self._rolling is None:
            raise PoolNotStartedError("the pool is only just starting; await pool.start() first")
        return self._rolling

    def _check_room(self, workers: int) -> None:
        """Do nothing, unless calls would be lost, since so few workers have no place for them."""
        calls, each = len(self._switchboard.connections), self._config.max_calls_per_worker
        if calls > workers * each and workers < self._switchboard.fleet.crew.wanted:
            raise PoolFullError(
                f"{workers} workers cannot hold the {calls} calls there are, {each} allowed on each; keep "
                f"{-(-calls // each)}, or raise max_calls_per_worker",
                calls=calls,
                workers=workers,
                max_calls_per_worker=each,
            )

    def _without_losses(self, config: PoolConfig) -> PoolConfig:
        """Return settings that leave a place for each call."""
        taken, refused = keep_room(
            config,
            self._config,
            calls=len(self._switchboard.connections),
            workers=self._switchboard.fleet.crew.wanted,
        )
        for each in refused:
            _LOGGER.error("%s", each.text)
            self._tell_of_change(SettingRefused(each.key, each.text))
        return taken

    def _on_heavy(self, member: Member) -> None:
        if self._rolling is not None:
            self._rolling.renew(member)

    async def _take(self, config: PoolConfig) -> None:
        """Have other settings from now on, all or none of them."""
        try:
            await self._observatory.open(config)
            # The pool may have been closed meanwhile.
            self._switchboard.fleet.apply(config)
        except BaseException:
            try:
                self._switchboard.check_open()
            except PoolClosedError:
                await self._observatory.close()
            else:
                await self._observatory.open(self._config)
            raise
        self._switchboard.reconfigure(config)
        self._config = config
        if self._reloading is not None:
            self._reloading.wake()
