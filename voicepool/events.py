"""What a bot can learn of a running call: frozen events, handed to whoever listens on the connection.

::

    stop_listening = voice.listen(print)

    async for event in voice.events(voicepool.Interrupted, voicepool.Restored):
        ...

`Connected` says that a voice session has begun: the first, and one for each move or region change. A
connection is *interrupted* when it loses the voice server; it mends itself, and what plays is kept. Each
`Interrupted` is followed by one `Restored`, when sound can be sent again, or by `Closed`, the end. If it took
new credentials to mend it, `ServerWanted` and another `Connected` come in between. A listener hears what
happens from then on; the connection's properties say how things are.

Of each track come `TrackStarted`, unless it was never heard, and one `TrackEnded`. Of one that the queue had
opened ahead and then did without nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from voicepool.errors import VoicePoolError
from voicepool.track import EndReason, Track

__all__ = [
    "Closed",
    "Connected",
    "ConnectionEvent",
    "EncryptionChanged",
    "Interrupted",
    "Listener",
    "MemberJoined",
    "MemberLeft",
    "MemberSpeaking",
    "QueueEmpty",
    "QueueGaveUp",
    "Restored",
    "ServerWanted",
    "TrackChanged",
    "TrackEnded",
    "TrackPosition",
    "TrackStarted",
    "TrackStuck",
    "TrackUnstuck",
]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The connection was lost and is being mended.

    Attributes
    ----------
    reason
        What happened.
    """

    reason: VoicePoolError


@dataclass(frozen=True, slots=True)
class Restored:
    """Sound can be sent again.

    Attributes
    ----------
    gap_ms
        How long it could not, in milliseconds; 0 when the voice session was resumed and sound never stopped.
    resumed
        Whether the old voice session goes on, rather than a new one.
    """

    gap_ms: float
    resumed: bool


@dataclass(frozen=True, slots=True)
class ServerWanted:
    """The call can go on with new credentials only; `connect(credentials)` hands them over.

    Attributes
    ----------
    rejoin
        Whether the bot has to ask Discord for them: leave the channel and join it again (op 4). Otherwise
        Discord sends them by itself, or the call is over.
    reason
        What happened; None if Discord took the server away and will name another.
    """

    rejoin: bool
    reason: VoicePoolError | None = None


@dataclass(frozen=True, slots=True)
class EncryptionChanged:
    """The end-to-end encryption is another: its version, its key, or who is in it.

    Attributes
    ----------
    protocol_version
        DAVE protocol version; 0 is none.
    sending
        Whether frames leave; otherwise silence goes out until there is a key.
    privacy_code
        30 digits that all members see alike; None without a group.
    members
        IDs of those who can decrypt, the bot included.
    """

    protocol_version: int
    sending: bool
    privacy_code: str | None = None
    members: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Connected:
    """A voice session has begun: the first one, and after each move or region change.

    Attributes
    ----------
    channel_id
        Of the voice channel.
    mode
        Transport encryption in use, by its name on Discord's wire.
    """

    channel_id: int
    mode: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection has ended; the last event of all.

    Attributes
    ----------
    reason
        Why; None if it was disconnected by the bot.
    """

    reason: VoicePoolError | None


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A user has joined the voice channel, or was there when the bot came."""

    user_id: int


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A user has left the voice channel."""

    user_id: int


@dataclass(frozen=True, slots=True)
class MemberSpeaking:
    """The voice server has said how a member speaks. It says so when that changes, not with each word.

    Attributes
    ----------
    user_id
        The member.
    ssrc
        RTP synchronisation source of what the member sends.
    flags
        Bits 0 to 2: microphone, soundshare, priority (Voice Connections, Speaking).
    """

    user_id: int
    ssrc: int
    flags: int


@dataclass(frozen=True, slots=True)
class TrackStarted:
    """A track is heard from now on.

    Attributes
    ----------
    track
        The track.
    position_s
        Where in its source it begins, in seconds.
    """

    track: Track
    position_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackEnded:
    """A track is over.

    Attributes
    ----------
    track
        The track.
    reason
        Why.
    error
        What went wrong, if the reason is ``FAILED`` or ``WORKER_LOST``.
    """

    track: Track
    reason: EndReason
    error: VoicePoolError | None = None


@dataclass(frozen=True, slots=True)
class TrackStuck:
    """A track should be heard and is not, for want of something. `TrackUnstuck` follows when it goes on.

    Attributes
    ----------
    track
        The track.
    waited_ms
        For how long, in milliseconds; told again while it grows.
    part
        What is wanting: ``"source"`` has sent nothing, or ``"encoder"`` has not got to it.
    """

    track: Track
    waited_ms: int
    part: str = "source"


@dataclass(frozen=True, slots=True)
class TrackUnstuck:
    """A track that was stuck goes on."""

    track: Track


@dataclass(frozen=True, slots=True)
class TrackPosition:
    """The worker has said where a track is, as it does each second (``stats_interval_s`` of the config).

    Attributes
    ----------
    track
        The track. Its ``position_s`` is exact at any time, without this event.
    position_s
        Where in its source what is heard now comes from, in seconds.
    """

    track: Track
    position_s: float


@dataclass(frozen=True, slots=True)
class TrackChanged:
    """A stream has said what is heard now, for example a station its next title; `Track.info` says so too.

    Attributes
    ----------
    track
        The track.
    title, artist
        None if it does not say.
    tags
        What else it says.
    """

    track: Track
    title: str | None = None
    artist: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class QueueEmpty:
    """The last track of the queue is over, and nothing is upcoming."""


@dataclass(frozen=True, slots=True)
class QueueGaveUp:
    """So many tracks of the queue failed in a row that it has stopped; ``voice.queue.start()`` goes on.

    Attributes
    ----------
    failures
        How many.
    error
        Of the last of them.
    """

    failures: int
    error: VoicePoolError


ConnectionEvent = (
    Connected
    | Interrupted
    | Restored
    | ServerWanted
    | Closed
    | MemberJoined
    | MemberLeft
    | MemberSpeaking
    | EncryptionChanged
    | TrackStarted
    | TrackEnded
    | TrackStuck
    | TrackUnstuck
    | TrackPosition
    | TrackChanged
    | QueueEmpty
    | QueueGaveUp
)
Listener = Callable[[ConnectionEvent], object]
