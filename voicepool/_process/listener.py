"""Who is told what a worker says unasked: the owner of the call that it is about."""

from __future__ import annotations

from typing import Protocol

from voicepool.errors import VoicePoolError
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    CallStats,
    EncryptionState,
    MembersChanged,
    ServerWanted,
    Speaking,
    StreamCredit,
    TrackChanged,
    TrackEnded,
    TrackReady,
    TrackStarted,
    TrackStuck,
)

__all__ = ["CallEvent", "CallListener", "TrackEvent"]

CallEvent = (
    CallOpened | CallInterrupted | CallRestored | ServerWanted | EncryptionState | MembersChanged | Speaking
)
"""News of a call that goes on."""
TrackEvent = TrackReady | TrackStarted | TrackStuck | TrackChanged | TrackEnded | StreamCredit
"""News of what a call plays."""


class CallListener(Protocol):
    """Whoever owns a call. Called on the event loop; must not block."""

    def on_track_event(self, event: TrackEvent) -> None:
        """Take news of what the call plays."""

    def on_call_closed(self, event: CallClosed) -> None:
        """Take the end of the call itself."""

    def on_call_event(self, event: CallEvent) -> None:
        """Take news of a call that goes on."""

    def on_stats(self, stats: CallStats) -> None:
        """Take the figures of the call."""

    def on_worker_lost(self, error: VoicePoolError) -> None:
        """Take the end of the worker that held the call."""
