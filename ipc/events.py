"""What a worker says to its bot: answers and unasked news, one frozen tagged struct each, and their union.

Every event can be told from the ones it may be lost among: `Stats` is *lossy* (a newer one says all an
older one said, so it is dropped and counted when the link is full); all others are kept.
"""

from __future__ import annotations

import enum

import msgspec

from voicepool.ipc.errors import ErrorInfo
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, StreamId, WorkerId
from voicepool.ipc.secret import REDACTED

__all__ = [
    "Bye",
    "CallClosed",
    "CallInterrupted",
    "CallOpened",
    "CallReleased",
    "CallRestored",
    "CallStats",
    "Done",
    "EncryptionState",
    "EndReason",
    "Event",
    "Failed",
    "Hello",
    "MediaInfo",
    "MembersChanged",
    "Ready",
    "ServerWanted",
    "Speaking",
    "StartFailed",
    "Stats",
    "StreamCredit",
    "TrackChanged",
    "TrackEnded",
    "TrackFigures",
    "TrackPlace",
    "TrackReady",
    "TrackStarted",
    "TrackStuck",
    "VerificationCode",
]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="m", tag=str.lower):
    """Base of every event."""


class Hello(Message, frozen=True, kw_only=True):
    """A worker's first message; answered by `Setup`, or not at all when it is foreign."""

    wire_version: int
    worker: WorkerId
    start_token: str
    pid: int

    def __repr__(self) -> str:
        return (
            f"Hello(wire_version={self.wire_version}, worker={self.worker!r}, start_token={REDACTED}, "
            f"pid={self.pid})"
        )


class Ready(Message, frozen=True, kw_only=True):
    """Sent when the worker can take calls."""

    libopus: str
    """Version text of the libopus in use."""
    libopus_origin: str
    """``system``, ``pyav`` or ``configured``."""
    loop: str
    """``uvloop`` or ``asyncio``."""
    encoder_class: str
    """Scheduling class the encoder thread really got: ``idle`` or ``normal``."""
    core: int | None = None
    """Core the process is pinned to; None when it is not."""
    pacing_class: str = "normal"
    """Scheduling class the pacing thread really got: ``fifo`` or ``normal``."""


class StartFailed(Message, frozen=True, kw_only=True):
    """Sent instead of `Ready`; the process exits after it."""

    error: ErrorInfo


class Done(Message, frozen=True, kw_only=True):
    """The plain answer: carried out."""

    request: RequestId


class Failed(Message, frozen=True, kw_only=True):
    """The answer to any command with a request that could not be carried out."""

    request: RequestId
    error: ErrorInfo


class CallOpened(Message, frozen=True, kw_only=True):
    """The answer to `OpenCall`: audio can be sent from now on."""

    request: RequestId
    call: CallId
    generation: int
    mode: str
    """Transport encryption mode in use, by its name on Discord's wire."""
    ssrc: int


class CallClosed(Message, frozen=True, kw_only=True):
    """Sent when an open call ended without being asked to. What played has ended with it."""

    call: CallId
    generation: int
    error: ErrorInfo


class TrackPlace(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a track goes on."""

    playback: PlaybackId
    position_s: float
    """In its source, in seconds."""
    repeats: int | None = 0
    """Times it is still to begin anew, None for ever."""


class CallReleased(Message, frozen=True, kw_only=True):
    """The answer to `ReleaseCall`: nothing is sent any more, and the voice server was told."""

    request: RequestId
    call: CallId
    places: list[TrackPlace] = []
    """Where each track has to go on, behind the last frame that left; of those that have not ended."""


class CallInterrupted(Message, frozen=True, kw_only=True):
    """Sent when an open call lost its connection and is being mended; what plays is kept."""

    call: CallId
    generation: int
    error: ErrorInfo


class CallRestored(Message, frozen=True, kw_only=True):
    """Sent when a call that was interrupted can send sound again."""

    call: CallId
    generation: int
    gap_ms: float
    """How long it could not send; 0 when the voice session was resumed and sound never stopped."""
    resumed: bool
    """Whether the old voice session was taken up again, rather than a new one begun."""
    mode: str
    ssrc: int


class ServerWanted(Message, frozen=True, kw_only=True):
    """Sent when a call can go on with new credentials only; another `OpenCall` hands them over."""

    call: CallId
    generation: int
    rejoin: bool
    """Whether the bot has to ask Discord for them (op 4); if not, they come by themselves or not at all."""
    error: ErrorInfo | None = None


class EncryptionState(Message, frozen=True, kw_only=True):
    """Sent when the end-to-end encryption of a call has changed: version, key or group."""

    call: CallId
    protocol_version: int
    """DAVE protocol version in force; 0 is none."""
    sending: bool
    """Whether frames leave; otherwise they wait for a key."""
    epoch: int | None = None
    privacy_code: str | None = None
    """30 digits that all members see alike."""
    members: list[int] = []


class VerificationCode(Message, frozen=True, kw_only=True):
    """The answer to `Verify`."""

    request: RequestId
    code: str
    """45 digits; the other member's client shows the same."""


class MembersChanged(Message, frozen=True, kw_only=True):
    """Sent when users join or leave the voice channel of a call; its own user is never among them."""

    call: CallId
    joined: list[int] = []
    left: list[int] = []


class Speaking(Message, frozen=True, kw_only=True):
    """Sent when the voice server says how a member speaks, and by which RTP stream."""

    call: CallId
    user: int
    ssrc: int
    flags: int
    """Bits 0 to 2: microphone, soundshare, priority (Voice Connections, Speaking)."""


class MediaInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a source says of itself."""

    codec: str
    container: str
    sample_rate_hz: int
    channels: int
    duration_s: float | None = None
    title: str | None = None
    artist: str | None = None
    passthrough: bool = False
    """Its Opus packets can be sent as they are while the volume is 1."""
    live: bool = False
    """A stream without a length, which cannot seek."""
    tags: dict[str, str] = {}
    """What else is embedded, names in lower case: ``album``, ``genre``, ``replaygain_track_gain`` ..."""


class TrackFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one track is."""

    playback: PlaybackId
    position_s: float = 0.0
    """Where in its source what is heard now comes from."""
    frames_sent: int = 0
    """Frames of 20 ms in which it was heard."""


class TrackReady(Message, frozen=True, kw_only=True):
    """The answer to `Play`: the source is open, and its first sound can be heard at once."""

    request: RequestId
    call: CallId
    playback: PlaybackId
    info: MediaInfo


class TrackStarted(Message, frozen=True, kw_only=True):
    """Sent when the first frame of a track is about to be heard."""

    call: CallId
    playback: PlaybackId
    position_s: float = 0.0
    """Where in its source it begins."""


class TrackStuck(Message, frozen=True, kw_only=True):
    """Sent when a track should be heard and is not, for want of something; with 0 ms when it goes on."""

    call: CallId
    playback: PlaybackId
    waited_ms: int
    part: str = "source"
    """What is wanting: ``source`` has sent nothing, or ``encoder`` has not got to it."""


class TrackChanged(Message, frozen=True, kw_only=True):
    """Sent when a stream says of itself what is heard now, for example a station its next title."""

    call: CallId
    playback: PlaybackId
    title: str | None = None
    artist: str | None = None
    tags: dict[str, str] = {}


class StreamCredit(Message, frozen=True, kw_only=True):
    """Sent when a pushed stream may send more, and first when it is opened."""

    call: CallId
    stream: StreamId
    credit_ms: int
    """Milliseconds of audio beyond those granted before."""


class EndReason(enum.StrEnum):
    """Why a playback ended."""

    FINISHED = "finished"
    """The source came to its end and its last frame was sent."""
    STOPPED = "stopped"
    """`Stop`, or the call was closed by the bot."""
    REPLACED = "replaced"
    """Another track took its place, by `Play` or by `Skip`."""
    FAILED = "failed"
    """The source or the call broke; `error` says how."""


class TrackEnded(Message, frozen=True, kw_only=True):
    """Sent exactly once for each `TrackReady`."""

    call: CallId
    playback: PlaybackId
    reason: EndReason
    frames_sent: int
    """Frames of audio that left, 20 ms each, the closing silence not counted."""
    error: ErrorInfo | None = None
    skipped_packets: int = 0
    """Packets of the source that could not be decoded."""


class CallStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Figures of one call since it was opened, in Lavalink's terms where it has one."""

    call: CallId
    frames_sent: int = 0
    """Frames of audio sent."""
    silence_sent: int = 0
    """Frames of silence sent: after a pause or an end, and while starved."""
    frames_nulled: int = 0
    """Ticks at which a playing call had no frame ready (the source or the encoder was starved)."""
    send_errors: int = 0
    """Packets the operating system refused; the network's way of losing them."""
    ring_low: int = 0
    """Fewest frames left in the ring since the last report."""
    tracks: list[TrackFigures] = []
    """Those that play, the main track first."""
    gateway_rtt_ms: float | None = None
    messages_skipped: int = 0
    """Messages of the voice server on the present connection that were malformed, unknown or out of place."""
    nulled_by_source: int = 0
    """Those of `frames_nulled` for which the source had sent nothing."""
    nulled_by_encoder: int = 0
    """Those of `frames_nulled` for which there was sound, and it was not encoded in time."""
    reconnects: int = 0
    """Times the connection to the voice server was lost and made again, or resumed."""
    dave_version: int = 0
    """Version of end-to-end encryption in use; 0 while there is none."""
    dave_epochs: int = 0
    """Times the group changed its keys."""
    dave_failures: int = 0
    """Frames that could not be encrypted, and MLS messages that could not be followed."""


class Stats(Message, frozen=True, kw_only=True):
    """Sent each `stats_interval_s` and as the answer to `ReportStats`. Counters run since the start."""

    request: RequestId | None = None
    worker: WorkerId
    cpu_s: float
    """CPU time of the worker process, user and system."""
    uptime_s: float
    rss_bytes: int
    frames_sent: int
    """Packets sent, audio and silence, over all calls that ever were."""
    frames_nulled: int
    ticks_skipped: int
    """20 ms ticks given up after a stall longer than the catch-up cap."""
    lateness_counts: list[int]
    """Buckets of `voicepool.ipc.histogram`, trailing zeros cut."""
    lateness_max_us: int
    encoder_class: str
    """Scheduling class of the encoder at work now: ``idle``, or ``normal`` during a rescue."""
    rescues: int = 0
    """How often the encoder was moved to the normal class because rings ran low."""
    dropped_stats: int = 0
    """Reports not sent because the link was full."""
    encode_cpu_s: float = 0.0
    """CPU time of the encoder threads."""
    pacing_cpu_s: float = 0.0
    """CPU time of the pacing thread."""
    decode_s: float = 0.0
    opus_s: float = 0.0
    seal_s: float = 0.0
    """Time spent on decoding sources; on libopus; on both encryptions and sending. Estimated from samples."""
    pss_bytes: int | None = None
    """Memory of the process, its part of what is shared included; None where the platform does not tell."""
    complexity: int = 10
    """Opus complexity in force, which is below the configured one while the worker has too much to encode."""
    sheds: int = 0
    """How often it was lowered."""
    encoder_share: float = 0.0
    """Time the encoder threads were at work, per wall time, since the last regular report."""
    loop_lag_ms: float = 0.0
    """Longest time the control loop was late since the last regular report."""
    stations: list[str] = []
    """Keys of the stations that are on the air."""
    calls: list[CallStats] = []


class Bye(Message, frozen=True, kw_only=True):
    """Sent last, after `Shutdown`: all calls are closed."""


Event = (
    Hello
    | Ready
    | StartFailed
    | Done
    | Failed
    | CallOpened
    | CallClosed
    | CallReleased
    | CallInterrupted
    | CallRestored
    | ServerWanted
    | EncryptionState
    | VerificationCode
    | MembersChanged
    | Speaking
    | TrackReady
    | TrackStarted
    | TrackStuck
    | TrackChanged
    | StreamCredit
    | TrackEnded
    | Stats
    | Bye
)
