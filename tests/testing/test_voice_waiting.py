from __future__ import annotations

import asyncio

import pytest

from tests.testing.voice_client import run
from voicepool.testing.voice_waiting import Conditions


@run
async def test_waiters_go_on_when_their_own_predicate_holds() -> None:
    conditions, value = Conditions(), [0]
    first = asyncio.create_task(conditions.wait(lambda: value[0] >= 1, None, str))
    second = asyncio.create_task(conditions.wait(lambda: value[0] >= 2, None, str))
    await asyncio.sleep(0)
    value[0] = 1
    conditions.notify()
    await first
    assert not second.done()
    value[0] = 2
    conditions.notify()
    await second
    assert not conditions._waiting


@run
async def test_what_holds_already_needs_no_notice() -> None:
    await Conditions().wait(lambda: True, 0, str)


@run
async def test_timeout_tells_what_was_seen_instead() -> None:
    with pytest.raises(TimeoutError, match=r"saw nothing \(waited 0 s\)"):
        await Conditions().wait(lambda: False, 0, lambda: "saw nothing")


@run
async def test_an_error_in_the_predicate_reaches_its_waiter() -> None:
    conditions, broken = Conditions(), [False]

    def predicate() -> bool:
        return bool(broken[0] and 1 // 0)

    waiting = asyncio.create_task(conditions.wait(predicate, None, str))
    await asyncio.sleep(0)
    broken[0] = True
    conditions.notify()
    conditions.notify()
    with pytest.raises(ZeroDivisionError):
        await waiting


@run
async def test_a_cancelled_waiter_is_forgotten() -> None:
    conditions = Conditions()
    waiting = asyncio.create_task(conditions.wait(lambda: False, None, str))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not conditions._waiting
