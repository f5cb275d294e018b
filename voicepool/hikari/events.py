"""A connection's events as hikari events, for ``@bot.listen()``.

Each class is the plain event of `voicepool.events` with the same attributes, and says besides which
connection it is about. Whoever listens for `VoiceConnectionEvent` gets them all. They come in order, each
listener's call in a task of its own, as with all of hikari's events::

    @bot.listen()
    async def on_interrupted(event: voicepool.VoiceInterruptedEvent) -> None:
        log.warning("guild %s: %s", event.guild_id, event.reason)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import hikari

from voicepool import events as plain

if TYPE_CHECKING:
    from voicepool.hikari.connection import VoiceConnection

__all__ = [
    "VoiceClosedEvent",
    "VoiceConnectedEvent",
    "VoiceConnectionEvent",
    "VoiceEncryptionChangedEvent",
    "VoiceInterruptedEvent",
    "VoiceMemberJoinedEvent",
    "VoiceMemberLeftEvent",
    "VoiceMemberSpeakingEvent",
    "VoiceQueueEmptyEvent",
    "VoiceQueueGaveUpEvent",
    "VoiceRestoredEvent",
    "VoiceServerWantedEvent",
    "VoiceTrackChangedEvent",
    "VoiceTrackEndedEvent",
    "VoiceTrackPositionEvent",
    "VoiceTrackStartedEvent",
    "VoiceTrackStuckEvent",
    "VoiceTrackUnstuckEvent",
    "as_hikari_event",
]


@dataclass(frozen=True, kw_only=True)
class VoiceConnectionEvent(hikari.Event):
    """Something that happened to a voicepool connection; the base of all that follow.

    Attributes
    ----------
    connection
        The connection.
    guild_id
        ID of its guild.
    channel_id
        ID of its voice channel, at the time.
    """

    connection: VoiceConnection
    guild_id: hikari.Snowflake
    channel_id: hikari.Snowflake

    @property
    def app(self) -> hikari.GatewayBotAware:
        """The bot."""
        bot = self.connection.bot
        assert bot is not None, "who has no bot has nobody to tell"
        return bot


@dataclass(frozen=True, kw_only=True)
class VoiceConnectedEvent(VoiceConnectionEvent, plain.Connected):
    """A voice session has begun; see `voicepool.Connected`."""

    channel_id: hikari.Snowflake


@dataclass(frozen=True, kw_only=True)
class VoiceInterruptedEvent(VoiceConnectionEvent, plain.Interrupted):
    """The connection was lost and is being mended; see `voicepool.Interrupted`."""


@dataclass(frozen=True, kw_only=True)
class VoiceRestoredEvent(VoiceConnectionEvent, plain.Restored):
    """Sound can be sent again; see `voicepool.Restored`."""


@dataclass(frozen=True, kw_only=True)
class VoiceServerWantedEvent(VoiceConnectionEvent, plain.ServerWanted):
    """New credentials are needed, and already asked for; see `voicepool.ServerWanted`."""


@dataclass(frozen=True, kw_only=True)
class VoiceClosedEvent(VoiceConnectionEvent, plain.Closed):
    """The connection has ended; see `voicepool.Closed`."""


@dataclass(frozen=True, kw_only=True)
class VoiceMemberJoinedEvent(VoiceConnectionEvent, plain.MemberJoined):
    """A user has joined the call; see `voicepool.MemberJoined`."""


@dataclass(frozen=True, kw_only=True)
class VoiceMemberLeftEvent(VoiceConnectionEvent, plain.MemberLeft):
    """A user has left the call; see `voicepool.MemberLeft`."""


@dataclass(frozen=True, kw_only=True)
class VoiceMemberSpeakingEvent(VoiceConnectionEvent, plain.MemberSpeaking):
    """A member's way of speaking has changed; see `voicepool.MemberSpeaking`."""


@dataclass(frozen=True, kw_only=True)
class VoiceEncryptionChangedEvent(VoiceConnectionEvent, plain.EncryptionChanged):
    """The end-to-end encryption is another; see `voicepool.EncryptionChanged`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackStartedEvent(VoiceConnectionEvent, plain.TrackStarted):
    """A track is heard from now on; see `voicepool.TrackStarted`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackEndedEvent(VoiceConnectionEvent, plain.TrackEnded):
    """A track is over; see `voicepool.TrackEnded`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackStuckEvent(VoiceConnectionEvent, plain.TrackStuck):
    """A track waits for its source, or for the encoder; see `voicepool.TrackStuck`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackUnstuckEvent(VoiceConnectionEvent, plain.TrackUnstuck):
    """A track that was stuck goes on; see `voicepool.TrackUnstuck`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackPositionEvent(VoiceConnectionEvent, plain.TrackPosition):
    """The worker has said where a track is; see `voicepool.TrackPosition`."""


@dataclass(frozen=True, kw_only=True)
class VoiceTrackChangedEvent(VoiceConnectionEvent, plain.TrackChanged):
    """A stream has said what is heard now; see `voicepool.TrackChanged`."""


@dataclass(frozen=True, kw_only=True)
class VoiceQueueEmptyEvent(VoiceConnectionEvent, plain.QueueEmpty):
    """The last track of the queue is over; see `voicepool.QueueEmpty`."""


@dataclass(frozen=True, kw_only=True)
class VoiceQueueGaveUpEvent(VoiceConnectionEvent, plain.QueueGaveUp):
    """Too many tracks of the queue failed in a row; see `voicepool.QueueGaveUp`."""


_KINDS: Final[dict[type, type[VoiceConnectionEvent]]] = {
    kind.__bases__[1]: kind for kind in VoiceConnectionEvent.__subclasses__()
}
"""The hikari event of each plain one."""


def as_hikari_event(event: plain.ConnectionEvent, connection: VoiceConnection) -> VoiceConnectionEvent:
    """Return the hikari event that says the same as a plain one."""
    said = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
    place = {"guild_id": connection.guild_id, "channel_id": connection.channel_id}
    return _KINDS[type(event)](connection=connection, **(place | said))
