"""`EventRouter`: one listener a bot for each kind of event, each event to those whom it concerns."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import hikari

from tests.fakes.hikari_bot import stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import VoiceConnection
from voicepool.hikari.router import EventRouter
from voicepool.testing.fake_discord import FakeDiscord


class Manager:
    def __init__(self) -> None:
        self.listeners: dict[type, Any] = {}

    def subscribe(self, kind: type, listener: Any) -> None:
        assert kind not in self.listeners
        self.listeners[kind] = listener

    def unsubscribe(self, kind: type, listener: Any) -> None:
        assert self.listeners.pop(kind) == listener


class Ear:
    def __init__(self, guild_id: int, shard_id: int = 0) -> None:
        self.guild_id, self.shard_id = guild_id, shard_id
        self.heard: list[Any] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def on_state(self, event: Any) -> None:
        await self.hold.wait()
        self.heard.append(event.state)

    async def on_server(self, event: Any) -> None:
        self.heard.append(event.endpoint)

    def on_ready(self, session_id: str) -> None:
        self.heard.append(session_id)

    def on_resumed(self) -> None:
        self.heard.append("resumed")

    def on_stopping(self) -> None:
        self.heard.append("stopping")


def bot() -> Any:
    return SimpleNamespace(event_manager=Manager())


@asyncio_test
async def test_each_event_goes_to_those_whom_it_concerns() -> None:
    some_bot = bot()
    here, also_here, elsewhere = Ear(1), Ear(1), Ear(2, shard_id=1)
    router = EventRouter.add(some_bot, here)
    assert EventRouter.add(some_bot, also_here) is router
    assert EventRouter.add(some_bot, elsewhere) is router
    say = some_bot.event_manager.listeners
    here.hold.clear()
    slow = asyncio.create_task(
        say[hikari.VoiceStateUpdateEvent](SimpleNamespace(guild_id=1, state="state of 1"))
    )
    await until(lambda: also_here.heard)
    assert not slow.done(), "who is slow holds up nobody else"
    here.hold.set()
    await slow
    await say[hikari.VoiceStateUpdateEvent](SimpleNamespace(guild_id=3, state="nobody's"))
    await say[hikari.VoiceServerUpdateEvent](SimpleNamespace(guild_id=2, endpoint="server of 2"))
    shard = SimpleNamespace(id=1)
    await say[hikari.ShardReadyEvent](SimpleNamespace(shard=shard, session_id="session of 1"))
    await say[hikari.ShardResumedEvent](SimpleNamespace(shard=shard))
    await say[hikari.StoppingEvent](None)
    assert here.heard == also_here.heard == ["state of 1", "stopping"]
    assert elsewhere.heard == ["server of 2", "session of 1", "resumed", "stopping"]
    for ear in (elsewhere, here, also_here):
        router.remove(ear)
    assert some_bot.event_manager.listeners == {}


@asyncio_test
async def test_bots_do_not_share_and_nothing_is_kept() -> None:
    one, other = bot(), bot()
    before = dict(EventRouter._ROUTERS)
    mine, theirs = Ear(1), Ear(1)
    routers = EventRouter.add(one, mine), EventRouter.add(other, theirs)
    assert routers[0] is not routers[1]
    await one.event_manager.listeners[hikari.StoppingEvent](None)
    assert (mine.heard, theirs.heard) == (["stopping"], [])
    routers[0].remove(mine)
    routers[1].remove(theirs)
    assert before == EventRouter._ROUTERS
    again = EventRouter.add(one, mine)
    assert hikari.ShardReadyEvent in one.event_manager.listeners
    again.remove(mine)


@asyncio_test
async def test_a_real_bot_has_one_listener_however_many_calls() -> None:
    async with stage(FakeDiscord.with_guilds(3)) as on:
        manager = cast("Any", on.bot.event_manager)
        before = len(manager.get_listeners(hikari.VoiceServerUpdateEvent))
        voices = [
            await on.bot.voice.connect_to(
                hikari.Snowflake(guild.id),
                hikari.Snowflake(guild.voice_channels[0].id),
                VoiceConnection,
                pool=on.pool,
            )
            for guild in on.fake.guilds
        ]
        # Ours, and the component's own for all voice events.
        assert len(manager.get_listeners(hikari.VoiceServerUpdateEvent, polymorphic=False)) == before + 1
        for voice in voices:
            await voice.disconnect()
        assert len(manager.get_listeners(hikari.VoiceServerUpdateEvent, polymorphic=False)) == before
