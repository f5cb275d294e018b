"""End-to-end encrypted calls with others in them: our audio stays decipherable while they come and go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, likeness
from tests.integration.test_discord_py import wake_socket_reader
from tests.testing.discord_py_client import SAFETY_S, discord, running_client
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoiceCredentials, VoicePool
from voicepool.testing import CertificateAuthority, DiscordVoiceServer, FakeDiscord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from voicepool.connection import BaseVoiceConnection
    from voicepool.testing import VoiceSession

GUILD, CHANNEL = 100, 101
OUR_BOT, OTHER_BOT = 42, 43
ROUNDS = 10
FRAMES_BETWEEN = 10
"""Longer than packets and messages of before take to arrive on loopback."""


@asynccontextmanager
async def pool_for(server: DiscordVoiceServer) -> AsyncIterator[VoicePool]:
    async with VoicePool(PoolConfig(workers=1, ca_file=server.ca_file)) as pool:
        yield pool


async def join(
    pool: VoicePool, server: DiscordVoiceServer, user: int, *, guild: int = GUILD, channel: int = CHANNEL
) -> tuple[BaseVoiceConnection, VoiceSession]:
    grant = server.grant(guild_id=guild, channel_id=channel, user_id=user)
    connection = await pool.connect(
        VoiceCredentials(
            guild_id=guild,
            channel_id=channel,
            user_id=user,
            session_id=grant.session_id,
            endpoint=grant.endpoint,
            token=grant.token,
        )
    )
    return connection, await server.wait_for_session(guild, user)


async def hear_more(session: VoiceSession) -> None:
    await session.wait_for_packets(session.packets + FRAMES_BETWEEN, timeout_s=SAFETY_S)


async def regrouped(session: VoiceSession, *, after_epoch: int) -> None:
    await session.wait_until(lambda session: session.dave_epoch > after_epoch, timeout_s=SAFETY_S)


async def code_in_common(
    session: VoiceSession, voice: BaseVoiceConnection, guest: discord.VoiceClient
) -> str:
    def agree() -> bool:
        encryption = voice.encryption
        code = None if encryption is None else encryption.privacy_code
        return code is not None and code == guest.voice_privacy_code

    await session.wait_until(lambda _: agree(), timeout_s=SAFETY_S)
    return str(guest.voice_privacy_code)


def assert_all_decrypted(session: VoiceSession) -> None:
    report = session.report()
    assert (report.dave_protocol_version, report.dave_failures, report.dave_plaintext) == (1, 0, 0)
    assert report.frames_kept == report.frames + report.silence_frames
    assert_nothing_lost(session)


@asyncio_test
async def test_discord_py_joins_and_leaves_our_call_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    with CertificateAuthority() as authority:
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        async with (
            DiscordVoiceServer(authority=authority) as server,
            FakeDiscord(voice_servers=[server]) as fake,
            pool_for(server) as pool,
            running_client(fake, monkeypatch, connector=connector) as client,
        ):
            guild = fake.guilds[0]
            channel = client.get_channel(guild.voice_channels[0].id)
            assert isinstance(channel, discord.VoiceChannel)
            voice, ours = await join(pool, server, OUR_BOT, guild=guild.id, channel=channel.id)
            task = voice.play_no_wait(encode("flac", "flac", seconds=60.0))
            await hear_more(ours)
            codes = set()
            for _ in range(ROUNDS):
                epoch = ours.dave_epoch
                guest: discord.VoiceClient = await channel.connect(timeout=SAFETY_S, reconnect=False)
                theirs = await server.wait_for_session(guild.id, fake.bot_user_id)
                await theirs.wait_until(lambda session: session.dave_transitions > 0, timeout_s=SAFETY_S)
                wake_socket_reader(server, theirs)
                await hear_more(ours)
                assert ours.dave_epoch == theirs.dave_epoch > epoch
                codes.add(await code_in_common(ours, voice, guest))
                await guest.disconnect()
                await theirs.wait_closed(timeout_s=SAFETY_S)
                await regrouped(ours, after_epoch=theirs.dave_epoch)
                await hear_more(ours)
                assert theirs.report().violations == ()
            await voice.stop()
            await task
            await ours.wait_until(lambda session: session.report().silence_frames >= 5, timeout_s=SAFETY_S)
            assert len(codes) == ROUNDS
            assert ours.report().frames >= 2 * ROUNDS * FRAMES_BETWEEN
            assert likeness(ours, seconds=2.0) > 0.98
            assert_all_decrypted(ours)
            assert not server.violations
            assert fake.violations == ()


@asyncio_test
async def test_two_of_our_bots_in_one_call_are_both_heard() -> None:
    async with DiscordVoiceServer() as server, pool_for(server) as one, pool_for(server) as other:
        first, heard_first = await join(one, server, OUR_BOT)
        playing = first.play_no_wait(encode("flac", "flac"))
        await hear_more(heard_first)
        second, heard_second = await join(other, server, OTHER_BOT)
        await asyncio.gather(playing, second.play(encode("flac", "flac")))
        assert first.encryption == second.encryption
        assert first.encryption is not None
        assert first.encryption.privacy_code is not None
        for session in (heard_first, heard_second):
            await session.wait_until(lambda session: session.report().silence_frames >= 5, timeout_s=SAFETY_S)
            assert session.report().frames == 100
            assert likeness(session) > 0.98
            assert_all_decrypted(session)
        assert heard_first.dave_epoch == heard_second.dave_epoch > 1
        assert not server.violations
