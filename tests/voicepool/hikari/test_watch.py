"""`VoiceWatch`: only the bot's own voice in one guild, the newest of each, and an end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import hikari
import pytest
from hikari.impl.voice import VoiceComponentImpl

from tests.fakes.hikari_bot import bot_of
from tests.fakes.pool import credentials
from tests.fakes.running import asyncio_test
from voicepool.errors import JoinError
from voicepool.hikari.watch import VoiceWatch, bot_behind
from voicepool.testing.fake_discord import FakeDiscord


class Events:
    def __init__(self) -> None:
        self.listeners: dict[type, Any] = {}

    def subscribe(self, kind: type, listener: Any) -> None:
        self.listeners[kind] = listener

    def unsubscribe(self, kind: type, listener: Any) -> None:
        assert self.listeners.pop(kind) == listener

    async def say_state(self, channel: int | None, *, guild: int = 1, user: int = 7) -> None:
        inner = SimpleNamespace(
            channel_id=channel,
            user_id=user,
            session_id=f"session-{channel}",
            is_self_deafened=True,
            is_self_muted=False,
        )
        await self.listeners[hikari.VoiceStateUpdateEvent](SimpleNamespace(guild_id=guild, state=inner))

    async def say_server(self, endpoint: str | None, guild: int = 1) -> None:
        event = SimpleNamespace(guild_id=guild, endpoint=endpoint, token=f"token-{endpoint}")
        await self.listeners[hikari.VoiceServerUpdateEvent](event)


def watch(cached: Any = None) -> tuple[VoiceWatch, Events]:
    events = Events()
    cache = SimpleNamespace(get_voice_state=lambda _guild, _user: cached)
    bot = SimpleNamespace(event_manager=events, cache=cache, shards={})
    return VoiceWatch(cast("Any", bot), 1, 7, 0), events


@asyncio_test
async def test_a_join_is_the_newest_of_both_halves() -> None:
    here, events = watch()
    await events.say_state(4, user=8)
    await events.say_state(4, guild=2)
    await events.say_server("elsewhere", guild=2)
    assert (here.state, here.server) == (None, None)
    await events.say_state(None)
    joining = asyncio.create_task(here.newest(credentials(), 60))
    await events.say_server(None)
    await events.say_server("here")
    await asyncio.sleep(0)
    assert not joining.done(), "that was the state of a leave"
    await events.say_state(5)
    found = await joining
    assert (found.channel_id, found.session_id) == (5, "session-5")
    assert (found.endpoint, found.token) == ("here", "token-here")
    assert here.place == (5, True, False)
    here.close()


@asyncio_test
async def test_a_watch_that_began_too_late_believes_the_cache() -> None:
    here, _ = watch(SimpleNamespace(channel_id=6, session_id="fresh"))
    found = await here.newest(credentials(session_id="of the leave before"), 0)
    assert (found.channel_id, found.session_id) == (6, "fresh")
    assert (found.endpoint, found.token) == (credentials().endpoint, credentials().token)
    here.close()
    without, _ = watch()
    assert await without.newest(credentials(), 0) == credentials()
    without.close()


@asyncio_test
async def test_a_join_that_does_not_come_is_a_timeout() -> None:
    here, events = watch()
    await events.say_state(5)
    with pytest.raises(JoinError, match="guild 1, channel 10: Discord did not answer"):
        await here.newest(credentials(), 0)
    here.close()


@asyncio_test
async def test_closing_twice_ends_every_subscription_once() -> None:
    here, events = watch()
    assert hikari.VoiceStateUpdateEvent in events.listeners
    here.close()
    here.close()
    assert events.listeners == {}


@asyncio_test
async def test_without_a_shard_nothing_can_be_told() -> None:
    here, _ = watch()
    assert not here.shard_connected
    here.close()


@asyncio_test
async def test_hikari_cancelling_who_waits_is_no_cancellation() -> None:
    here, _ = watch()

    async def cancelled_by_the_rate_limiter(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    here.bot.update_voice_state = cancelled_by_the_rate_limiter  # type: ignore[method-assign]
    with pytest.raises(JoinError) as caught:
        await here.ask(5)
    assert caught.value.reason == "bot"

    async def forever(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    here.bot.update_voice_state = forever  # type: ignore[method-assign]
    asking = asyncio.create_task(here.ask(5))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    here.close()


@asyncio_test
async def test_hikari_still_keeps_the_bot_where_it_is_looked_for() -> None:
    """When this fails, connections of ``connect_to`` know their bot only from the first event on."""
    async with FakeDiscord() as discord:
        bot = bot_of(discord)
        assert bot_behind(bot.voice) is bot
        assert bot_behind(VoiceComponentImpl(bot)) is None, "it is not that bot's component"
        assert bot_behind(cast("Any", SimpleNamespace(_app=7))) is None
        assert bot_behind(cast("Any", object())) is None
