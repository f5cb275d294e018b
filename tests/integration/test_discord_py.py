"""discord.py, a client that no one here wrote, joins and plays through both stand-ins.

It keeps the stand-ins honest: a rule of Discord's that they and our own worker misread alike would show here.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import av
import numpy as np

from tests.testing.discord_py_client import SAFETY_S, discord, running_client
from tests.testing.gateway_client import in_loop
from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_voice import Op4Outcome
from voicepool.testing.voice_server import DiscordVoiceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import numpy.typing as npt
    import pytest

    from voicepool.testing.voice_session import VoiceSession

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = 960
PLAYED_S = 5
FRAMES = PLAYED_S * SAMPLE_RATE_HZ // FRAME_SAMPLES
MODE = "aead_xchacha20_poly1305_rtpsize"
MAX_DELAY_SAMPLES = SAMPLE_RATE_HZ // 10
"""Opus looks ahead by a few milliseconds, so that what comes out is late; more than this would be a fault."""


def load_libopus() -> None:
    """Let discord.py encode: with the system's libopus, or else with the one that PyAV's wheel carries."""
    if discord.opus.is_loaded():
        return
    try:
        discord.opus.Encoder()
    except discord.opus.OpusNotLoaded:
        package = Path(av.__file__).parent
        bundled = [*package.parent.glob("av.libs/libopus*"), *package.glob(".dylibs/libopus*")]
        assert bundled, "neither the system nor PyAV's wheel has a libopus"
        discord.opus.load_opus(str(bundled[0]))


def sweep() -> npt.NDArray[np.float64]:
    """Five seconds of a tone that rises from 300 to 900 Hz: it is like itself at one delay only."""
    seconds = np.arange(PLAYED_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return 0.5 * np.sin(2 * np.pi * (300 * seconds + 60 * seconds**2))


def as_pcm(tone: npt.NDArray[np.float64]) -> io.BytesIO:
    samples = np.round(tone * 32767).astype("<i2")
    return io.BytesIO(np.repeat(samples, 2).tobytes())


def best_correlation(sent: npt.NDArray[np.float64], heard: npt.NDArray[np.float64]) -> float:
    """Correlate what was heard with what was sent, at the delay within reason that fits best."""
    length = len(sent) - MAX_DELAY_SAMPLES

    def at(delay: int) -> float:
        return float(np.corrcoef(sent[:length], heard[delay : delay + length])[0, 1])

    return max(at(delay) for delay in range(0, MAX_DELAY_SAMPLES, 4))


def wake_socket_reader(voice: DiscordVoiceServer, session: VoiceSession) -> None:
    # discord.py's reading thread sleeps in select for up to 30 s and a close does not wake it, but a datagram
    # does (for a bot in the wild: the voice of others). Else the check for threads left behind would fail.
    assert voice._udp is not None
    assert session.udp_address is not None
    voice._udp.send(b"\x80", session.udp_address)


@asynccontextmanager
async def discord_py_in_voice(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[FakeDiscord, DiscordVoiceServer, VoiceSession, discord.VoiceClient]]:
    """Start both stand-ins and a client, and have it join the first voice channel."""
    with CertificateAuthority() as authority:
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        async with (
            DiscordVoiceServer(authority=authority) as voice,
            FakeDiscord(voice_servers=[voice]) as fake,
            running_client(fake, monkeypatch, connector=connector) as client,
        ):
            guild = fake.guilds[0]
            channel = client.get_channel(guild.voice_channels[0].id)
            assert isinstance(channel, discord.VoiceChannel)
            connection: discord.VoiceClient = await channel.connect(timeout=SAFETY_S, reconnect=False)
            session = await voice.wait_for_session(guild.id, fake.bot_user_id)
            # Until it has keys, discord.py sends in the clear what nobody in an encrypted call will hear.
            await session.wait_until(lambda session: session.dave_transitions > 0)
            wake_socket_reader(voice, session)
            yield fake, voice, session, connection


@in_loop
async def test_discord_py_joins_and_plays_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    load_libopus()
    tone = sweep()
    async with discord_py_in_voice(monkeypatch) as (fake, voice, session, connection):
        loop, played = asyncio.get_running_loop(), asyncio.Event()
        errors: list[Exception | None] = []

        def after(error: Exception | None) -> None:
            errors.append(error)
            loop.call_soon_threadsafe(played.set)

        connection.play(discord.PCMAudio(as_pcm(tone)), after=after)
        await asyncio.wait_for(played.wait(), PLAYED_S + SAFETY_S)
        assert errors == [None]
        await session.wait_for_packets(FRAMES)
        await connection.disconnect()
        await fake.wait_for_voice_state(fake.guilds[0].id, fake.bot_user_id, None)

        report = session.report()
        assert report.mode == MODE
        assert report.frames == FRAMES
        assert report.sequence_gaps == report.duplicates == report.reordered == 0
        assert report.nonce_reuses == report.decrypt_failures == report.malformed_packets == 0
        assert report.violations == ()
        assert (report.dave_protocol_version, report.dave_epoch, report.dave_failures) == (1, 1, 0)
        assert not voice.violations
        assert fake.violations == ()
        assert [entry.outcome for entry in fake.op4_log] == [Op4Outcome.JOINED, Op4Outcome.LEFT]

        heard = (await asyncio.to_thread(session.pcm)).mean(axis=1) / 32767
        assert len(heard) >= FRAMES * FRAME_SAMPLES
        assert best_correlation(tone, heard) > 0.98


@in_loop
async def test_a_kick_ends_the_voice_session_with_4014(monkeypatch: pytest.MonkeyPatch) -> None:
    async with discord_py_in_voice(monkeypatch) as (fake, _, session, connection):
        await fake.kick_voice(fake.guilds[0].id, fake.bot_user_id)
        await session.wait_closed()
        assert session.report().close_code_sent == 4014
        await fake.wait_until(lambda: fake.op4_log[-1].outcome is Op4Outcome.IGNORED_NOT_IN_VOICE)
        assert not connection.is_connected()
