"""What a connection does by itself when Discord moves the bot about: in a real bot against the stand-in.

Rejoins for the voice server's sake are in ``test_rejoining.py``.
"""

from __future__ import annotations

import asyncio

from tests.fakes.hikari_bot import stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import AuthenticationError, JoinError
from voicepool.ipc.commands import OpenCall, Play
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.testing.guild_model import Permission


@asyncio_test
async def test_a_kick_ends_it() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        playing = asyncio.create_task(voice.play("song.flac"))
        await on.worker.hear(Play)
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        await voice.join()
        await playing
        assert not voice.is_alive
        assert not on.bot.voice.connections
        assert (await on.join_by_component()).is_alive


@asyncio_test
async def test_a_move_is_followed() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        task = voice.play_no_wait("song.flac")
        await on.fake.move_member(on.guild.id, on.fake.bot_user_id, on.guild.voice_channels[1].id)
        _, moved = await on.worker.hear(OpenCall, 2)
        await until(lambda: voice.connected)
        assert voice.channel_id == on.guild.voice_channels[1].id
        assert moved.credentials.channel_id == on.guild.voice_channels[1].id
        assert moved.call == voice.call_id
        assert voice.playing
        await voice.stop()
        await task


@asyncio_test
async def test_another_voice_server_is_followed_and_a_null_one_waited_out() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        await on.fake.change_voice_server(on.guild.id, "other.example:2048", null_first=True)
        first, second = await on.worker.hear(OpenCall, 2)
        assert second.credentials.endpoint == "wss://other.example:2048"
        assert second.credentials.token != first.credentials.token
        assert (first.generation, second.generation) == (1, 2)
        await until(lambda: voice.connected)


@asyncio_test
async def test_other_users_are_none_of_its_business() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        listener = await on.fake.join_voice(on.guild.id, on.guild.voice_channels[0].id)
        await on.fake.move_member(on.guild.id, listener.user_id, on.guild.voice_channels[1].id)
        await on.fake.kick_voice(on.guild.id, listener.user_id)
        await on.fake.change_voice_server(on.guild.id, "other.example:2048")
        await on.worker.hear(OpenCall, 2)
        assert voice.is_alive
        assert voice.channel_id == on.guild.voice_channels[0].id


@asyncio_test
async def test_failing_to_follow_ends_it_and_leaves() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        on.worker.refusals[OpenCall] = ErrorInfo(code=ErrorCode.AUTHENTICATION, text="wrong token")
        await on.fake.change_voice_server(on.guild.id, "other.example:2048")
        await voice.join()
        assert isinstance(voice.error, AuthenticationError)
        assert not on.bot.voice.connections
        await on.bot_is_in(None)


@asyncio_test
async def test_a_new_gateway_session_rejoins() -> None:
    async with stage() as on:
        voice = await on.join(deaf=True)
        playing = voice.play_no_wait("song.flac")
        await on.worker.hear(Play)
        await on.fake.drop_gateway(resume=False)
        _, again = await on.worker.hear(OpenCall, 2)
        await until(lambda: voice.connected)
        assert again.credentials.session_id == on.fake.sessions[-1].session_id
        assert on.fake.op4_log[-1].self_deaf
        assert voice.playing
        await on.bot_is_in(0)
        await voice.stop()
        await playing


@asyncio_test
async def test_a_new_gateway_session_that_cannot_rejoin_ends_it() -> None:
    async with stage(server_wait_s=0.4) as on:
        voice = await on.join()
        on.guild.everyone.permissions = Permission(0)
        await on.fake.drop_gateway(resume=False)
        await voice.join()
        assert isinstance(voice.error, JoinError)
        assert not on.bot.voice.connections
