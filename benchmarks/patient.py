"""A bot in a call, to which things are done: a real hikari bot on stand-ins of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import hikari

import voicepool
from voicepool.errors import VoicePoolError
from voicepool.pool import VoicePool
from voicepool.testing import CertificateAuthority, DiscordVoiceServer, FakeDiscord, VoiceSession
from voicepool.testing.gateway_voice import Op4Outcome
from voicepool.testing.voice_session_view import SessionState

__all__ = ["SONG_S", "Observed", "Patient", "admitted"]

SONG_S: Final = 3.0
HEARTBEAT_MS: Final = 500.0
_SERVERS: Final = 3
_FRAME_MS: Final = 20.0
_FRAMES: Final = round(SONG_S * 1_000 / _FRAME_MS)
_LEAVE_S: Final = 5.0
_WARM_UP: Final = 25
_PATIENCE_S: Final = 20.0
_HEARTBEAT_OP: Final = 3
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What there was to see, once the song was over or the call was.

    Attributes
    ----------
    sessions, resumes
        Voice sessions in which the bot was, and how often one of them was resumed.
    op4
        What became of the op 4 that the bot sent after the fault.
    sent
        Opcodes that the client sent because of the fault, heartbeats left out; ``main 4`` is the main
        gateway's.
    silent_ms, lost
        As in `benchmarks.outcomes.Outcome`.
    dave_version
        Of the last session.
    error
        What ended the call, or kept the bot from joining; None if neither happened.
    closed, in_channel
        Whether the connection has ended; whether Discord still has the bot in a channel.
    wrong
        Rules that the client broke and secrets it gave away, in sentences.
    """

    sessions: int
    resumes: int
    op4: tuple[Op4Outcome, ...]
    sent: tuple[str, ...]
    silent_ms: float
    lost: int
    dave_version: int
    error: Exception | None
    closed: bool
    in_channel: bool
    wrong: tuple[str, ...]

    @property
    def ops(self) -> str:
        """What was sent, each opcode once, with how often."""
        counts = Counter(self.sent)
        return ", ".join(name if count == 1 else f"{name} ({count} times)" for name, count in counts.items())


@dataclass(slots=True)
class Patient:
    """The bot, what it talks to, and its call."""

    discord: FakeDiscord
    servers: tuple[DiscordVoiceServer, ...]
    bot: hikari.GatewayBot
    pool: VoicePool
    song: Path
    channel: int = 0
    voice: voicepool.VoiceConnection | None = None
    error: Exception | None = None
    _op4_before: int = 0
    _guests: int = 0
    _playing: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def guild_id(self) -> int:
        return self.discord.guilds[0].id

    @property
    def user_id(self) -> int:
        return self.discord.bot_user_id

    @property
    def channels(self) -> list[int]:
        """Two voice channels and a stage."""
        guild = self.discord.guilds[0]
        return [channel.id for channel in (*guild.voice_channels, *guild.stage_channels)]

    @property
    def sessions(self) -> list[VoiceSession]:
        """All voice sessions of the bot."""
        return [session for server in self.servers for session in server.sessions]

    @property
    def server(self) -> DiscordVoiceServer:
        """The voice server that has the bot."""
        return next(server for server in self.servers if _live(server) is not None)

    @property
    def assigned(self) -> DiscordVoiceServer:
        """The voice server that the bot will be sent to when it joins."""
        return self.servers[(self.guild_id >> 22) % len(self.servers)]

    @property
    def others(self) -> list[DiscordVoiceServer]:
        """Voice servers without the bot."""
        return [server for server in self.servers if _live(server) is None]

    @property
    def session(self) -> VoiceSession:
        """The bot's voice session."""
        session = _live(self.server)
        assert session is not None
        return session

    @property
    def connection(self) -> voicepool.VoiceConnection:
        """The bot's end of the call."""
        assert self.voice is not None
        return self.voice

    async def join(self, **options: Any) -> None:
        """Join; a failure is kept."""
        try:
            self.voice = await voicepool.connect(
                self.bot, self.guild_id, self.channels[self.channel], pool=self.pool, **options
            )
        except (VoicePoolError, hikari.HikariError) as error:
            self.error = error

    async def play(self) -> None:
        """Begin the song, and return when half a second of it was heard."""
        self._playing = self.connection.play_no_wait(self.song)
        await self.session.wait_until(lambda session: session.report().frames >= _WARM_UP)

    def begin(self) -> None:
        """What is sent from now on is an answer to the fault."""
        self._op4_before = len(self.discord.op4_log)
        for server in self.servers:
            server.opcodes.clear()

    async def finish(self) -> None:
        """Wait until the song is over, or the call."""
        if self._playing is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._playing
        except (VoicePoolError, TimeoutError) as error:
            self.error = error
        if self.connection.closed:
            await self.connection.wait_closed()
            self.error = self.error or self.connection.error
            # The bot's op 4 is on its way; whether it arrives is to be observed.
            with contextlib.suppress(TimeoutError):
                await self.discord.wait_for_voice_state(self.guild_id, self.user_id, None, timeout_s=_LEAVE_S)

    async def until(self, predicate: Callable[[VoiceSession], bool]) -> None:
        """Wait until something shows in the bot's voice session."""
        await self.session.wait_until(predicate)

    async def resumed(self, session: VoiceSession) -> None:
        """Wait until a session was resumed."""
        await session.wait_until(partial(_resumed, more_than=session.resumes))

    @contextlib.asynccontextmanager
    async def hears(self, kind: type[hikari.Event]) -> AsyncIterator[None]:
        """Wait, at the end of the block, until the main gateway has told the bot of something in it."""
        heard = asyncio.create_task(self.bot.wait_for(kind, timeout=_PATIENCE_S))
        await asyncio.sleep(0)
        yield
        await heard

    def guest(self) -> int:
        """Return the id of somebody new."""
        self._guests += 1
        return self._guests

    def observe(self) -> Observed:
        """Take stock."""
        sessions = self.sessions
        reports = [session.report() for session in sessions]
        log = self.discord.op4_log[self._op4_before :]
        wrong = [text for server in self.servers for text in server.violations]
        wrong += [violation.reason for violation in self.discord.violations]
        wrong += [f"{report.nonce_reuses} nonces used twice" for report in reports if report.nonce_reuses]
        wrong += [
            f"{report.dave_plaintext} frames in the clear" for report in reports if report.dave_plaintext
        ]
        return Observed(
            sessions=len(sessions),
            resumes=sum(report.resumes for report in reports),
            op4=tuple(entry.outcome for entry in log),
            sent=("main 4",) * len(log) + self._sent(),
            silent_ms=_silent_ms(sessions),
            lost=_FRAMES - sum(report.frames - report.dave_failures for report in reports),
            dave_version=reports[-1].dave_protocol_version if reports else 0,
            error=self.error,
            closed=self.voice is None or self.voice.closed,
            in_channel=self.discord.voice_state(self.guild_id, self.user_id) is not None,
            wrong=tuple(wrong),
        )

    def _sent(self) -> tuple[str, ...]:
        return tuple(
            str(opcode) for server in self.servers for opcode in server.opcodes if opcode != _HEARTBEAT_OP
        )


@contextlib.asynccontextmanager
async def admitted(pool: VoicePool, authority: CertificateAuthority, song: Path) -> AsyncIterator[Patient]:
    """Start a bot on three voice servers and a main gateway of its own; end them afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        servers = tuple(
            [
                await stack.enter_async_context(
                    DiscordVoiceServer(
                        authority=authority,
                        heartbeat_interval_ms=HEARTBEAT_MS,
                        # What is late on a busy machine is no fault of the row.
                        heartbeat_timeout_ms=_PATIENCE_S * 1_000,
                    )
                )
                for _ in range(_SERVERS)
            ]
        )
        discord = await stack.enter_async_context(FakeDiscord(voice_servers=servers))
        bot = hikari.GatewayBot(
            discord.token,
            rest_url=discord.rest_url,
            banner=None,
            logs=None,
            suppress_optimization_warning=True,
        )
        available = asyncio.Event()

        async def on_guild(_: hikari.GuildAvailableEvent) -> None:
            available.set()

        bot.subscribe(hikari.GuildAvailableEvent, on_guild)
        await bot.start(check_for_updates=False)
        stack.push_async_callback(bot.close)
        async with asyncio.timeout(_PATIENCE_S):
            await available.wait()
        yield Patient(discord, servers, bot, pool, song)


def _live(server: DiscordVoiceServer) -> VoiceSession | None:
    live = [session for session in server.sessions if session.state is not SessionState.ENDED]
    return live[-1] if live else None


def _resumed(session: VoiceSession, *, more_than: int) -> bool:
    return session.resumes > more_than or session.state is SessionState.ENDED


def _silent_ms(sessions: list[VoiceSession]) -> float:
    """Return the longest time without a new frame, within a session or from one to the next."""
    heard = sorted(
        (session.media for session in sessions if session.media.first_audio_ns),
        key=lambda media: media.first_audio_ns,
    )
    pauses_ns = [media.longest_pause_ns for media in heard]
    pauses_ns += [after.first_audio_ns - before.last_audio_ns for before, after in itertools.pairwise(heard)]
    return max(0.0, max(pauses_ns, default=0) / _NS_PER_MS - _FRAME_MS)
