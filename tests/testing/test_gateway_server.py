from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from tests.testing.gateway_client import gateway_client, in_loop, log_in
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_protocol import CloseCode, Intents
from voicepool.testing.guild_model import BotUser, User, make_guild


@in_loop
async def test_ready_is_followed_by_each_guild_of_the_shard() -> None:
    async with FakeDiscord.with_guilds(6) as fake:
        seen: list[str] = []
        for index in range(2):
            async with log_in(fake, shard=(index, 2)) as (client, ready):
                assert ready["shard"] == [index, 2]
                mine = [guild["id"] for guild in ready["guilds"]]
                created = [(await client.dispatch("GUILD_CREATE"))["id"] for _ in mine]
                assert created == mine
                assert all((int(guild_id) >> 22) % 2 == index for guild_id in mine)
                seen += mine
        assert sorted(seen) == sorted(str(guild.id) for guild in fake.guilds)


@in_loop
async def test_without_the_guilds_intent_there_is_no_guild_create() -> None:
    async with (
        FakeDiscord() as fake,
        log_in(fake, intents=int(Intents.GUILD_VOICE_STATES)) as (client, ready),
    ):
        assert len(ready["guilds"]) == 1
        assert await client.flush() == []


@in_loop
async def test_members_are_sent_on_request() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        guild = fake.guilds[0]
        guild.add_member(User(name="someone"))
        await client.send(8, {"guild_id": guild.id, "query": "", "limit": 0, "nonce": "n"})
        chunk = await client.dispatch("GUILD_MEMBERS_CHUNK")
        assert {member["user"]["username"] for member in chunk["members"]} == {
            "owner",
            "someone",
            "voice-bot",
        }
        assert chunk["nonce"] == "n"


@in_loop
async def test_all_members_without_the_intent_are_refused_and_recorded() -> None:
    async with FakeDiscord() as fake, log_in(fake, intents=1) as (client, _):
        guild = fake.guilds[0]
        await client.dispatch("GUILD_CREATE")
        await client.send(8, {"guild_id": guild.id, "query": "", "limit": 0})
        await client.send(8, {"guild_id": "1", "query": "", "limit": 0})
        assert await client.flush() == []
        (violation,) = fake.violations
        assert violation.close_code is None
        await client.send(8, {"guild_id": guild.id, "user_ids": [str(fake.bot_user_id)]})
        assert len((await client.dispatch("GUILD_MEMBERS_CHUNK"))["members"]) == 1


@in_loop
async def test_a_session_dies_when_it_is_not_resumed_in_time() -> None:
    async with FakeDiscord(resume_window_s=0.0, bots=[BotUser(name="a"), BotUser(name="b")]) as fake:
        guild = fake.guilds[0]
        watcher_bot = fake.bots[1]
        async with log_in(fake, watcher_bot) as (watcher, _):
            async with log_in(fake) as (client, ready):
                await client.send(4, {"guild_id": guild.id, "channel_id": guild.voice_channels[0].id})
                await client.dispatch("VOICE_SERVER_UPDATE")
                await client.socket.close(3000)
            await fake.wait_for_voice_state(guild.id, fake.bot_user_id, None)
            assert (await watcher.dispatch("VOICE_STATE_UPDATE"))["channel_id"] is not None
            assert (await watcher.dispatch("VOICE_STATE_UPDATE"))["channel_id"] is None
        async with gateway_client(fake) as client:
            await client.send(6, {"token": fake.token, "session_id": ready["session_id"], "seq": 1})
            assert (await client.receive())["op"] == 9


@in_loop
async def test_a_resume_in_time_keeps_the_bot_in_voice() -> None:
    async with FakeDiscord(resume_window_s=3600.0) as fake:
        guild = fake.guilds[0]
        async with log_in(fake) as (client, ready):
            await client.send(4, {"guild_id": guild.id, "channel_id": guild.voice_channels[0].id})
            await client.dispatch("VOICE_SERVER_UPDATE")
            await client.socket.close(3000)
        async with gateway_client(fake) as client:
            await client.send(6, {"token": fake.token, "session_id": ready["session_id"], "seq": 1})
            await client.dispatch("RESUMED")
            assert fake.voice_state(guild.id, fake.bot_user_id) is not None
            assert not fake._gateway._expiries, "the time to resume in still runs"


@in_loop
async def test_closing_says_goodbye_to_everyone() -> None:
    fake = FakeDiscord(guilds=[make_guild("g")])
    await fake.start()
    async with log_in(fake) as (client, _):
        await fake.close()
        assert await client.close_code() == CloseCode.GOING_AWAY
    assert fake.sessions == ()


@in_loop
async def test_nobody_gets_in_while_it_closes() -> None:
    async with FakeDiscord() as fake:
        await fake._gateway.close()
        with pytest.raises(InvalidStatus) as caught:
            async with gateway_client(fake):
                pass
        assert caught.value.response.status_code == 503
