"""Fifty guilds at once, each with faults drawn from a seed, on real workers: all have sound in the end.

A seed that fails is named with the faults it drew. ``python -m tests.integration.test_fault_sequences 17``
runs that one alone and tells each fault as it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.fakes.running import asyncio_test
from tests.integration.calls import rules_broken
from tests.workers.audio.media_files import opus
from voicepool import PoolConfig, ServerWanted, SupersededError, VoiceCredentials, VoicePool
from voicepool.connection import BaseVoiceConnection
from voicepool.testing import CertificateAuthority, DiscordVoiceServer, VoiceSession
from voicepool.testing.voice_session_view import SessionState

SEEDS: Final = range(50)
WORKERS: Final = 2
JOINING_AT_ONCE: Final = 8
FIRST_USER: Final = 2_000
FIRST_GUEST: Final = 3_000
SONG_S: Final = 60.0
SAFETY_S: Final = 40.0
NEVER: Final = ("nonce_reuses", "decrypt_failures", "wrong_ssrc", "dave_plaintext")
"""What no session may report, besides broken rules."""
HEARD: Final = 10
"""Frames that the listener has to decrypt before sound counts as back."""


@dataclass
class Guild:
    """One guild: its call, what was done to it, and who gives its bot credentials as a bot library would."""

    seed: int
    servers: Sequence[DiscordVoiceServer]
    voice: BaseVoiceConnection = field(init=False)
    drawn: list[str] = field(default_factory=list)
    at: int = 0
    guests: int = FIRST_GUEST
    connecting: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.id = 1_000 + self.seed
        self.channel = self.id + 1_000_000
        self.user = FIRST_USER + self.seed

    @property
    def server(self) -> DiscordVoiceServer:
        return self.servers[self.at]

    @property
    def session(self) -> VoiceSession:
        session = self.server.session(self.id)
        assert session is not None, "nobody has joined on the server that the guild is sent to"
        return session

    @property
    def sessions(self) -> list[VoiceSession]:
        return [each for server in self.servers for each in server.sessions if each.guild_id == self.id]

    def credentials(self) -> VoiceCredentials:
        grant = self.server.grant(self.id, self.channel, self.user)
        return VoiceCredentials(
            guild_id=self.id,
            channel_id=self.channel,
            user_id=self.user,
            session_id=grant.session_id,
            endpoint=grant.endpoint,
            token=grant.token,
        )

    def hand_over(self) -> asyncio.Task[None]:
        """Give the bot what Discord names now."""
        task = asyncio.create_task(self._connect(self.credentials()))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)
        return task

    async def _connect(self, credentials: VoiceCredentials) -> None:
        with contextlib.suppress(SupersededError):
            await self.voice.connect(credentials)

    def on_event(self, event: object) -> None:
        if isinstance(event, ServerWanted) and event.rejoin:
            self.hand_over()

    def move(self) -> None:
        """Have the other server take the call, as Discord does when a region moves."""
        self.server.revoke(self.id, self.user, 4022)
        self.at = 1 - self.at

    async def heard_again(self) -> None:
        """Wait until the listener decrypts new audio, in whichever session the call has by then."""
        before = {session: audible(session) for session in self.sessions}
        async with asyncio.timeout(SAFETY_S):
            while True:
                session = await self.server.wait_for_session(self.id, timeout_s=None)
                enough = before.get(session, 0) + HEARD
                await session.wait_until(partial(is_done, enough=enough), timeout_s=None)
                if session.state is not SessionState.ENDED and session is self.server.session(self.id):
                    return

    def guest(self) -> int:
        self.guests += 1
        return self.guests


def audible(session: VoiceSession) -> int:
    """Return the frames of sound that the listener could decrypt."""
    report = session.report()
    return report.frames - report.dave_failures


def is_done(session: VoiceSession, *, enough: int) -> bool:
    return audible(session) >= enough or session.state is SessionState.ENDED


async def seen(session: VoiceSession, predicate: Callable[[VoiceSession], bool]) -> None:
    """Wait until something shows in a session; an earlier fault may have another take its place first."""
    await session.wait_until(lambda it: predicate(it) or it.state is SessionState.ENDED, timeout_s=SAFETY_S)


# The faults. Each returns when it has begun.


async def cut(guild: Guild) -> None:
    guild.session.abort()


async def going_away(guild: Guild) -> None:
    await guild.session.close(1001)


async def crashed(guild: Guild) -> None:
    await guild.session.close(4015)


async def session_void(guild: Guild) -> None:
    await guild.session.close(4006)


async def session_timeout(guild: Guild) -> None:
    await guild.session.close(4009)


async def resume_refused(guild: Guild) -> None:
    guild.server.close_next_resume(4006, guild_id=guild.id)
    guild.session.abort()


async def resume_cut(guild: Guild) -> None:
    guild.server.close_next_resume(1006, guild_id=guild.id)
    guild.session.abort()


async def resume_unanswered(guild: Guild) -> None:
    server, session = guild.server, guild.session
    server.mute_step("resumed", guild_id=guild.id)
    session.abort()
    await server.wait_until(lambda server: server.session(guild.id) is not session, timeout_s=SAFETY_S)
    server.unmute_step("resumed", guild_id=guild.id)


async def half_dead(guild: Guild) -> None:
    session, resumes = guild.session, guild.session.resumes
    session.stall()
    await seen(session, lambda it: it.resumes > resumes)


async def acks_withheld(guild: Guild) -> None:
    server, session, resumes = guild.server, guild.session, guild.session.resumes
    server.mute_step("heartbeat_ack", guild_id=guild.id)
    await seen(session, lambda it: it.resumes > resumes)
    server.unmute_step("heartbeat_ack", guild_id=guild.id)


async def region_move(guild: Guild) -> None:
    guild.move()
    guild.hand_over()


async def region_move_refused_once(guild: Guild) -> None:
    guild.move()
    guild.server.close_next_identify(1006, guild_id=guild.id)
    guild.hand_over()


async def two_region_moves(guild: Guild) -> None:
    """The second comes while the handshake of the first hangs."""
    guild.move()
    there = guild.server
    there.mute_step("ready", guild_id=guild.id)
    before = there.session(guild.id)
    guild.hand_over()
    await there.wait_until(lambda server: server.session(guild.id) is not before, timeout_s=SAFETY_S)
    there.unmute_step("ready", guild_id=guild.id)
    guild.move()
    guild.hand_over()


async def discovery_lost(guild: Guild) -> None:
    guild.server.drop_discovery_requests(1, guild_id=guild.id)
    await guild.session.close(4006)


async def packets_lost(guild: Guild) -> None:
    guild.session.drop_packets(received=guild.rng.randrange(1, 20))


async def member_comes(guild: Guild) -> None:
    guild.server.add_speaker(guild.id, guild.channel, guild.guest())


async def member_comes_and_goes(guild: Guild) -> None:
    server, user = guild.server, guild.guest()
    epoch = guild.session.dave_epoch
    server.add_speaker(guild.id, guild.channel, user)
    await seen(guild.session, lambda it: it.dave_epoch > epoch)
    server.remove_speaker(guild.id, guild.channel, user)


async def member_without_dave(guild: Guild) -> None:
    server, user = guild.server, guild.guest()
    server.add_speaker(guild.id, guild.channel, user, dave=False)
    await seen(guild.session, lambda it: it.dave_protocol_version == 0)
    server.remove_speaker(guild.id, guild.channel, user)


async def bad_commit(guild: Guild) -> None:
    guild.server.spoil_dave(guild.user, "commit")
    await member_comes(guild)


async def group_anew(guild: Guild) -> None:
    guild.server.renew_dave_group(guild.id, guild.channel)


async def missed_ops(guild: Guild) -> None:
    session = guild.session
    session.stall()
    await member_comes(guild)
    session.abort()


FAULTS: Final[tuple[Callable[[Guild], Awaitable[None]], ...]] = (
    cut,
    going_away,
    crashed,
    session_void,
    session_timeout,
    resume_refused,
    resume_cut,
    resume_unanswered,
    half_dead,
    acks_withheld,
    region_move,
    region_move_refused_once,
    two_region_moves,
    discovery_lost,
    packets_lost,
    member_comes,
    member_comes_and_goes,
    member_without_dave,
    bad_commit,
    group_anew,
    missed_ops,
)


async def live_through(
    guild: Guild, pool: VoicePool, song: bytes, joining: asyncio.Semaphore, *, tell: bool = False
) -> None:
    """Join, play, suffer, be heard again, and leave."""
    async with joining:
        guild.voice = await pool.connect(guild.credentials())
    guild.voice.listen(guild.on_event)
    playing = guild.voice.play_no_wait(song)
    suffering = asyncio.create_task(suffer(guild, tell=tell))
    ended = asyncio.create_task(guild.voice.wait_closed())
    await asyncio.wait({suffering, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not suffering.done():
        suffering.cancel()
        await asyncio.wait({suffering})
        raise guild.voice.error or AssertionError("the connection has ended")
    await suffering
    await guild.voice.disconnect()
    await asyncio.gather(ended, playing, *guild.connecting)
    for session in guild.sessions:
        report = session.report()
        found = {"violations": rules_broken(report)} | {name: getattr(report, name) for name in NEVER}
        assert not any(found.values()), f"{session}: {found}"


async def suffer(guild: Guild, *, tell: bool) -> None:
    await guild.heard_again()
    for fault in guild.rng.choices(FAULTS, k=guild.rng.randint(2, 4)):
        guild.drawn.append(fault.__name__)
        if tell:
            sys.stdout.write(f"{fault.__name__}: {guild.session}\n")
        await fault(guild)
        await guild.heard_again()
    await asyncio.gather(*guild.connecting)
    await guild.heard_again()


@contextlib.asynccontextmanager
async def surroundings() -> AsyncIterator[tuple[list[DiscordVoiceServer], VoicePool]]:
    with CertificateAuthority() as authority:
        options: dict[str, Any] = {
            "authority": authority,
            "heartbeat_interval_ms": 500.0,
            "heartbeat_timeout_ms": 60_000.0,
        }
        async with (
            DiscordVoiceServer(**options) as first,
            DiscordVoiceServer(**options) as second,
            VoicePool(
                PoolConfig(
                    workers=WORKERS,
                    ca_file=authority.ca_file,
                    connect_timeout_s=4.0,
                    reconnect_first_pause_s=0.2,
                    reconnect_longest_pause_s=1.0,
                )
            ) as pool,
        ):
            yield [first, second], pool


async def run(seeds: Sequence[int], *, tell: bool = False) -> list[str]:
    """Run these seeds at once; return what went wrong, a line each."""
    song, joining = opus("ogg", seconds=SONG_S), asyncio.Semaphore(JOINING_AT_ONCE)
    async with surroundings() as (servers, pool):
        guilds = [Guild(seed, servers) for seed in seeds]
        results = await asyncio.gather(
            *(live_through(guild, pool, song, joining, tell=tell) for guild in guilds), return_exceptions=True
        )
        await asyncio.gather(*(task for guild in guilds for task in guild.connecting), return_exceptions=True)
    return [
        f"seed {guild.seed} ({', '.join(guild.drawn)}): {result!r}"
        for guild, result in zip(guilds, results, strict=True)
        if isinstance(result, BaseException)
    ]


@asyncio_test
async def test_fifty_seeded_sequences_of_faults_end_with_sound() -> None:
    failed = await run(SEEDS)
    assert not failed, "\n".join(["python -m tests.integration.test_fault_sequences SEED", *failed])


def test_every_fault_is_drawn() -> None:
    drawn = set()
    for seed in SEEDS:
        rng = random.Random(seed)
        drawn |= set(rng.choices(FAULTS, k=rng.randint(2, 4)))
    assert drawn == set(FAULTS)


if __name__ == "__main__":
    problems = asyncio.run(run([int(seed) for seed in sys.argv[1:]] or SEEDS, tell=True))
    sys.exit("\n".join(problems))
