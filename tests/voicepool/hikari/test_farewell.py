"""A farewell that the component cannot carry out is made up for; nothing of it is the caller's failure."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import hikari
import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool.hikari import farewell
from voicepool.hikari.farewell import leave_later, tell_component
from voicepool.hikari.watch import VoiceWatch


class Watch:
    """As much of a watch as a farewell uses."""

    def __init__(self, *, stopping: bool = False, connected: bool = True) -> None:
        self.guild_id = 1
        self.stopping = stopping
        self.shard_connected = connected
        self.left = 0
        self.closed = 0

    async def until(self, condition: Any) -> None:
        await until(condition)

    async def leave(self) -> None:
        self.left += 1

    def close(self) -> None:
        self.closed += 1

    def as_watch(self) -> VoiceWatch:
        return cast("VoiceWatch", self)


async def nothing() -> None:
    pass


async def forever() -> None:
    await asyncio.Event().wait()


@asyncio_test
async def test_a_component_that_obeys_leaves_nothing_to_do() -> None:
    assert not await tell_component(nothing, Watch().as_watch(), 1)
    assert not await tell_component(nothing, None, 1)


@pytest.mark.parametrize(
    "error", [hikari.ComponentStateConflictError("shard is down"), ValueError("list.remove(x)")]
)
def test_a_component_that_fails_leaves_the_bot_behind(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell() -> None:
        raise error

    @asyncio_test
    async def scenario() -> None:
        assert await tell_component(tell, Watch().as_watch(), 1)
        assert "guild 1: hikari's voice component did not leave the channel" in caplog.text
        caplog.clear()
        assert not await tell_component(tell, Watch(stopping=True).as_watch(), 1)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    scenario()


@asyncio_test
async def test_a_component_that_hangs_is_not_waited_for_for_ever() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farewell, "_FAREWELL_S", 0.01)
        patch.setattr(farewell, "_FAREWELL_WHILE_STOPPING_S", 0.01)
        assert await tell_component(forever, Watch().as_watch(), 1)
        assert not await tell_component(forever, Watch(stopping=True).as_watch(), 1)


@asyncio_test
async def test_a_cancellation_is_not_swallowed() -> None:
    telling = asyncio.create_task(tell_component(forever, None, 1))
    await asyncio.sleep(0)
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling


@asyncio_test
async def test_the_late_leave_waits_for_the_shard() -> None:
    watch = Watch(connected=False)
    leaving = asyncio.create_task(leave_later(watch.as_watch(), lambda: True))
    await asyncio.sleep(0)
    assert (watch.left, watch.closed) == (0, 0)
    watch.shard_connected = True
    await leaving
    assert (watch.left, watch.closed) == (1, 1)


@asyncio_test
async def test_a_late_leave_that_is_not_wanted_any_more_is_left_out() -> None:
    rejoined, closing = Watch(), Watch(stopping=True, connected=False)
    await leave_later(rejoined.as_watch(), lambda: False)
    await leave_later(closing.as_watch(), lambda: True)
    assert (rejoined.left, rejoined.closed) == (closing.left, closing.closed) == (0, 1)


@asyncio_test
async def test_a_shard_that_stays_down_is_given_up() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farewell, "_SHARD_BACK_S", 0.01)
        watch = Watch(connected=False)
        await leave_later(watch.as_watch(), lambda: True)
        assert (watch.left, watch.closed) == (0, 1)
