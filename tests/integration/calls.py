"""A pool of real workers in calls on the stand-in, for tests that listen to what comes out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.workers.audio.media_files import delay_and_correlation, signal
from voicepool import PoolConfig, VoiceCredentials, VoicePool
from voicepool.connection import BaseVoiceConnection
from voicepool.testing import DiscordVoiceServer, SessionReport, VoiceSession

USER = 42
FRAME_SAMPLES = 960


@dataclass
class World:
    """A running stand-in and a running pool."""

    server: DiscordVoiceServer
    pool: VoicePool

    def credentials(self, guild: int, **more: Any) -> VoiceCredentials:
        grant = self.server.grant(guild_id=guild, channel_id=guild + 1, user_id=USER)
        fields: dict[str, Any] = {
            "guild_id": guild,
            "channel_id": guild + 1,
            "user_id": USER,
            "session_id": grant.session_id,
            "endpoint": grant.endpoint,
            "token": grant.token,
        }
        return VoiceCredentials(**fields | more)

    async def join(self, guild: int = 100) -> BaseVoiceConnection:
        return await self.pool.connect(self.credentials(guild))

    def session(self, guild: int = 100) -> VoiceSession:
        session = self.server.session(guild)
        assert session is not None, f"nobody has joined guild {guild}"
        return session


@contextlib.asynccontextmanager
async def world(*, workers: int = 1, **config: Any) -> AsyncIterator[World]:
    """Run a stand-in and a pool that trusts it."""
    async with (
        DiscordVoiceServer() as server,
        VoicePool(PoolConfig(workers=workers, ca_file=server.ca_file, **config)) as pool,
    ):
        yield World(server, pool)


def heard(session: VoiceSession) -> npt.NDArray[np.float32]:
    """Return what the stand-in received, one channel, -1 to 1."""
    return session.pcm()[:, 0].astype(np.float32) / np.float32(32_768)


def likeness(session: VoiceSession, *, seconds: float = 2.0) -> float:
    """Return the correlation of what was received with the signal of `media_files`."""
    return delay_and_correlation(heard(session), signal(seconds=seconds)[:, 0])[1]


def rules_broken(report: SessionReport) -> list[str]:
    """Return the violations but for those that a machine makes which stops for a while.

    After more than 60 ms a worker gives up whole turns, and the RTP timestamp leaps by as many frames.
    """
    return [sentence for sentence in report.violations if not _is_stall(sentence)]


def _is_stall(sentence: str) -> bool:
    leap = re.match(r"an RTP timestamp moved by (\d+) ", sentence)
    return leap is not None and int(leap[1]) % FRAME_SAMPLES == 0


def assert_nothing_lost(session: VoiceSession) -> None:
    """Every frame arrived once, in order, well sealed, and no rule was broken.

    When each arrived is left out: that depends on what else this machine does, and benchmarks measure it.
    """
    report = session.report()
    assert rules_broken(report) == []
    assert (report.sequence_gaps, report.duplicates, report.reordered) == (0, 0, 0)
    assert (report.nonce_reuses, report.decrypt_failures, report.malformed_packets) == (0, 0, 0)
    assert (report.wrong_ssrc, report.unannounced_frames) == (0, 0)
