"""A listener before an example bot: what is written in the chat, and the tones that are heard.

Music is a tone here. So what a bot does to it can be told from how loud which tone is in the last moments
that the stand-in received: which song plays, how loud, how fast, and what is mixed with what.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

import hikari
import numpy as np

from tests.fakes.hikari_bot import bot_of, started
from tests.workers.audio.media_files import wav
from voicepool import PoolConfig, VoicePool
from voicepool.testing import CertificateAuthority, DiscordVoiceServer, FakeDiscord, User, VoiceSession
from voicepool.testing.guild_model import Guild
from voicepool.testing.voice_audio import decode_packets
from voicepool.testing.voice_session_view import SessionState

ENDED: Final = SessionState.ENDED
RATE_HZ: Final = 48_000
TONE_DB: Final = -12.0
"""How loud each tone is in its file, relative to full scale."""
_WINDOW_FRAMES: Final = 8
_WARM_UP_FRAMES: Final = 4
"""A decoder that begins in the middle is not sure of its first frames."""
_STEADY_FRAMES: Final = 6
_PATIENCE_S: Final = 20.0

Level: TypeAlias = Callable[[float], float]
"""How loud a frequency is now, in dB relative to full scale."""
Build: TypeAlias = Callable[[ModuleType, hikari.GatewayBot, VoicePool], object]
"""Makes the example's bot."""


def load(name: str) -> ModuleType:
    """Load an example as it is run: from its file."""
    file = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tone(hz: float, *, seconds: float) -> bytes:
    """Return a WAV file of one tone, stereo."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = 32_767 * 10 ** (TONE_DB / 20) * np.sin(2 * np.pi * hz * time_s)
    return wav(np.repeat(wave.astype(np.int16)[:, np.newaxis], 2, axis=1))


@dataclass
class Hall:
    """One guild with a listener in its first voice channel, a bot, and the voice servers."""

    discord: FakeDiscord
    servers: list[DiscordVoiceServer]
    guild: Guild
    listener: User
    bot: hikari.GatewayBot

    async def write(self, text: str) -> None:
        """Have the listener write something."""
        await self.discord.post_message(self.guild.text_channels[0].id, self.listener, text)

    async def answered(self, part: str) -> str:
        """Wait until the bot has said something with that in it; return the last such thing."""

        def found() -> list[str]:
            return [
                message.content
                for message in self.discord.messages
                if message.author.id == self.discord.bot_user_id and part in message.content
            ]

        await self.discord.wait_until(lambda: bool(found()), what=f"{part!r} from the bot")
        return found()[-1]

    async def session(self, guild: Guild | None = None, *, after: VoiceSession | None = None) -> VoiceSession:
        """Wait until the bot is in a call, on whichever server; after an older session, in another one."""
        place = (guild or self.guild).id

        def found(server: DiscordVoiceServer) -> VoiceSession | None:
            session = server.session(place)
            return None if session is after or session is None or session.state is ENDED else session

        async with asyncio.timeout(_PATIENCE_S):
            waits = {
                asyncio.ensure_future(server.wait_until(lambda here: found(here) is not None, timeout_s=None))
                for server in self.servers
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.wait(waits)
        return next(session for session in map(found, self.servers) if session is not None)


async def hears(session: VoiceSession, what: Callable[[Level], bool]) -> None:
    """Wait until something is heard for a while: on each of several packets in a row, not in passing."""
    steady, seen = 0, session.packets
    last: dict[float, float] = {}

    def level(hz: float) -> float:
        last[hz] = _level_db(session, hz)
        return last[hz]

    def holds(_: VoiceSession) -> bool:
        nonlocal steady, seen
        if session.packets > seen:
            seen = session.packets
            steady = steady + 1 if what(level) else 0
        return steady >= _STEADY_FRAMES

    try:
        await session.wait_until(holds, timeout_s=_PATIENCE_S)
    except TimeoutError as error:
        heard = ", ".join(f"{hz:g} Hz at {db:.1f} dB" for hz, db in last.items())
        raise AssertionError(f"heard at the end: {heard or 'nothing'}") from error


def near(db: float, wanted_db: float, *, within_db: float = 1.0) -> bool:
    """Whether a tone is as loud as wanted."""
    return abs(db - wanted_db) < within_db


def _level_db(session: VoiceSession, hz: float) -> float:
    frames = list(itertools.islice(reversed(session.media.kept), _WINDOW_FRAMES + _WARM_UP_FRAMES))
    if len(frames) < _WINDOW_FRAMES + _WARM_UP_FRAMES:
        return -np.inf
    heard = decode_packets(frames)[-_WINDOW_FRAMES * 960 :, 0] / 32_768
    window = np.hanning(len(heard))
    turning = np.exp(-2j * np.pi * hz * np.arange(len(heard)) / RATE_HZ)
    amplitude = 2 * abs(np.sum(heard * window * turning)) / np.sum(window)
    return float(20 * np.log10(max(amplitude, 1e-9)))


@contextlib.asynccontextmanager
async def hall(example: str, build: Build, *, guilds: int = 1, servers: int = 1) -> AsyncIterator[Hall]:
    """Run an example's bot on the stand-ins."""
    async with contextlib.AsyncExitStack() as stack:
        authority = stack.enter_context(CertificateAuthority())
        places = [
            await stack.enter_async_context(DiscordVoiceServer(authority=authority)) for _ in range(servers)
        ]
        discord = await stack.enter_async_context(FakeDiscord.with_guilds(guilds, voice_servers=places))
        listener = User(name="listener")
        for guild in discord.guilds:
            await discord.join_voice(guild.id, guild.voice_channels[0].id, listener)
        bot = bot_of(discord, hikari.Intents.ALL)
        build(load(example), bot, VoicePool(PoolConfig(workers=1, ca_file=authority.ca_file)))
        await stack.enter_async_context(started(bot, discord))
        yield Hall(discord, places, discord.guilds[0], listener, bot)
