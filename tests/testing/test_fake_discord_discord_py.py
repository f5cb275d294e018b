"""A real, unmodified discord.py client against FakeDiscord."""

from __future__ import annotations

import asyncio

import pytest

from tests.testing.discord_py_client import SAFETY_S, discord, running_client
from tests.testing.gateway_client import in_loop
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_voice import Op4Outcome


@in_loop
async def test_it_logs_in_and_becomes_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord.with_guilds(3) as fake:
        async with running_client(fake, monkeypatch) as client:
            assert client.user is not None
            assert client.user.id == fake.bot_user_id
            assert {guild.id for guild in client.guilds} == {guild.id for guild in fake.guilds}
            seen = client.get_guild(fake.guilds[0].id)
            assert seen is not None
            assert {channel.id for channel in seen.channels} == set(fake.guilds[0].channels)
            assert {member.name for member in seen.members} == {"owner", "voice-bot"}
            assert seen.me.guild_permissions.connect
        # It says goodbye with 4000 and not with 1000, so that its session could be resumed.
        await fake.wait_until(lambda: not fake.sessions[0].connected)
        assert fake.violations == ()
        assert fake.unknown_requests == ()


@in_loop
async def test_it_reads_and_writes_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fake, running_client(fake, monkeypatch) as client:
        guild = fake.guilds[0]
        text = guild.text_channels[0]
        await fake.post_message(text.id, guild.owner, "!play")
        message = await asyncio.wait_for(client.heard.get(), SAFETY_S)
        assert (message.content, message.author.name) == ("!play", "owner")
        await message.channel.send("playing")
        assert [one.content for one in fake.messages] == ["!play", "playing"]


@in_loop
async def test_it_changes_its_voice_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fake, running_client(fake, monkeypatch) as client:
        guild = fake.guilds[0]
        seen = client.get_guild(guild.id)
        assert seen is not None
        # Numbers for ids, as discord.py sends them.
        await seen.change_voice_state(channel=seen.voice_channels[0], self_deaf=True)
        state = await fake.wait_for_voice_state(guild.id, fake.bot_user_id, seen.voice_channels[0].id)
        assert state is not None
        assert state.self_deaf
        await seen.change_voice_state(channel=None)
        await fake.wait_for_voice_state(guild.id, fake.bot_user_id, None)
        assert [entry.outcome for entry in fake.op4_log] == [Op4Outcome.JOINED, Op4Outcome.LEFT]


@in_loop
async def test_it_resumes_and_identifies_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fake, running_client(fake, monkeypatch) as client:
        await fake.drop_gateway()
        await asyncio.wait_for(client.resumes.acquire(), SAFETY_S)
        assert fake.sessions[0].resumes == 1
        await fake.drop_gateway(resume=False)
        await asyncio.wait_for(client.readies.acquire(), SAFETY_S)
        assert fake.sessions[0].resumes == 0
        assert fake.violations == ()


@in_loop
async def test_intents_that_are_not_switched_on_are_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fake:
        fake.bot.allows_privileged_intents = False
        with pytest.raises(discord.PrivilegedIntentsRequired):
            async with running_client(fake, monkeypatch):
                pass
        assert fake.violations[0].close_code == 4014
