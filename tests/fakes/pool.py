"""A pool over scripted workers, ready to use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool._calls.switchboard import Switchboard
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.credentials import VoiceCredentials
from voicepool.pool import VoicePool

__all__ = ["connected", "credentials", "pool_of", "settled", "until"]

_TURNS = 500


def credentials(guild: int = 1, **more: Any) -> VoiceCredentials:
    """Credentials that look right; no server is asked."""
    fields: dict[str, Any] = {
        "guild_id": guild,
        "channel_id": 10 * guild,
        "user_id": 7,
        "session_id": "session",
        "endpoint": "voice.example:443",
        "token": "token",
    }
    return VoiceCredentials(**fields | more)


def pool_of(workers: int = 1, *, launcher: Any = None, **config: Any) -> tuple[VoicePool, InProcess]:
    """A pool that was not started, and the launcher of its workers."""
    fakes = InProcess()
    settings: dict[str, Any] = {"workers": workers} | config
    return VoicePool(PoolConfig(**settings), launcher=launcher if launcher is not None else fakes), fakes


@contextlib.asynccontextmanager
async def connected(**config: Any) -> AsyncIterator[tuple[BaseVoiceConnection, ScriptedWorker, InProcess]]:
    """A connection, the worker that holds it, and the launcher."""
    pool, fakes = pool_of(**config)
    async with pool:
        yield await pool.connect(credentials()), fakes.workers[0], fakes


async def settled(voice: BaseVoiceConnection) -> None:
    """Wait until all that the worker has said so far was taken in: answers come in order."""
    host = voice._host
    assert isinstance(host, Switchboard)
    await host.fleet.refresh_stats()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so; a test's safety timeout ends a wait in vain."""

    turns = 0
    while not condition():
        turns += 1
        # What takes longer than this is another process, which wants the core.
        await asyncio.sleep(0 if turns < _TURNS else 0.002)
