"""The file that the settings came from: read again when asked, on SIGHUP, and when it has changed.

A file that cannot be used is told of once, and the settings in force stay.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from voicepool._calling import call_in_thread
from voicepool._settings.sighup import on_hangup
from voicepool.config import PoolConfig
from voicepool.errors import ConfigError, VoicePoolError

__all__ = ["ConfigFile", "Reloading", "read_config"]

_LOGGER: Final = logging.getLogger("voicepool.config")

OFF_LOOK_S: Final = 1.0
"""How often it is looked whether ``config_check_s`` is no longer 0."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file looked: what tells cheaply that it is the same, and what tells surely."""

    modified_ns: int
    size_bytes: int
    digest: bytes


class ConfigFile:
    """A file that may change. Its methods block, so they are called in a thread.

    Parameters
    ----------
    path
        Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._seen = _look_at(path, None)

    def has_changed(self) -> bool:
        """Return whether its contents are others than at the last call. One that is missing has not changed.

        Editors replace a file by another one; between the two there is none.
        """
        now = _look_at(self.path, self._seen)
        before, self._seen = self._seen, now or self._seen
        return now is not None and (before is None or now.digest != before.digest)


async def read_config(origin: Path | None) -> PoolConfig:
    """Read the settings again from where they came from: their file and the environment.

    Raises
    ------
    ConfigError
        The file cannot be used; the text names key and line. Or the settings came from no file.
    """
    if origin is None:
        raise ConfigError("the settings of this pool came from no file; call pool.reload with a PoolConfig")
    return await call_in_thread(lambda: PoolConfig.load(origin), name="voicepool config")


class Reloading:
    """Watches over the file of one pool. Made on the event loop; `close` ends it.

    Parameters
    ----------
    config
        Returns the settings in force.
    reload
        Has the pool read them again; see `voicepool.pool.VoicePool.reload`.

    Attributes
    ----------
    looks
        How often it was looked whether there is something to do.
    """

    def __init__(
        self, config: Callable[[], PoolConfig], reload: Callable[[], Coroutine[Any, Any, object]]
    ) -> None:
        self.looks = 0
        self._config = config
        self._reload = reload
        self._hung_up = asyncio.Event()
        self._woken = asyncio.Event()
        """Set by SIGHUP, and by other settings, which may have it look more often."""
        self._stop_hearing = on_hangup(self._hang_up) if config().origin is not None else lambda: None
        self._task = asyncio.create_task(self._watch(), name="voicepool config watch")

    def wake(self) -> None:
        """Look how often to look, now: other settings are in force."""
        self._woken.set()

    async def close(self) -> None:
        """Watch no more."""
        self._stop_hearing()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _watch(self) -> None:
        file: ConfigFile | None = None
        while True:
            self.looks += 1
            config = self._config()
            if config.origin is None or not config.config_check_s:
                file = None
            elif file is None or file.path != config.origin:
                file = await call_in_thread(partial(ConfigFile, config.origin), name="voicepool config")
            if await self._hangs_up_within(config.config_check_s or OFF_LOOK_S):
                _LOGGER.info("SIGHUP: the settings are read again")
                await self._try_to_reload()
            elif file is not None and await call_in_thread(file.has_changed, name="voicepool config"):
                _LOGGER.info("%s has changed", file.path)
                await self._try_to_reload()

    def _hang_up(self) -> None:
        self._hung_up.set()
        self._woken.set()

    async def _hangs_up_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        hung_up = self._hung_up.is_set()
        self._hung_up.clear()
        return hung_up

    async def _try_to_reload(self) -> None:
        try:
            await self._reload()
        except (VoicePoolError, OSError) as error:
            _LOGGER.error("the settings stay as they were: %s", error)  # noqa: TRY400 - the text is for people


def _look_at(path: Path, before: _Look | None) -> _Look | None:
    try:
        status = path.stat()
        if before is not None and (status.st_mtime_ns, status.st_size) == (
            before.modified_ns,
            before.size_bytes,
        ):
            return before
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
    return _Look(status.st_mtime_ns, status.st_size, digest)
