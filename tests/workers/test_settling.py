"""Futures that may be settled by several."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from voicepool.workers.settling import settle


@asyncio_test
async def test_the_first_result_counts() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settle(future, 1)
    settle(future, 2)
    assert await future == 1


@asyncio_test
async def test_it_is_too_late_for_one_that_was_cancelled_or_has_failed() -> None:
    cancelled: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    settle(cancelled, 1)
    assert cancelled.cancelled()
    failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    failed.set_exception(ValueError("broken"))
    settle(failed, 1)
    with pytest.raises(ValueError, match="broken"):
        await failed
