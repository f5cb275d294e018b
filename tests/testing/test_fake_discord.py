from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from tests.testing.gateway_client import in_loop, log_in
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_voice import NowhereVoiceServer, Op4Outcome
from voicepool.testing.guild_model import BotUser, User, make_guild

if TYPE_CHECKING:
    from tests.testing.gateway_client import GatewayClient


async def join(fake: FakeDiscord, client: GatewayClient) -> None:
    guild = fake.guilds[0]
    await client.send(4, {"guild_id": str(guild.id), "channel_id": str(guild.voice_channels[0].id)})
    await client.dispatch("VOICE_SERVER_UPDATE")


@in_loop
async def test_addresses_exist_only_while_it_runs() -> None:
    fake = FakeDiscord()
    with pytest.raises(RuntimeError, match="async with"):
        _ = fake.rest_url
    async with fake:
        assert fake.rest_url.startswith("http://127.0.0.1:")
        assert fake.rest_url.endswith("/api/v10")
        assert fake.gateway_url.startswith("ws://127.0.0.1:")
        with pytest.raises(RuntimeError, match="already"):
            await fake.start()
    await fake.close()
    assert "not started" in repr(fake)


@in_loop
async def test_a_port_that_is_taken_is_an_error_that_leaves_nothing_behind() -> None:
    async with FakeDiscord() as fake:
        port = int(fake.gateway_url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(OSError, match="address already in use"):
            await FakeDiscord(port=port).start()


def test_bots_and_guilds_are_as_given() -> None:
    first, second = BotUser(name="a"), BotUser(name="b")
    guild = make_guild("g")
    fake = FakeDiscord(guilds=[guild], bots=[first, second])
    assert fake.bots == (first, second)
    assert fake.bot is first
    assert (fake.token, fake.bot_user_id) == (first.token, first.id)
    assert fake.guilds == (guild,)
    assert FakeDiscord(bot=second).bots == (second,)
    with pytest.raises(TypeError, match="not both"):
        FakeDiscord(bot=first, bots=[second])
    with pytest.raises(ValueError, match="at least one bot"):
        FakeDiscord(bots=[])


def test_with_guilds_makes_as_many_as_asked_for() -> None:
    fake = FakeDiscord.with_guilds(8, voice_channels=3, stage_channels=0)
    assert [guild.name for guild in fake.guilds] == [f"guild-{index}" for index in range(8)]
    for guild in fake.guilds:
        counts = [len(kind) for kind in (guild.text_channels, guild.voice_channels, guild.stage_channels)]
        assert counts == [1, 3, 0]


@in_loop
async def test_people_come_and_go_and_bots_hear_of_it() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        voice, other = guild.voice_channels
        state = await fake.join_voice(guild.id, voice.id, User(name="listener"))
        await fake.move_member(guild.id, state.user_id, other.id)
        await fake.kick_voice(guild.id, state.user_id)
        events = [await client.dispatch("VOICE_STATE_UPDATE") for _ in range(3)]
        assert [event["channel_id"] for event in events] == [str(voice.id), str(other.id), None]
        assert {event["member"]["user"]["username"] for event in events} == {"listener"}
        await fake.join_voice(guild.id, voice.id, state.user_id)
        assert fake.voice_state(guild.id, state.user_id) is not None


@in_loop
async def test_mistakes_of_the_test_are_errors_that_name_the_way_out() -> None:
    async with FakeDiscord() as fake:
        guild = fake.guilds[0]
        voice = guild.voice_channels[0]
        with pytest.raises(LookupError, match="not in voice"):
            await fake.kick_voice(guild.id, fake.bot_user_id)
        with pytest.raises(LookupError, match="no guild"):
            await fake.change_voice_server(1, None)
        with pytest.raises(LookupError, match="no voice channel"):
            await fake.join_voice(guild.id, guild.text_channels[0].id)
        with pytest.raises(LookupError, match="no member"):
            await fake.join_voice(guild.id, voice.id, 1)
        with pytest.raises(TypeError, match="joins by op 4"):
            await fake.join_voice(guild.id, voice.id, fake.bot)
        with pytest.raises(LookupError, match="no channel"):
            await fake.post_message(1, guild.owner, "hello")
        state = await fake.join_voice(guild.id, voice.id)
        with pytest.raises(LookupError, match="no voice channel"):
            await fake.move_member(guild.id, state.user_id, 1)


@in_loop
async def test_waiting_for_a_voice_state() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        voice = guild.voice_channels[0]
        waiting = asyncio.create_task(fake.wait_for_voice_state(guild.id, fake.bot_user_id, voice.id))
        await join(fake, client)
        state = await waiting
        assert state is not None
        assert state.channel_id == voice.id
        with pytest.raises(TimeoutError, match=f"the channel is {voice.id}"):
            await fake.wait_for_voice_state(guild.id, fake.bot_user_id, None, timeout_s=0.0)
        with pytest.raises(TimeoutError, match="the end of the world"):
            await fake.wait_until(lambda: False, what="the end of the world", timeout_s=0.0)


@in_loop
async def test_op_4_is_logged_with_its_outcome() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        await join(fake, client)
        await client.send(4, {"guild_id": "1", "channel_id": "2"})
        await fake.wait_until(lambda: len(fake.op4_log) == 2)
        assert [entry.outcome for entry in fake.op4_log] == [
            Op4Outcome.JOINED,
            Op4Outcome.REFUSED_UNKNOWN_GUILD,
        ]


@in_loop
async def test_a_region_move_can_go_over_a_null_endpoint() -> None:
    servers = [NowhereVoiceServer(f"127.0.0.1:{port}") for port in (1, 2)]
    async with FakeDiscord(voice_servers=servers) as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        await join(fake, client)
        await fake.change_voice_server(guild.id, servers[1], null_first=True)
        await fake.change_voice_server(guild.id, None)
        await fake.change_voice_server(guild.id, "127.0.0.1:1")
        await fake.change_voice_server(guild.id, "elsewhere:443")
        updates = [await client.dispatch("VOICE_SERVER_UPDATE") for _ in range(5)]
        assert [update["endpoint"] for update in updates] == [
            None,
            "127.0.0.1:2",
            None,
            "127.0.0.1:1",
            "elsewhere:443",
        ]
        assert len({update["token"] for update in updates}) == 5


@in_loop
async def test_events_can_be_withheld() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        with fake.withhold("VOICE_STATE_UPDATE", guild_id=guild.id, user_id=fake.bot_user_id) as held:
            await client.send(4, {"guild_id": guild.id, "channel_id": guild.voice_channels[0].id})
            assert "VOICE_STATE_UPDATE" not in await client.names_until("VOICE_SERVER_UPDATE")
            assert len(held) == 1
        assert (await client.dispatch("VOICE_STATE_UPDATE"))["user_id"] == str(fake.bot_user_id)


@in_loop
async def test_dropping_can_be_for_one_bot_or_one_shard() -> None:
    bots = [BotUser(name="a"), BotUser(name="b")]
    async with (
        FakeDiscord(bots=bots) as fake,
        log_in(fake, bots[0], shard=(0, 2)) as (zero, _),
        log_in(fake, bots[0], shard=(1, 2)) as (one, _),
        log_in(fake, bots[1]) as (other, _),
    ):
        await fake.drop_gateway(user_id=bots[0].id, shard_id=1)
        assert await one.close_code() == 4000
        assert [session.connected for session in fake.sessions] == [True, False, True]
        await fake.drop_gateway(user_id=bots[1].id, resume=False)
        while (payload := await other.receive())["op"] != 9:
            pass
        assert payload["d"] is False
        assert await other.close_code() == 4000
        assert [session.bot.name for session in fake.sessions] == ["a", "a"]
        await zero.flush()


@in_loop
async def test_a_lost_session_is_out_of_voice() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        await join(fake, client)
        await fake.drop_gateway(resume=False)
        assert fake.voice_state(fake.guilds[0].id, fake.bot_user_id) is None


@in_loop
async def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeDiscord() as fake, log_in(fake) as (client, ready):
        await join(fake, client)
        state = fake.voice_state(fake.guilds[0].id, fake.bot_user_id)
        await client.send(2, {"token": fake.token, "intents": 0})
        await client.close_code()
        shown = " ".join(
            [repr(fake), repr(fake.bots), repr(fake.sessions), repr(state), repr(fake.op4_log)]
            + [repr(fake.violations), repr(fake.guilds)]
            + [record.getMessage() for record in caplog.records if record.name.startswith("voicepool")]
        )
        assert "op 4 of bot" in shown
        assert fake.token not in shown
        assert ready["session_id"] not in shown


@in_loop
async def test_a_deleted_channel_is_told_before_those_who_have_left_it() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        await join(fake, client)
        guild = fake.guilds[0]
        channel = guild.voice_channels[0]
        with pytest.raises(LookupError, match="no channel 7"):
            await fake.delete_channel(guild.id, 7)
        await fake.delete_channel(guild.id, channel.id)
        assert (await client.dispatch("CHANNEL_DELETE"))["id"] == str(channel.id)
        state = await client.dispatch("VOICE_STATE_UPDATE")
        assert (state["user_id"], state["channel_id"]) == (str(fake.bot_user_id), None)
        await fake.delete_channel(guild.id, guild.text_channels[0].id)
        assert (await client.dispatch("CHANNEL_DELETE"))["type"] == 0


@in_loop
async def test_a_full_channel_is_told_and_holds() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        channel = guild.voice_channels[0]
        await fake.join_voice(guild.id, channel.id)
        await fake.set_user_limit(guild.id, channel.id, 1)
        assert (await client.dispatch("CHANNEL_UPDATE"))["user_limit"] == 1
        await client.send(4, {"guild_id": str(guild.id), "channel_id": str(channel.id)})
        await fake.wait_until(lambda: len(fake.op4_log) == 1)
        assert fake.op4_log[0].outcome is Op4Outcome.REFUSED_FULL
        await fake.set_user_limit(guild.id, channel.id, 0)
        await join(fake, client)
        with pytest.raises(ValueError, match="or more, not -1"):
            await fake.set_user_limit(guild.id, channel.id, -1)
        with pytest.raises(LookupError):
            await fake.set_user_limit(guild.id, guild.text_channels[0].id, 1)
