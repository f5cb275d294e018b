"""`VoiceWatch`: only the bot's own voice in one guild, the newest of each, and an end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool._voice_watch import EventKinds, VoiceWatch
from voicepool.errors import JoinError

KINDS = EventKinds(bytes, str, int, float)
"""Stand for the four events."""


class Events:
    def __init__(self) -> None:
        self.listeners: dict[type, Any] = {}

    def subscribe(self, kind: type, listener: Any) -> None:
        self.listeners[kind] = listener

    def unsubscribe(self, kind: type, listener: Any) -> None:
        assert self.listeners.pop(kind) == listener


def watch() -> tuple[VoiceWatch, Events]:
    events = Events()
    return VoiceWatch(SimpleNamespace(event_manager=events), 1, 7, 0, KINDS), events


def state(channel: int | None, *, guild: int = 1, user: int = 7) -> Any:
    inner = SimpleNamespace(channel_id=channel, user_id=user, is_self_deafened=True, is_self_muted=False)
    return SimpleNamespace(guild_id=guild, state=inner)


def server(endpoint: str | None, guild: int = 1) -> Any:
    return SimpleNamespace(guild_id=guild, endpoint=endpoint)


@asyncio_test
async def test_a_join_is_the_newest_of_both_halves() -> None:
    here, events = watch()
    joining = asyncio.create_task(here.joined(5, 60))
    await events.listeners[KINDS.state](state(4, user=8))
    await events.listeners[KINDS.state](state(4, guild=2))
    await events.listeners[KINDS.server](server("elsewhere", guild=2))
    assert (here.state, here.server) == (None, None)
    await events.listeners[KINDS.state](state(None))
    await events.listeners[KINDS.server](server(None))
    await events.listeners[KINDS.server](server("here"))
    await asyncio.sleep(0)
    assert not joining.done(), "that was the state of a leave"
    await events.listeners[KINDS.state](state(5))
    found, where = await joining
    assert (found.channel_id, where.endpoint) == (5, "here")
    assert here.place == (5, True, False)
    here.close()


@asyncio_test
async def test_a_join_that_does_not_come_is_a_timeout() -> None:
    here, _ = watch()
    with pytest.raises(JoinError, match="guild 1, channel 5: Discord did not answer"):
        await here.joined(5, 0)
    here.close()


@asyncio_test
async def test_closing_twice_ends_every_subscription_once() -> None:
    here, events = watch()
    assert set(events.listeners) == set(KINDS)
    here.close()
    here.close()
    assert events.listeners == {}
