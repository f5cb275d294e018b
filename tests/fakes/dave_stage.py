"""An encrypted call with our bot in it, on real worker processes: who comes, who goes, what is heard.

The stand-in plays all others. Its listener decrypts every packet of the bot's; a call can also be without it,
and then nobody but the test sees what arrives.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeAlias

from tests.integration.calls import assert_nothing_lost
from tests.workers.audio.media_files import encode
from voicepool import EncryptionChanged, PoolConfig, VoiceCredentials, VoicePool
from voicepool.connection import BaseVoiceConnection
from voicepool.events import ConnectionEvent
from voicepool.testing import CertificateAuthority, DiscordVoiceServer, VoiceSession
from voicepool.testing.dave_call import DaveCall
from voicepool.testing.dave_members import DaveListener
from voicepool.testing.voice_messages import Opcode
from voicepool.testing.voice_settings import LISTENER_USER_ID

__all__ = ["BOT", "EncryptedCall", "Stage"]

BOT = 42
SAFETY_S = 20.0
"""Ends what hangs; nothing waits for it on purpose."""
_HEARD_FRAMES = 15
"""Longer than packets and messages of before take to arrive on loopback."""
_Work: TypeAlias = Coroutine[Any, Any, object]


class EncryptedCall:
    """One voice channel.

    Parameters
    ----------
    server
        Holds the call.
    pool
        Our bot's.
    guild_id
        A guild that no other call is in.
    run
        Runs something on the loop that all this lives on.
    """

    def __init__(
        self, server: DiscordVoiceServer, pool: VoicePool, guild_id: int, run: Callable[[_Work], None]
    ) -> None:
        self.run = run
        self.server = server
        self.place = guild_id, guild_id + 1
        self.told: list[EncryptionChanged] = []
        self._pool = pool
        self._voice: BaseVoiceConnection | None = None

    # Who is there.

    async def join(self) -> None:
        """Let our bot join, and play music from then on."""
        guild, channel = self.place
        grant = self.server.grant(guild_id=guild, channel_id=channel, user_id=BOT)
        self._voice = await self._pool.connect(
            VoiceCredentials(
                guild_id=guild,
                channel_id=channel,
                user_id=BOT,
                session_id=grant.session_id,
                endpoint=grant.endpoint,
                token=grant.token,
            )
        )
        if self.voice.encryption is not None:
            self.told.append(self.voice.encryption)
        self.voice.listen(self._hear_of)
        self.voice.play_no_wait(_music())

    def come(self, user_id: int, *, dave: bool = True) -> None:
        """Let somebody else in."""
        self.server.add_speaker(*self.place, user_id, dave=dave)

    def go(self, user_id: int) -> None:
        """Let somebody else leave."""
        self.server.remove_speaker(*self.place, user_id)

    def listener_comes(self) -> None:
        """Let a listener into a call without one."""
        assert self.dave.listener is None
        self.dave.listener = DaveListener(LISTENER_USER_ID, self.place[1], keep_frames=0)
        self.session.send(Opcode.CLIENTS_CONNECT, {"user_ids": [str(LISTENER_USER_ID)]}, numbered=True)
        self.server.calls.play(self.place, self.dave.listener)

    def listener_goes(self) -> None:
        """Let it leave."""
        self.session.send(Opcode.CLIENT_DISCONNECT, {"user_id": str(LISTENER_USER_ID)}, numbered=True)
        self.server.calls.stop(self.place, LISTENER_USER_ID)
        self.dave.listener = None

    async def close(self) -> None:
        """End the music and let our bot leave; every packet until then must have been well."""
        if self._voice is None:
            return
        session = self.session
        silence = session.report().silence_frames
        await self._voice.stop()
        await self.until(lambda: session.report().silence_frames >= silence + 5)
        await self._voice.disconnect()
        await session.wait_closed(timeout_s=SAFETY_S)
        assert_nothing_lost(session)
        report = session.report()
        assert (report.dave_failures, report.dave_plaintext) == (0, 0)

    # How it stands.

    @property
    def voice(self) -> BaseVoiceConnection:
        assert self._voice is not None, "the bot has not joined"
        return self._voice

    @property
    def session(self) -> VoiceSession:
        session = self.server.session(self.place[0])
        assert session is not None, "the bot has not joined"
        return session

    @property
    def dave(self) -> DaveCall:
        call = self.server.calls.get(self.place)
        assert call is not None, "nobody is there"
        return call

    @property
    def modes(self) -> list[tuple[int, bool]]:
        """Version and whether frames leave, as the bot was told; each change once."""
        told = ((event.protocol_version, event.sending) for event in self.told)
        return [mode for mode, _ in itertools.groupby(told)]

    @property
    def codes(self) -> list[str]:
        """The privacy codes, as the bot was told; each change once."""
        told = (event.privacy_code for event in self.told)
        return [code for code, _ in itertools.groupby(told) if code is not None]

    def agrees(self) -> bool:
        """Whether all who are there are in the group, nothing is under way, and all see the same code."""
        service = self.dave.service
        encryption = self.voice.encryption
        here = {BOT, *self.dave.played}
        codes = {member.privacy_code for member in self.dave._played.values()}
        return (
            set(service.leaves) == here
            and not service.pending_transitions
            and not service.open_changes
            and encryption is not None
            and encryption == EncryptionChanged(1, True, encryption.privacy_code, frozenset(here))
            and codes == {encryption.privacy_code}
        )

    def _hear_of(self, event: ConnectionEvent) -> None:
        if isinstance(event, EncryptionChanged):
            self.told.append(event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something; asked again with each packet and message of the bot's."""
        await self.session.wait_until(lambda _: holds(), timeout_s=SAFETY_S)

    async def settled(self) -> None:
        """Wait until everybody agrees, and hears our bot."""
        await self.until(self.agrees)
        await self.heard()

    async def heard(self) -> None:
        """Wait for more music, in whichever form the call has it."""
        await self.more(lambda: self.session.media.frames)

    async def more(self, count: Callable[[], int]) -> None:
        """Wait until that has grown for a while."""
        enough = count() + _HEARD_FRAMES
        await self.until(lambda: count() >= enough)


class Stage:
    """Two servers and a pool, and an event loop for them that lasts for as long as a file's tests.

    Parameters
    ----------
    runner
        Has the loop.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._guilds = itertools.count(1_000, 10)
        self._stack = AsyncExitStack()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Stage]:
        """Start it all, and end it."""
        with asyncio.Runner() as runner:
            stage = cls(runner)
            stage.run(stage._start())
            try:
                yield stage
            finally:
                stage.run(stage._stack.aclose())

    def run(self, work: _Work) -> None:
        """Run something on the loop, and end it if it hangs."""

        async def bounded() -> None:
            async with asyncio.timeout(SAFETY_S):
                await work

        self._runner.run(bounded())

    @contextmanager
    def call(self, *, listener: bool) -> Iterator[EncryptedCall]:
        """Give a channel with nobody in it; whoever is in it afterwards leaves."""
        server = self._server if listener else self._quiet
        call = EncryptedCall(server, self._pool, next(self._guilds), self.run)
        yield call
        self.run(call.close())

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        authority = self._stack.enter_context(CertificateAuthority())
        # Who does not answer is waited for until the test is ended: nothing comes right by a timeout.
        patient = functools.partial(
            DiscordVoiceServer, authority=authority, dave_transition_timeout_s=2 * SAFETY_S
        )
        self._server = await enter(patient())
        self._quiet = await enter(patient(dave_listener_id=None))
        self._pool = await enter(VoicePool(PoolConfig(workers=1, ca_file=authority.ca_file)))


@functools.cache
def _music() -> bytes:
    return encode("flac", "flac", seconds=60.0)
