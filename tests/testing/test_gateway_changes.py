from __future__ import annotations

import asyncio

import pytest

from tests.testing.gateway_client import in_loop
from voicepool.testing.gateway_changes import Changes


@in_loop
async def test_waiters_look_again_after_each_change() -> None:
    changes, seen = Changes(), [0]
    waiter = asyncio.create_task(
        changes.wait_until(lambda: seen[0] == 2, timeout_s=10, describe=lambda: "two")
    )
    for count in (1, 2):
        await asyncio.sleep(0)
        assert not waiter.done()
        seen[0] = count
        changes.notify()
    await waiter


@in_loop
async def test_a_predicate_that_holds_already_does_not_wait() -> None:
    await Changes().wait_until(lambda: True, timeout_s=0.0, describe=lambda: "")


@in_loop
async def test_timeout_says_what_was_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"after 0 s still waiting for the moon"):
        await Changes().wait_until(lambda: False, timeout_s=0.0, describe=lambda: "the moon")
