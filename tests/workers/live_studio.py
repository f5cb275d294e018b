"""A studio with its real threads, and what it takes to join the stand-in's calls."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from tests.fakes.running import SAFETY_S
from tests.workers.audio.media_files import opus
from voicepool.ipc.commands import Credentials, OpenCall, Play, WorkerSettings
from voicepool.ipc.events import Event
from voicepool.ipc.ids import CallId, ChannelId, GuildId, PlaybackId, RequestId, UserId
from voicepool.ipc.sources import BytesSource
from voicepool.testing.voice_grant import VoiceGrant
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.station_sharing import Stations
from voicepool.workers.clock import MonotonicClock
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.sound import Studio
from voicepool.workers.sourcing import Sourcing

__all__ = [
    "CALL",
    "GCM",
    "XCHACHA",
    "Reports",
    "credentials",
    "live_studio",
    "open_command",
    "play_command",
    "settings",
    "trusting",
]

GCM: Final = "aead_aes256_gcm_rtpsize"
XCHACHA: Final = "aead_xchacha20_poly1305_rtpsize"
CALL: Final = CallId("call")

LOOKAHEAD_SAMPLES: Final = 312
"""Of libopus at 48 kHz."""

T = TypeVar("T")


def settings(**changes: Any) -> WorkerSettings:
    """What a worker gets by default, with a connect timeout that no test waits for."""
    fields: dict[str, Any] = {"modes": (GCM, XCHACHA), "connect_timeout_s": SAFETY_S, "complexity": 0}
    return WorkerSettings(**(fields | changes))


def credentials(grant: VoiceGrant, **changes: Any) -> Credentials:
    fields: dict[str, Any] = {
        "guild_id": GuildId(grant.guild_id),
        "channel_id": ChannelId(grant.channel_id),
        "user_id": UserId(grant.user_id),
        "session_id": grant.session_id,
        "endpoint": grant.endpoint,
        "token": grant.token,
    }
    return Credentials(**(fields | changes))


def open_command(grant: VoiceGrant, request: int = 1, generation: int = 1, call: CallId = CALL) -> OpenCall:
    return OpenCall(
        request=RequestId(request), call=call, generation=generation, credentials=credentials(grant)
    )


def play_command(
    name: str = "p", seconds: float = 1.0, request: int = 2, call: CallId = CALL
) -> tuple[Play, list[bytes]]:
    """A `Play` of so many seconds of Opus that pass through, and its attachment."""
    song = opus(seconds=seconds)
    source = BytesSource(len(song))
    command = Play(request=RequestId(request), call=call, playback=PlaybackId(name), source=source)
    return command, [song]


def trusting(server: DiscordVoiceServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file)


class Reports:
    """Collects events and lets a test wait for one of a kind."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._news.set()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.all if isinstance(event, kind)]

    async def wait_for(self, kind: type[T], count: int = 1) -> list[T]:
        """Wait until there are so many of a kind."""
        while len(self.of(kind)) < count:
            self._news.clear()
            await self._news.wait()
        return self.of(kind)


@contextlib.contextmanager
def live_studio(**changes: Any) -> Iterator[Studio]:
    """A studio whose threads run until the end of the block."""
    encoders = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "normal", role="normal")
    pacer = Pacer(watch=encoders.watch)
    pacer.start()
    encoders.start()
    try:
        opener = Opener(open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S, read_ahead_s=1.0)
        chosen = settings(**changes)
        stations = Stations(encoders, make_encoder=Encoder)
        sourcing = Sourcing(opener, stations, ring_frames=chosen.ring_frames, early_samples=LOOKAHEAD_SAMPLES)
        yield Studio(chosen, sourcing, encoders, pacer)
    finally:
        pacer.stop()
        encoders.stop()
