"""voicepool for hikari bots: `connect`, `VoiceConnection`, and events. Only this folder imports hikari.

What hikari's voice component does and leaves undone (2.3 to 2.7):

* It calls `VoiceConnection.initialize` once both updates of the join are there, and hands later events of the
  guild to `VoiceConnection.notify`, each in a task of its own: they start in order and overlap.
* A connection leaves its map, and the channel, only when the connection calls ``on_close``: exactly once,
  never from inside `initialize`, and after everything else has ended, since it may fail or take a minute.
* It loses the events that come during `initialize`, takes the state update of a leave for that of a join,
  lets the bot stay in the channel when it times out or is cancelled, lets two joins of one guild collide, and
  misses a lost gateway session.

So a connection hears the events itself, through a `VoiceWatch` that begins before op 4 where `connect` made
the call and with `initialize` where the component did. Each event is taken in before anything is waited for,
and a newer one overtakes what an older one waits for.

The parts: `joining` (`connect`), `connection`, `watch` (the bot's own voice in one guild), `router` (one
listener a bot), `rejoin` (leave and join again for new credentials), `events`, `facts` and `admission` (why a
join cannot succeed), `locks`.
"""

from __future__ import annotations

try:
    import hikari as _hikari  # noqa: F401  # only to say what is missing
except ModuleNotFoundError as error:
    msg = "voicepool.VoiceConnection needs hikari; install voicepool[hikari]"
    raise ModuleNotFoundError(msg, name=error.name) from error

from voicepool.hikari.connection import VoiceConnection
from voicepool.hikari.events import (
    VoiceClosedEvent,
    VoiceConnectedEvent,
    VoiceConnectionEvent,
    VoiceEncryptionChangedEvent,
    VoiceInterruptedEvent,
    VoiceMemberJoinedEvent,
    VoiceMemberLeftEvent,
    VoiceMemberSpeakingEvent,
    VoiceQueueEmptyEvent,
    VoiceQueueGaveUpEvent,
    VoiceRestoredEvent,
    VoiceServerWantedEvent,
    VoiceTrackChangedEvent,
    VoiceTrackEndedEvent,
    VoiceTrackPositionEvent,
    VoiceTrackStartedEvent,
    VoiceTrackStuckEvent,
    VoiceTrackUnstuckEvent,
)
from voicepool.hikari.joining import connect

__all__ = [
    "VoiceClosedEvent",
    "VoiceConnectedEvent",
    "VoiceConnection",
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
    "connect",
]
