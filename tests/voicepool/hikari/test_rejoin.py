"""`Rejoin` alone; in a real bot it is in ``test_rejoining.py``."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import JoinError
from voicepool.hikari.rejoin import Phase, Rejoin


class Gateway:
    """Stands for the watch: op 4 waits for the test."""

    def __init__(self) -> None:
        self.guild_id = 1
        self.asked: list[int | None] = []
        self.let_through = asyncio.Event()
        self.state: Any = None
        self.servers = 0
        self.has_server = False
        self.shard_connected = True
        self.flags = (True, False)
        self.latest = SimpleNamespace(channel_id=10)
        self.changed = asyncio.Event()

    @property
    def in_channel(self) -> bool:
        return self.state is not None and self.state.channel_id is not None

    async def until(self, condition: Any) -> None:
        await until(condition)

    async def ask(self, channel_id: int | None, *, deaf: bool, mute: bool) -> None:
        assert (deaf, mute) == (True, False)
        await self.let_through.wait()
        self.asked.append(channel_id)


def rejoin_of(gateway: Gateway, **more: Any) -> Rejoin:
    wishes: dict[str, Any] = {
        "patience_s": 60,
        "hold": lambda: None,
        "needless": lambda: False,
        "leave_first": True,
        "session_id": None,
    }
    return Rejoin(cast("Any", gateway), **(wishes | more))


@asyncio_test
async def test_the_worker_keeps_the_call_while_op_4_waits_in_the_rate_limiter() -> None:
    gateway = Gateway()
    holds: list[None] = []
    rejoin = rejoin_of(
        gateway,
        patience_s=0.02,
        hold=lambda: holds.append(None),
        needless=lambda: True,
        leave_first=False,
        session_id="new",
    )
    running = asyncio.create_task(rejoin.run(lambda: 10))
    await until(lambda: len(holds) > 5)
    assert gateway.asked == []
    # What comes now cannot be missed by a timeout: the answer is there before it is waited for.
    gateway.servers, gateway.has_server = 1, True
    rejoin.on_state("old")
    assert rejoin.awaits_state
    rejoin.on_state("new")
    held = len(holds)
    for _ in range(3):
        await asyncio.wait([running], timeout=0.02)
    assert len(holds) == held, "what the answer has begun is not undone"
    gateway.let_through.set()
    await running
    assert gateway.asked == [10]
    assert rejoin.phase is Phase.JOINED


@asyncio_test
async def test_a_state_while_leaving_is_that_of_a_move() -> None:
    gateway = Gateway()
    rejoin = rejoin_of(gateway, patience_s=60)
    channel = 10
    assert not rejoin.explains_leave
    running = asyncio.create_task(rejoin.run(lambda: channel))
    await until(lambda: rejoin.voids_server)
    rejoin.on_state("any")
    assert (rejoin.voids_server, rejoin.explains_leave) == (True, True)
    channel = 20
    gateway.let_through.set()
    await until(lambda: gateway.asked == [None])
    gateway.state = SimpleNamespace(channel_id=None)
    await until(lambda: gateway.asked == [None, 20])
    assert (rejoin.awaits_state, rejoin.voids_server) == (True, False)
    gateway.servers, gateway.has_server = 1, True
    rejoin.on_state("any")
    await running


@asyncio_test
async def test_credentials_that_came_before_the_leave_make_it_needless() -> None:
    gateway = Gateway()
    gateway.let_through.set()
    holds: list[None] = []
    rejoin = rejoin_of(gateway, needless=lambda: True, hold=lambda: holds.append(None))
    await rejoin.run(lambda: 10)
    assert (gateway.asked, holds) == ([], [])


@asyncio_test
async def test_a_shard_that_does_not_come_back_is_an_end() -> None:
    gateway = Gateway()
    gateway.shard_connected = False
    rejoin = rejoin_of(gateway, patience_s=0.01)
    with pytest.raises(JoinError, match="guild 1, channel 10: Discord did not answer"):
        await rejoin.run(lambda: 10)
    assert gateway.asked == []
