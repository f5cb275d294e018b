"""`GuildLocks`: one at a time for each key, and nothing kept afterwards."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from voicepool.hikari.locks import GuildLocks


@asyncio_test
async def test_one_key_is_held_by_one_at_a_time_in_order_and_others_are_free() -> None:
    locks = GuildLocks()
    order: list[str] = []
    release = asyncio.Event()

    async def hold(name: str) -> None:
        async with locks.hold("guild"):
            order.append(name)
            await release.wait()

    tasks = [asyncio.create_task(hold(name)) for name in "ab"]
    await asyncio.sleep(0)
    async with locks.hold("other"):
        assert order == ["a"]
        assert len(locks) == 2
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b"]
    assert len(locks) == 0


@asyncio_test
async def test_nothing_is_kept_of_who_fails_or_is_cancelled() -> None:
    locks = GuildLocks()
    with pytest.raises(ValueError, match="within"):
        async with locks.hold(1):
            raise ValueError("within")
    async with locks.hold(1):
        waiting = asyncio.create_task(locks.hold(1).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(locks) == 1
    assert len(locks) == 0
