"""What runs on behalf of connections is seen to the end; the rest is seen through the pool."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from voicepool._calls.switchboard import Switchboard
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, PoolNotStartedError


@asyncio_test
async def test_it_waits_for_what_was_spawned_and_what_that_spawned() -> None:
    board = Switchboard(PoolConfig())
    done: list[str] = []

    async def second() -> None:
        done.append("second")

    async def first() -> None:
        await asyncio.sleep(0)
        board.spawn(second(), name="second")
        done.append("first")

    board.spawn(first(), name="first")
    await board.finish(600.0)
    assert done == ["first", "second"]


@asyncio_test
async def test_what_does_not_end_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    board = Switchboard(PoolConfig())
    task = board.spawn(asyncio.sleep(600), name="farewell of guild 5")
    await board.finish(0.01)
    assert task.cancelled()
    assert "1 things do not end in order: voicepool farewell of guild 5" in caplog.text


@asyncio_test
async def test_a_cancelled_finish_cancels_what_is_left() -> None:
    board = Switchboard(PoolConfig())
    task = board.spawn(asyncio.sleep(600), name="x")
    finishing = asyncio.create_task(board.finish(600.0))
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert task.cancelled()


@asyncio_test
async def test_what_refuses_to_be_cancelled_does_not_hold_the_end_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    board = Switchboard(PoolConfig())
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = board.spawn(stubborn(), name="mule")
    await board.finish(0.01)
    assert not task.done()
    assert "left behind, since they refuse to be cancelled: voicepool mule" in caplog.text
    release.set()
    await task


@asyncio_test
async def test_who_ends_it_is_not_waited_for() -> None:
    board = Switchboard(PoolConfig())
    done: list[str] = []

    async def listener() -> None:
        board.close()
        await board.finish(600.0)
        done.append("finished")

    async def other() -> None:
        await asyncio.sleep(0)
        done.append("other")

    task = board.spawn(listener(), name="listener")
    board.spawn(other(), name="other")
    await task
    assert done == ["other", "finished"]


@asyncio_test
async def test_without_workers_it_says_why() -> None:
    board = Switchboard(PoolConfig())
    with pytest.raises(PoolNotStartedError):
        _ = board.fleet
    board.close()
    with pytest.raises(PoolClosedError):
        _ = board.fleet
