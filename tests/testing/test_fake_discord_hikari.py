"""A real, unmodified hikari bot against FakeDiscord."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import hikari
import pytest

from tests.testing.gateway_client import in_loop
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_voice import Op4Outcome
from voicepool.testing.guild_model import BotUser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SAFETY_S = 15.0


class RecordingConnection(hikari.api.VoiceConnection):
    """Writes down what hikari gives it, and leaves by on_close as the interface asks."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.events: asyncio.Queue[hikari.VoiceEvent] = asyncio.Queue()
        self._alive = True

    @classmethod
    async def initialize(
        cls,
        channel_id: hikari.Snowflake,
        endpoint: str,
        guild_id: hikari.Snowflake,
        on_close: Callable[[Self], Awaitable[None]],
        owner: hikari.api.VoiceComponent,
        session_id: str,
        shard_id: int,
        token: str,
        user_id: hikari.Snowflake,
        **kwargs: Any,
    ) -> Self:
        return cls(
            {
                "channel_id": channel_id,
                "endpoint": endpoint,
                "guild_id": guild_id,
                "on_close": on_close,
                "owner": owner,
                "session_id": session_id,
                "shard_id": shard_id,
                "token": token,
                "user_id": user_id,
                **kwargs,
            }
        )

    @property
    def channel_id(self) -> hikari.Snowflake:
        return hikari.Snowflake(self.arguments["channel_id"])

    @property
    def guild_id(self) -> hikari.Snowflake:
        return hikari.Snowflake(self.arguments["guild_id"])

    @property
    def is_alive(self) -> bool:
        return self._alive

    @property
    def shard_id(self) -> int:
        return int(self.arguments["shard_id"])

    @property
    def owner(self) -> Any:
        return self.arguments["owner"]

    async def disconnect(self) -> None:
        if self._alive:
            self._alive = False
            await self.arguments["on_close"](self)

    async def join(self) -> None:
        raise NotImplementedError

    async def notify(self, event: hikari.VoiceEvent) -> None:
        self.events.put_nowait(event)

    async def next_event(self) -> Any:
        return await asyncio.wait_for(self.events.get(), SAFETY_S)


@asynccontextmanager
async def running_bot(fake: FakeDiscord, bot_user: BotUser | None = None) -> AsyncIterator[hikari.GatewayBot]:
    token = (bot_user or fake.bot).token
    bot = hikari.GatewayBot(
        token, rest_url=fake.rest_url, banner=None, logs=None, suppress_optimization_warning=True
    )
    seen = asyncio.Semaphore(0)

    async def on_guild(_event: hikari.GuildAvailableEvent) -> None:
        seen.release()

    bot.event_manager.subscribe(hikari.GuildAvailableEvent, on_guild)
    await bot.start(check_for_updates=False)
    try:
        for _ in fake.guilds:
            await asyncio.wait_for(seen.acquire(), SAFETY_S)
        yield bot
    finally:
        await bot.close()


async def reconnected(bot: hikari.GatewayBot, event: type[hikari.Event]) -> None:
    await bot.event_manager.wait_for(event, timeout=SAFETY_S)


@in_loop
async def test_it_starts_and_sees_its_guilds() -> None:
    async with FakeDiscord.with_guilds(8) as fake:
        async with running_bot(fake) as bot:
            assert set(bot.cache.get_guilds_view()) == {guild.id for guild in fake.guilds}
            for guild in fake.guilds:
                cached = bot.cache.get_guild(guild.id)
                assert cached is not None
                assert set(cached.get_channels()) == set(guild.channels)
                assert cached.get_my_member() is not None
            (session,) = fake.sessions
            assert int(session.intents) == int(hikari.Intents.ALL_UNPRIVILEGED)
        await fake.wait_until(lambda: not fake.sessions)
        assert fake.violations == ()
        assert fake.unknown_requests == ()


@in_loop
async def test_it_joins_by_connect_to_and_leaves_by_on_close() -> None:
    async with FakeDiscord.with_guilds(2) as fake, running_bot(fake) as bot:
        guild = fake.guilds[1]
        channel = guild.voice_channels[0]
        connection = await bot.voice.connect_to(guild.id, channel.id, RecordingConnection)
        (session,) = fake.sessions
        arguments = connection.arguments
        assert (arguments["guild_id"], arguments["channel_id"]) == (guild.id, channel.id)
        assert arguments["user_id"] == fake.bot_user_id
        assert arguments["session_id"] == session.session_id
        assert arguments["endpoint"] == "wss://voice.invalid:443"
        assert arguments["token"]
        await bot.voice.disconnect(guild.id)
        await fake.wait_for_voice_state(guild.id, fake.bot_user_id, None)
        assert [entry.outcome for entry in fake.op4_log] == [Op4Outcome.JOINED, Op4Outcome.LEFT]


@in_loop
async def test_move_region_and_kick_reach_notify() -> None:
    async with FakeDiscord() as fake, running_bot(fake) as bot:
        guild = fake.guilds[0]
        first, second = guild.voice_channels
        connection = await bot.voice.connect_to(guild.id, first.id, RecordingConnection)
        await fake.move_member(guild.id, fake.bot_user_id, second.id)
        state = await connection.next_event()
        assert (state.state.channel_id, state.state.user_id) == (second.id, fake.bot_user_id)
        server = await connection.next_event()
        assert server.token != connection.arguments["token"]
        await fake.change_voice_server(guild.id, "127.0.0.1:7", null_first=True)
        assert (await connection.next_event()).endpoint is None
        assert (await connection.next_event()).endpoint == "wss://127.0.0.1:7"
        listener = await fake.join_voice(guild.id, second.id)
        assert (await connection.next_event()).state.user_id == listener.user_id
        await fake.kick_voice(guild.id, fake.bot_user_id)
        assert (await connection.next_event()).state.channel_id is None
        await connection.disconnect()
        assert not bot.voice.connections


@in_loop
async def test_a_full_channel_is_a_timeout() -> None:
    async with FakeDiscord() as fake, running_bot(fake) as bot:
        guild = fake.guilds[0]
        channel = guild.voice_channels[0]
        channel.user_limit = 1
        await fake.join_voice(guild.id, channel.id)
        with pytest.raises(hikari.VoiceError):
            await bot.voice.connect_to(guild.id, channel.id, RecordingConnection, timeout=1)
        assert [entry.outcome for entry in fake.op4_log] == [Op4Outcome.REFUSED_FULL]


@in_loop
async def test_a_dropped_gateway_is_resumed_and_replayed() -> None:
    async with FakeDiscord() as fake, running_bot(fake) as bot:
        guild = fake.guilds[0]
        connection = await bot.voice.connect_to(guild.id, guild.voice_channels[0].id, RecordingConnection)
        back = asyncio.create_task(reconnected(bot, hikari.ShardResumedEvent))
        await fake.drop_gateway()
        await fake.kick_voice(guild.id, fake.bot_user_id)
        await back
        assert (await connection.next_event()).state.channel_id is None
        assert fake.sessions[0].resumes == 1
        assert fake.violations == ()


@in_loop
async def test_a_lost_session_means_a_second_ready() -> None:
    async with FakeDiscord() as fake, running_bot(fake) as bot:
        (first,) = fake.sessions
        back = asyncio.create_task(reconnected(bot, hikari.ShardReadyEvent))
        await fake.drop_gateway(resume=False)
        await back
        (second,) = fake.sessions
        assert second.session_id != first.session_id
        assert fake.violations == ()


@in_loop
async def test_two_bots_in_one_call_hear_of_each_other() -> None:
    first, second = BotUser(name="first"), BotUser(name="second")
    async with (
        FakeDiscord(bots=[first, second]) as fake,
        running_bot(fake, first) as one,
        running_bot(fake, second) as two,
    ):
        guild = fake.guilds[0]
        channel = guild.voice_channels[0]
        mine = await one.voice.connect_to(guild.id, channel.id, RecordingConnection)
        theirs = await two.voice.connect_to(guild.id, channel.id, RecordingConnection)
        assert (await mine.next_event()).state.user_id == second.id
        assert mine.arguments["token"] != theirs.arguments["token"]
        assert mine.arguments["session_id"] != theirs.arguments["session_id"]
        for bot in fake.bots:
            state = fake.voice_state(guild.id, bot.id)
            assert state is not None
            assert state.channel_id == channel.id


@in_loop
async def test_rest_calls_of_a_voice_bot() -> None:
    async with FakeDiscord() as fake, running_bot(fake) as bot:
        guild = fake.guilds[0]
        podium, text = guild.stage_channels[0], guild.text_channels[0]
        assert (await bot.rest.fetch_my_user()).id == fake.bot_user_id
        assert (await bot.rest.fetch_application()).id == fake.bot_user_id
        assert (await bot.rest.fetch_guild(guild.id)).name == guild.name
        assert {channel.id for channel in await bot.rest.fetch_guild_channels(guild.id)} == set(
            guild.channels
        )
        channel = await bot.rest.fetch_channel(podium.id)
        assert isinstance(channel, hikari.GuildStageChannel)
        assert (await bot.rest.fetch_member(guild.id, guild.owner.id)).username == "owner"
        assert [one.id async for one in bot.rest.fetch_my_guilds()] == [guild.id]
        await bot.rest.create_message(text.id, "now playing", attachment=hikari.Bytes(b"x", "x.txt"))
        await bot.update_voice_state(guild.id, podium.id)
        await fake.wait_for_voice_state(guild.id, fake.bot_user_id, podium.id)
        state = await bot.rest.fetch_my_voice_state(guild.id)
        assert state.is_suppressed
        wish = hikari.internal.time.utc_datetime()
        await bot.rest.edit_my_voice_state(guild.id, podium.id, request_to_speak=wish)
        assert (await bot.rest.fetch_my_voice_state(guild.id)).requested_to_speak_at is not None
        with pytest.raises(hikari.ForbiddenError):
            await bot.rest.edit_my_voice_state(guild.id, podium.id, suppress=False)
        (message,) = fake.messages
        assert (message.content, message.attachments[0].filename) == ("now playing", "x.txt")
        assert fake.unknown_requests == ()


@in_loop
async def test_a_wrong_token_is_refused_at_once() -> None:
    async with FakeDiscord() as fake:
        bot = hikari.GatewayBot(
            BotUser(name="stranger").token,
            rest_url=fake.rest_url,
            banner=None,
            logs=None,
            suppress_optimization_warning=True,
        )
        with pytest.raises(hikari.UnauthorizedError):
            await bot.start(check_for_updates=False)
        if bot.is_alive:
            await bot.close()
