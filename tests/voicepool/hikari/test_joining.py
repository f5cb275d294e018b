"""`voicepool.connect` and what becomes of a join, in a real bot against the stand-in."""

from __future__ import annotations

import asyncio

import hikari
import pytest

import voicepool
from tests.fakes.hikari_bot import Stage, stage
from tests.fakes.pool import pool_of, until
from tests.fakes.running import asyncio_test
from voicepool import JoinError
from voicepool.hikari import connection as adapter
from voicepool.hikari import farewell, joining
from voicepool.ipc.commands import OpenCall
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_voice import Op4Outcome
from voicepool.testing.guild_model import Overwrite, Permission


def outcomes(on: Stage) -> list[Op4Outcome]:
    return [entry.outcome for entry in on.fake.op4_log]


async def refused(on: Stage, channel: int, reason: str) -> str:
    said = len(on.fake.op4_log)
    with pytest.raises(JoinError) as caught:
        await voicepool.connect(on.bot, on.guild.id, channel, pool=on.pool, timeout_s=0.2)
    assert caught.value.reason == reason
    assert f"guild {on.guild.id}, channel {channel}: " in str(caught.value)
    assert len(on.fake.op4_log) == said, "what cannot succeed is not tried"
    return str(caught.value)


@asyncio_test
async def test_it_joins_with_the_flags_and_leaves() -> None:
    async with stage() as on:
        voice = await on.join(deaf=True)
        assert on.bot.voice.connections[voice.guild_id] is voice
        assert (voice.connected, voice.channel_id) == (True, on.place())
        [op4] = on.fake.op4_log
        assert (op4.self_deaf, op4.self_mute) == (True, False)
        await voice.disconnect()
        await on.bot_is_in(None)
        assert not on.bot.voice.connections
        assert (await on.join()).is_alive


@asyncio_test
async def test_it_may_say_which_station_the_call_is_going_to_hear() -> None:
    station = voicepool.Station("lofi", "lofi.ogg")
    async with stage() as on:
        guild, channel = on.guild.id, on.place()
        voice = await voicepool.connect(on.bot, guild, channel, pool=on.pool, station=station)
        assert voice.station == "lofi"
        await voice.disconnect()
        await on.bot_is_in(None)
        kind = voicepool.VoiceConnection
        voice = await on.bot.voice.connect_to(guild, channel, kind, pool=on.pool, station="jazz")
        assert voice.station == "jazz"
        with pytest.raises(TypeError, match="a Station or its name, not int"):
            await voicepool.connect(on.bot, guild, channel, pool=on.pool, station=7)  # type: ignore[arg-type]


@asyncio_test
async def test_the_same_channel_gives_the_same_connection_and_another_moves_it() -> None:
    async with stage() as on:
        first = await on.join()
        assert await on.join() is first
        assert len(on.fake.op4_log) == 1
        assert await on.join(mute=True) is first
        assert on.fake.op4_log[-1].self_mute
        assert await on.join(1, mute=True) is first
        assert (first.connected, first.channel_id) == (True, on.place(1))
        assert outcomes(on) == [Op4Outcome.JOINED, Op4Outcome.UPDATED, Op4Outcome.MOVED]
        assert len(on.worker.heard(OpenCall)) == 2


@asyncio_test
async def test_two_at_once_share_one_connection() -> None:
    async with stage() as on:
        first, second = await asyncio.gather(on.join(0), on.join(1))
        assert first is second
        assert (first.connected, first.channel_id) == (True, on.place(1))
        assert len(joining._LOCKS) == 0


@asyncio_test
async def test_it_refuses_what_cannot_succeed_and_says_why() -> None:
    async with stage() as on:
        text_channel = on.guild.text_channels[0].id
        assert "neither a voice nor a stage channel" in await refused(on, text_channel, "channel")
        assert "no such channel" in await refused(on, 12345, "channel")


@asyncio_test
async def test_it_says_full_and_missing_permissions() -> None:
    fake = FakeDiscord()
    full, closed = fake.guilds[0].voice_channels
    full.user_limit = 1
    closed.overwrites.append(Overwrite(target_id=fake.guilds[0].id, is_role=True, deny=Permission.CONNECT))
    async with stage(fake) as on:
        await on.fake.join_voice(on.guild.id, full.id)
        await until(lambda: on.bot.cache.get_voice_states_view_for_channel(on.guild.id, full.id))
        assert "1 of 1 places are taken" in await refused(on, full.id, "full")
        assert "lacks Connect there" in await refused(on, closed.id, "permission")


@asyncio_test
async def test_a_bot_that_does_not_run_and_a_wrong_pool_are_told() -> None:
    async with stage() as on:
        with pytest.raises(TypeError, match="pool= is dict, not a VoicePool"):
            await voicepool.connect(on.bot, on.guild.id, on.place(), pool={})  # type: ignore[arg-type]
        await on.join()
        other, _ = pool_of()
        with pytest.raises(JoinError, match="another pool") as caught:
            await voicepool.connect(on.bot, on.guild.id, on.place(), pool=other)
        assert caught.value.reason == "occupied"
        await other.close()
        await on.bot.close()
        await refused(on, on.place(), "bot")


@asyncio_test
async def test_a_join_without_an_answer_is_tried_again_after_a_leave() -> None:
    async with stage() as on:
        held = on.fake.withhold("VOICE_SERVER_UPDATE")
        joining = asyncio.create_task(on.join(timeout_s=1.0))
        await on.fake.wait_until(lambda: Op4Outcome.LEFT in outcomes(on))
        held.discard()
        voice = await joining
        assert voice.connected
        assert outcomes(on) == [Op4Outcome.JOINED, Op4Outcome.LEFT, Op4Outcome.JOINED]


@asyncio_test
async def test_a_join_that_is_never_answered_leaves_and_times_out() -> None:
    async with stage() as on:
        with on.fake.withhold("VOICE_SERVER_UPDATE"), pytest.raises(JoinError) as caught:
            await on.join(timeout_s=0.1)
        assert caught.value.reason == "timeout"
        await on.bot_is_in(None)
        assert not on.bot.voice.connections
        assert on.pool.connections == ()


@asyncio_test
async def test_a_channel_that_is_full_without_the_cache_knowing_times_out_and_leaves_nothing() -> None:
    async with stage() as on:
        await on.fake.join_voice(on.guild.id, on.place())
        on.guild.voice_channels[0].user_limit = 1
        with pytest.raises(JoinError) as caught:
            await on.join(timeout_s=0.1)
        assert caught.value.reason == "timeout"
        twice = [Op4Outcome.REFUSED_FULL, Op4Outcome.IGNORED_NOT_IN_VOICE] * 2
        await on.fake.wait_until(lambda: outcomes(on) == twice)
        assert not on.bot.voice.connections


@asyncio_test
async def test_a_second_join_by_hikari_is_hikaris_to_refuse_and_harms_nothing() -> None:
    async with stage() as on:
        voice = await on.join()
        with pytest.raises(hikari.VoiceError, match="Already in a voice channel"):
            await on.join_by_component(1)
        assert (voice.connected, voice.channel_id) == (True, on.place())
        assert len(on.fake.op4_log) == 1


@asyncio_test
async def test_a_cancelled_join_leaves() -> None:
    async with stage() as on:
        with on.fake.withhold("VOICE_SERVER_UPDATE"):
            joining = asyncio.create_task(on.join())
            await on.bot_is_in(0)
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            await on.bot_is_in(None)
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join())
        await on.worker.hear(OpenCall)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await on.bot_is_in(None)
        assert on.pool.connections == ()


@asyncio_test
async def test_a_server_that_comes_during_initialize_is_not_lost() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join())
        await on.worker.hear(OpenCall)
        on.worker.silent_about.clear()
        await on.fake.change_voice_server(on.guild.id, "other.example:2048", null_first=True)
        voice = await joining
        assert voice.connected
        assert on.worker.heard(OpenCall)[-1].credentials.endpoint == "wss://other.example:2048"


@asyncio_test
async def test_a_kick_during_initialize_fails_the_join() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join())
        await on.worker.hear(OpenCall)
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        with pytest.raises(JoinError) as caught:
            await joining
        assert caught.value.reason == "removed"
        assert not on.bot.voice.connections
        on.worker.silent_about.clear()
        assert (await on.join()).connected


@asyncio_test
async def test_a_first_server_without_endpoint_is_waited_out() -> None:
    async with stage() as on:
        await on.fake.change_voice_server(on.guild.id, None)
        joining = asyncio.create_task(on.join())
        await on.bot_is_in(0)
        await on.fake.change_voice_server(on.guild.id, "late.example:443")
        assert (await joining).connected
        assert on.worker.heard(OpenCall)[-1].credentials.endpoint == "wss://late.example:443"


@asyncio_test
async def test_a_bot_that_the_component_does_not_tell_is_given_or_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "bot_behind", lambda _owner: None)
    async with stage() as on:
        given = await on.join_by_component(bot=on.bot)
        assert given.bot is on.bot
        await given.disconnect()
        learning = await on.join_by_component()
        assert learning.bot is None
        with pytest.raises(TypeError, match="move needs the bot"):
            await learning.move(on.place(1))
        await on.fake.move_member(on.guild.id, on.fake.bot_user_id, on.place(1))
        await until(lambda: learning.channel_id == on.place(1) and learning.connected)
        await learning.move(on.place(0))
        assert (learning.connected, learning.channel_id) == (True, on.place(0))


@asyncio_test
async def test_closing_the_bot_is_not_held_up_by_the_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "_FAREWELL_WHILE_STOPPING_S", 0.2)
    async with stage(FakeDiscord.with_guilds(70)) as on:
        await until(lambda: len(on.bot.cache.get_guilds_view()) == 70)
        voices = await asyncio.gather(
            *(
                voicepool.connect(on.bot, guild.id, guild.voice_channels[0].id, pool=on.pool)
                for guild in on.fake.guilds
            )
        )
        await on.bot.close()
        assert not any(voice.is_alive for voice in voices)
        assert not on.bot.voice.connections


@asyncio_test
async def test_closing_the_bot_during_a_join_leaves_nothing() -> None:
    async with stage() as on:
        on.worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(on.join())
        await on.worker.hear(OpenCall)
        await on.bot.close()
        with pytest.raises(JoinError):
            await joining
        assert on.pool.connections == ()


@asyncio_test
async def test_a_listener_of_the_bots_own_does_not_keep_the_component_from_closing() -> None:
    async with stage() as on:

        async def listener(_event: hikari.VoiceEvent) -> None:
            pass

        on.bot.event_manager.subscribe(hikari.VoiceEvent, listener)
        voice = await on.join()
        await voice.disconnect()
        await on.bot_is_in(None)
        voice = await on.join()
        await on.bot.close()
        assert not voice.is_alive
        assert not on.bot.voice.is_alive
