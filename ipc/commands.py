"""What the bot says to a worker: one frozen tagged struct each, and their union.

A docstring says when a command is sent and what answers it. Durations carry their unit in the name.
Structs that hold secrets leave them out of their repr.
"""

from __future__ import annotations

import msgspec

from voicepool.ipc.ids import CallId, ChannelId, GuildId, PlaybackId, RequestId, UserId
from voicepool.ipc.secret import REDACTED

__all__ = [
    "BytesSource",
    "CloseCall",
    "Command",
    "Credentials",
    "FileSource",
    "OpenCall",
    "Pause",
    "Play",
    "ReportStats",
    "Resume",
    "ServerGone",
    "SetVolume",
    "Setup",
    "Shutdown",
    "Source",
    "Stop",
    "UrlSource",
    "Verify",
    "WorkerSettings",
]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="m", tag=str.lower):
    """Base of every command."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of `PoolConfig` that a worker needs; see there for effects and ranges."""

    core: int | None = None
    """Core to pin the process to; None leaves the choice to the kernel."""
    encoder_class: str = "idle"
    pacing_class: str = "auto"
    libopus: str | None = None
    ca_file: str | None = None
    modes: tuple[str, ...] = ()
    bitrate_bps: int = 128_000
    complexity: int = 10
    ring_frames: int = 8
    """Frames of 20 ms encoded ahead for each call."""
    dave: bool = True
    """Whether to offer end-to-end encryption."""
    max_calls: int = 500
    connect_timeout_s: float = 15.0
    source_open_timeout_s: float = 10.0
    source_read_timeout_s: float = 10.0
    read_ahead_s: float = 2.0
    stats_interval_s: float = 1.0
    reconnect_first_pause_s: float = 0.5
    """Before the second attempt to identify; it doubles each time."""
    reconnect_longest_pause_s: float = 15.0
    reconnect_attempts: int = 8
    """Attempts in a row before a call is given up."""
    server_wait_s: float = 30.0
    """How long new credentials may take after the voice session or server is gone."""
    removal_grace_s: float = 5.0
    """How long the main gateway may take to say why the call was put out (close code 4014)."""
    log_level: str = "WARNING"


class Setup(Message, frozen=True, kw_only=True):
    """Sent once, as the answer to `Hello`; answered by `Ready` or `StartFailed`."""

    settings: WorkerSettings


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What Discord's main gateway handed out for one call. Token and session id never show in a repr."""

    guild_id: GuildId
    channel_id: ChannelId
    user_id: UserId
    session_id: str
    endpoint: str
    """``wss://host:port`` or ``host:port``, the port kept as Discord sent it."""
    token: str

    def __repr__(self) -> str:
        return (
            f"Credentials(guild_id={self.guild_id}, channel_id={self.channel_id}, user_id={self.user_id}, "
            f"endpoint={self.endpoint!r}, session_id={REDACTED}, token={REDACTED})"
        )


class OpenCall(Message, frozen=True, kw_only=True):
    """Sent to join a call, or to join it anew with other credentials; answered by `CallOpened`."""

    request: RequestId
    call: CallId
    generation: int
    """Counts the connection attempts of this call; events of an older generation are void."""
    credentials: Credentials


class ServerGone(Message, frozen=True, kw_only=True):
    """An intention: the main gateway took the voice server away (endpoint null) and will name another.

    What plays is kept. `ServerWanted` follows, and another `OpenCall` names the server. Not answered.
    """

    call: CallId
    generation: int


class CloseCall(Message, frozen=True, kw_only=True):
    """Sent to leave a call; answered by `Done`, also when the call is gone already."""

    request: RequestId
    call: CallId


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """A file that the worker can open itself."""

    path: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Something that the worker fetches over HTTP(S). The query may hold a secret, so it never shows."""

    url: str

    def __repr__(self) -> str:
        return f"UrlSource({self.url.partition('?')[0]!r})"


class BytesSource(msgspec.Struct, frozen=True, tag="bytes"):
    """A whole audio file, carried as the message's first attachment."""

    size_bytes: int


Source = FileSource | UrlSource | BytesSource


class Play(Message, frozen=True, kw_only=True):
    """Sent to play a source in place of what plays; answered by `TrackStarted`, later by `TrackEnded`."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    source: Source
    volume: float = 1.0
    """Linear gain; 1.0 leaves the samples, and Opus packets, as they are."""
    paused: bool = False
    """Open and prepare, but wait for `Resume`."""
    on_gap: str = "continue"
    """What follows a time in which the call could not send: ``continue`` where it stopped, or ``skip`` what
    would have been heard meanwhile."""


class Stop(Message, frozen=True, kw_only=True):
    """Sent to end what plays, or what is being opened; answered by `Done`."""

    request: RequestId
    call: CallId
    playback: PlaybackId | None = None
    """Only this one, if it still plays or is being opened; None for whatever does."""


class Pause(Message, frozen=True, kw_only=True):
    """An intention: hold what plays, after five frames of silence. Not answered."""

    call: CallId


class Resume(Message, frozen=True, kw_only=True):
    """An intention: go on where `Pause` held it. Not answered."""

    call: CallId


class SetVolume(Message, frozen=True, kw_only=True):
    """An intention: linear gain of the call from the next frame to be encoded. Not answered."""

    call: CallId
    volume: float


class Verify(Message, frozen=True, kw_only=True):
    """Sent to have the code by which two members make sure of each other; answered by `VerificationCode`."""

    request: RequestId
    call: CallId
    user: UserId
    """The other member."""


class ReportStats(Message, frozen=True, kw_only=True):
    """Sent to have figures now instead of at the next interval; answered by `Stats` with this request."""

    request: RequestId


class Shutdown(Message, frozen=True, kw_only=True):
    """Sent to end the worker in order; answered by `Bye` and the process's exit."""


Command = (
    Setup
    | OpenCall
    | ServerGone
    | CloseCall
    | Play
    | Stop
    | Pause
    | Resume
    | SetVolume
    | Verify
    | ReportStats
    | Shutdown
)
