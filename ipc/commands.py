"""What the bot says to a worker: one frozen tagged struct each, and their union.

A docstring says when a command is sent and what answers it. Durations carry their unit in the name.
Structs that hold secrets leave them out of their repr.
"""

from __future__ import annotations

import enum

import msgspec

from voicepool.ipc.events import TrackPlace
from voicepool.ipc.ids import CallId, ChannelId, GuildId, PlaybackId, RequestId, StreamId, UserId
from voicepool.ipc.secret import REDACTED
from voicepool.ipc.sources import Source

__all__ = [
    "AlignTracks",
    "ChangeTrack",
    "CloseCall",
    "Command",
    "Credentials",
    "Encoding",
    "OpenCall",
    "Pause",
    "Ping",
    "Play",
    "PrepareCall",
    "ReleaseCall",
    "ReportStats",
    "Resume",
    "Seek",
    "ServerGone",
    "SetEncoding",
    "SetVolume",
    "Setup",
    "Shutdown",
    "Skip",
    "Stop",
    "StreamAudio",
    "TrackOptions",
    "TrackRole",
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
    log_format: str = "text"
    """``text``, or ``json``: an object a line."""
    shed_complexity: bool = True
    """Whether to encode at a lower complexity rather than too late."""
    memory_limit_bytes: int | None = None
    """Beyond which the kernel is to refuse more memory; None for no limit."""


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
    takes_over: bool = False
    """Whether the call was up at another worker: then what fails is mended, as of a call that is up."""


class PrepareCall(Message, frozen=True, kw_only=True):
    """Sent to have a call known that is up at another worker; answered by `Done`.

    What it is to play is opened ahead, and heard from `OpenCall` on. One that is not wanted after all is
    closed by `CloseCall`.
    """

    request: RequestId
    call: CallId


class ReleaseCall(Message, frozen=True, kw_only=True):
    """Sent to leave a call that goes on at another worker; answered by `CallReleased`.

    Nothing is sent of it any more when that is answered, no silence either, and no ends of tracks are told.
    """

    request: RequestId
    call: CallId


class AlignTracks(Message, frozen=True, kw_only=True):
    """Sent between `PrepareCall` and `OpenCall`: where tracks go on that were prepared for an earlier place.

    Answered by `Done` when they are there. Tracks that are not known, or cannot go there, are left alone.
    """

    request: RequestId
    call: CallId
    places: list[TrackPlace]


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


class TrackOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one track is played. What concerns a place in the source is in seconds of the source."""

    volume: float = 1.0
    """Linear gain of this track alone."""
    start_s: float = 0.0
    end_s: float | None = None
    """Where the part that is played begins and ends; None: at the source's end."""
    repeats: int | None = 0
    """How many more times that part is played after the first; None without end."""
    position_s: float | None = None
    """Where in that part the first round begins; None at its start."""
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    """At its start and, if it has a known end, before that; seconds of hearing."""
    speed: float = 1.0
    """How fast it is played, at the same pitch."""
    filters: str | None = None
    """A libavfilter chain as FFmpeg users write it."""
    loudness_lufs: float | None = None
    """Loudness (EBU R128) to bring it to; None leaves it as it is."""


class Encoding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the Opus packets of one call are made; packets that pass through stay as they are."""

    bitrate_bps: int = 128_000
    complexity: int = 10
    fec: bool = False
    """Whether packets carry a coarse copy of the one before (RFC 6716 §2.1.7)."""
    expected_loss_percent: int = 0
    dtx: bool = False
    """Whether silence is sent as next to nothing (RFC 6716 §2.1.9)."""
    mono: bool = False
    """Encode one channel; for speech."""


class TrackRole(enum.StrEnum):
    """What a new track does to those that play."""

    MAIN = "main"
    """It takes the place of the main track as soon as it is ready."""
    NEXT = "next"
    """It waits, ready, and follows the main track without a gap. It takes the place of one that waits."""
    OVERLAY = "overlay"
    """It is heard beside what plays."""


class Play(Message, frozen=True, kw_only=True):
    """Sent to play a source; answered by `TrackReady`, after which come `TrackStarted` and `TrackEnded`."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    source: Source
    role: TrackRole = TrackRole.MAIN
    options: TrackOptions = TrackOptions()
    volume: float = 1.0
    """Linear gain of the whole call; 1.0 leaves the samples, and Opus packets, as they are."""
    paused: bool = False
    """Open and prepare, but wait for `Resume`."""
    on_gap: str = "continue"
    """What follows a time in which the call could not send: ``continue`` where it stopped, or ``skip`` what
    would have been heard meanwhile."""
    duck_db: float = 0.0
    """By how much an overlay lets the other tracks sink while it sounds: 0 or less."""
    crossfade_s: float = 0.0
    """How long it and the main track before it are heard together."""


class Stop(Message, frozen=True, kw_only=True):
    """Sent to end what plays, or what is being opened; answered by `Done`."""

    request: RequestId
    call: CallId
    playback: PlaybackId | None = None
    """Only this one, if it still plays, waits or is being opened; None for all there are."""
    fade_out_s: float = 0.0
    """How long what plays takes to fall silent; it has ended after that."""


class Skip(Message, frozen=True, kw_only=True):
    """Sent to have the track that waits take over now; answered by `Done`, or by `Failed`: none waits."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    """The main track that is to end; if it is not the main track any more, nothing is done."""


class Seek(Message, frozen=True, kw_only=True):
    """Sent to go on elsewhere in a source; answered by `Done`, or by `Failed`: then it plays on as it was."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    position_s: float


class ChangeTrack(Message, frozen=True, kw_only=True):
    """Sent to play a track otherwise from now on; answered by `Done`, or by `Failed`: nothing has changed."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    volume: float = 1.0
    speed: float = 1.0
    filters: str | None = None
    loudness_lufs: float | None = None


class SetEncoding(Message, frozen=True, kw_only=True):
    """An intention: encode what is made from now on like this. Not answered."""

    call: CallId
    encoding: Encoding


class StreamAudio(Message, frozen=True, kw_only=True):
    """A piece of a `StreamSource`, carried as attachments: one of PCM, or one for each Opus packet.

    Sent only against credit; what goes beyond ends the track. Not answered.
    """

    call: CallId
    stream: StreamId
    ends: bool = False
    """Nothing comes after it."""


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


class Ping(Message, frozen=True, kw_only=True):
    """Sent regularly; answered by `Done` at once by a worker whose control loop runs."""

    request: RequestId


class ReportStats(Message, frozen=True, kw_only=True):
    """Sent to have figures now instead of at the next interval; answered by `Stats` with this request."""

    request: RequestId


class Shutdown(Message, frozen=True, kw_only=True):
    """Sent to end the worker in order; answered by `Bye` and the process's exit."""


Command = (
    Setup
    | PrepareCall
    | AlignTracks
    | OpenCall
    | ServerGone
    | ReleaseCall
    | CloseCall
    | Play
    | Stop
    | Skip
    | Seek
    | ChangeTrack
    | SetEncoding
    | StreamAudio
    | Pause
    | Resume
    | SetVolume
    | Verify
    | Ping
    | ReportStats
    | Shutdown
)
