"""All that a connection needs of its pool is what `CallHost` names."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine

import pytest

from tests.fakes.pool import credentials
from tests.fakes.running import asyncio_test
from voicepool._calls.host import CallHost
from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import Link
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import WorkerError
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import PoolEvent


class FullHost:
    """A pool that has no room, and nothing but what the protocol asks for."""

    def __init__(self) -> None:
        self.config = PoolConfig()
        self.suspicion = Suspicion()
        self.released: list[BaseVoiceConnection] = []

    async def place(self, connection: BaseVoiceConnection, *, avoid: Collection[WorkerId] = ()) -> Link:
        raise WorkerError(f"no room for guild {connection.guild_id}")

    def release(self, connection: BaseVoiceConnection) -> None:
        self.released.append(connection)

    def recover(self, connection: BaseVoiceConnection, *, was_opening: bool) -> bool:
        raise AssertionError(f"guild {connection.guild_id} never was up: {was_opening}")

    def tell(self, event: PoolEvent) -> None:
        raise AssertionError(event)

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)


@asyncio_test
async def test_a_connection_lives_and_ends_with_nothing_else() -> None:
    full = FullHost()
    host: CallHost = full
    voice = BaseVoiceConnection(host, credentials(guild=4))
    with pytest.raises(WorkerError, match="no room for guild 4"):
        await voice.connect()
    await voice.wait_closed()
    assert voice.closed
    assert full.released == [voice], "it is forgotten once"
    await voice.disconnect()
    assert full.released == [voice]
