"""Where the bot sends its connection, and asking to speak there: in a real bot against the stand-in.

Moves that meet a rejoin are in ``test_rejoining.py``.
"""

from __future__ import annotations

import hikari
import pytest

import voicepool
from tests.fakes.hikari_bot import stage
from tests.fakes.running import asyncio_test
from voicepool import JoinError
from voicepool.hikari import moving
from voicepool.ipc.commands import OpenCall
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.guild_model import Permission


@asyncio_test
async def test_a_move_without_an_answer_times_out_and_stays() -> None:
    async with stage() as on:
        voice = await on.join()
        with on.fake.withhold("VOICE_STATE_UPDATE"), pytest.raises(JoinError) as caught:
            await voice.move(on.place(1), timeout_s=0.1)
        assert caught.value.reason == "timeout"
        assert voice.is_alive


@asyncio_test
async def test_a_move_without_another_server_keeps_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_SERVER_GRACE_S", 0.05)
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_SERVER_UPDATE")
        await voice.move(on.place(1))
        held.discard()
        assert voice.channel_id == on.place(1)
        assert len(on.worker.heard(OpenCall)) == 1


@asyncio_test
async def test_what_hikari_joined_moves_as_well() -> None:
    async with stage() as on:
        plain = await on.join_by_component()
        assert plain.bot is on.bot
        await plain.move(on.place(1))
        assert (plain.connected, plain.channel_id) == (True, on.place(1))
        await plain.disconnect()
        with pytest.raises(voicepool.CallGoneError):
            await plain.move(on.place(1))
        with pytest.raises(TypeError, match="bot= is int"):
            await on.join_by_component(bot=1)


@asyncio_test
async def test_a_stage_is_asked_for_the_right_to_speak() -> None:
    async with stage() as on:
        where = on.guild.stage_channels[0].id
        voice = await voicepool.connect(on.bot, on.guild.id, where, pool=on.pool)
        assert voice.suppressed
        await voice.request_to_speak()
        state = on.fake.voice_state(on.guild.id, on.fake.bot_user_id)
        assert state is not None
        assert state.suppress
        assert state.request_to_speak_timestamp is not None
        await voice.move(on.place())
        assert not voice.suppressed
        with pytest.raises(JoinError, match="no stage channel"):
            await voice.request_to_speak()
        await voice.disconnect()
        with pytest.raises(voicepool.CallGoneError):
            await voice.request_to_speak()


@asyncio_test
async def test_a_stage_that_does_not_let_ask_says_so() -> None:
    fake = FakeDiscord()
    fake.guilds[0].everyone.permissions &= ~Permission.REQUEST_TO_SPEAK
    async with stage(fake) as on:
        where = hikari.Snowflake(on.guild.stage_channels[0].id)
        voice = await voicepool.connect(on.bot, hikari.Snowflake(on.guild.id), where, pool=on.pool)
        with pytest.raises(JoinError, match="lacks Request to Speak") as caught:
            await voice.request_to_speak()
        assert caught.value.reason == "permission"


@asyncio_test
async def test_a_moderator_of_a_stage_speaks_without_asking() -> None:
    fake = FakeDiscord()
    fake.guilds[0].everyone.permissions |= Permission.MUTE_MEMBERS
    async with stage(fake) as on:
        where = hikari.Snowflake(on.guild.stage_channels[0].id)
        voice = await voicepool.connect(on.bot, hikari.Snowflake(on.guild.id), where, pool=on.pool)
        await voice.request_to_speak()
        state = on.fake.voice_state(on.guild.id, on.fake.bot_user_id)
        assert state is not None
        assert (state.suppress, state.request_to_speak_timestamp) == (False, None)
        assert not voice.suppressed
