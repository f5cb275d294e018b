"""Ends: of many connections at once with their bot, and of joins that collide or are cut short."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import hikari
import pytest
from hikari.impl.voice import VoiceComponentImpl

from tests.fakes.hikari_bot import Stage, stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import CallGoneError, JoinError, VoiceConnection
from voicepool.errors import AuthenticationError
from voicepool.ipc.commands import CloseCall, OpenCall
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.testing.fake_discord import FakeDiscord

GUILDS, SHARDS = 500, 5


async def join_all(on: Stage, **more: Any) -> list[VoiceConnection]:
    return list(
        await asyncio.gather(
            *(
                on.bot.voice.connect_to(
                    hikari.Snowflake(guild.id),
                    hikari.Snowflake(guild.voice_channels[0].id),
                    VoiceConnection,
                    pool=on.pool,
                    timeout=None,
                    **more,
                )
                for guild in on.fake.guilds
            )
        )
    )


@asyncio_test
async def test_a_bot_with_500_connections_closes_without_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[VoiceConnection] = []
    on_close = VoiceComponentImpl._on_connection_close

    async def counted(component: VoiceComponentImpl, connection: Any) -> None:
        ends.append(connection)
        await on_close(component, connection)

    monkeypatch.setattr(VoiceComponentImpl, "_on_connection_close", counted)
    # The joins use up most of what each shard may send in a minute: few leaves get through.
    async with stage(FakeDiscord.with_guilds(GUILDS), shards=SHARDS) as on:
        voices = await join_all(on)
        assert len(on.bot.voice.connections) == GUILDS
        assert max(shard.id for shard in on.bot.shards.values()) == SHARDS - 1
        await on.bot.close()
        assert not any(voice.is_alive for voice in voices)
        assert sorted(map(id, ends)) == sorted(map(id, voices)), "each told the component once"
        assert not on.bot.voice.connections
        assert not on.bot.voice.is_alive
        assert on.pool.connections == ()
        assert on.worker.open_calls == {}
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@asyncio_test
async def test_joins_of_one_guild_at_one_moment_share_a_connection() -> None:
    async with stage() as on:
        first, second, third = await asyncio.gather(
            on.join_by_component(), on.join_by_component(), on.join_by_component(1)
        )
        assert first is second is third
        assert on.bot.voice.connections[first.guild_id] is first
        await until(lambda: first.connected and first.channel_id == on.place(1))
        await on.bot_is_in(1)
        assert on.pool.connections == (first,)
        await first.disconnect()
        assert not on.bot.voice.connections
        await on.bot_is_in(None)


@asyncio_test
async def test_a_join_by_hikari_and_one_of_ours_share_a_connection() -> None:
    async with stage() as on:
        ours, theirs = await asyncio.gather(on.join(), on.join_by_component())
        assert ours is theirs
        assert (ours.connected, ours.registered) == (True, True)
        await ours.disconnect()
        first, second = await asyncio.gather(on.join_by_component(1), on.join(0))
        assert first is second
        assert (first.connected, first.channel_id) == (True, on.place(0))
        await on.bot_is_in(0)


@asyncio_test
async def test_a_cancelled_join_by_hikari_leaves_the_channel() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join_by_component())
        await on.worker.hear(OpenCall)
        await on.bot_is_in(0)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await on.bot_is_in(None)
        await on.worker.hear(CloseCall)
        assert on.pool.connections == ()
        assert not on.bot.voice.connections


@asyncio_test
async def test_a_kick_during_a_join_by_hikari_fails_it() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join_by_component())
        await on.worker.hear(OpenCall)
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        with pytest.raises(JoinError) as caught:
            await joining
        assert caught.value.reason == "removed"
        assert not on.bot.voice.connections


@asyncio_test
async def test_a_move_during_a_join_by_hikari_is_followed() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join_by_component())
        await on.worker.hear(OpenCall)
        on.worker.silent_about.clear()
        await on.fake.move_member(on.guild.id, on.fake.bot_user_id, on.place(1))
        voice = await joining
        assert (voice.connected, voice.channel_id) == (True, on.place(1))


@asyncio_test
async def test_a_deleted_channel_is_the_end() -> None:
    async with stage() as on:
        voice = await on.join()
        await on.fake.delete_channel(on.guild.id, on.place())
        await voice.join()
        assert not voice.is_alive
        assert not on.bot.voice.connections


@asyncio_test
async def test_a_failed_initialize_never_tells_the_component(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as on:
        told: list[Any] = []

        async def on_close(_component: VoiceComponentImpl, connection: Any) -> None:
            told.append(connection)

        monkeypatch.setattr(VoiceComponentImpl, "_on_connection_close", on_close)
        on.worker.refusals[OpenCall] = ErrorInfo(code=ErrorCode.AUTHENTICATION, text="wrong token")
        for join in (on.join, on.join_by_component):
            with pytest.raises(AuthenticationError):
                await join()
        assert told == []


@asyncio_test
async def test_an_end_while_the_gateway_is_down_leaves_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as on:
        voice = await on.join()
        gateway = on.bot.shards[voice.shard_id]
        await on.fake.drop_gateway()
        await until(lambda: not gateway.is_connected)
        await voice.disconnect()
        assert not gateway.is_connected, "it is not waited for"
        assert not on.bot.voice.connections
        assert "did not leave the channel" in caplog.text
        with pytest.raises(CallGoneError):
            await voice.move(on.place(1))
        await on.bot_is_in(None)
        assert (await on.join()).connected
