"""Voice for Discord bots in worker processes of their own: sound that does not stutter when the bot is busy.

Every public name is loaded on its first use (PEP 562). That is not only for speed: a worker process imports
this package too, on the way to ``voicepool.workers``, and must not load hikari or anything of the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from voicepool._playing.options import PlayOptions as PlayOptions
    from voicepool.config import PoolConfig as PoolConfig
    from voicepool.connection import BaseVoiceConnection as BaseVoiceConnection
    from voicepool.credentials import VoiceCredentials as VoiceCredentials
    from voicepool.encoding import Encoding as Encoding
    from voicepool.errors import AuthenticationError as AuthenticationError
    from voicepool.errors import CallGoneError as CallGoneError
    from voicepool.errors import CertificateError as CertificateError
    from voicepool.errors import ClosedByServerError as ClosedByServerError
    from voicepool.errors import ConfigError as ConfigError
    from voicepool.errors import ConnectError as ConnectError
    from voicepool.errors import ConnectRefusedError as ConnectRefusedError
    from voicepool.errors import ConnectTimeoutError as ConnectTimeoutError
    from voicepool.errors import DaveRequiredError as DaveRequiredError
    from voicepool.errors import FilterRefusedError as FilterRefusedError
    from voicepool.errors import InternalError as InternalError
    from voicepool.errors import JoinError as JoinError
    from voicepool.errors import LibopusMissingError as LibopusMissingError
    from voicepool.errors import NoCommonModeError as NoCommonModeError
    from voicepool.errors import PoolClosedError as PoolClosedError
    from voicepool.errors import PoolFullError as PoolFullError
    from voicepool.errors import PoolNotStartedError as PoolNotStartedError
    from voicepool.errors import ProtocolError as ProtocolError
    from voicepool.errors import ResolverError as ResolverError
    from voicepool.errors import SourceError as SourceError
    from voicepool.errors import SourceFailedError as SourceFailedError
    from voicepool.errors import SourceNotFoundError as SourceNotFoundError
    from voicepool.errors import SourceQuarantinedError as SourceQuarantinedError
    from voicepool.errors import SourceRefusedError as SourceRefusedError
    from voicepool.errors import SourceTimeoutError as SourceTimeoutError
    from voicepool.errors import SourceTruncatedError as SourceTruncatedError
    from voicepool.errors import SourceUnreadableError as SourceUnreadableError
    from voicepool.errors import SupersededError as SupersededError
    from voicepool.errors import TrackGoneError as TrackGoneError
    from voicepool.errors import UnseekableError as UnseekableError
    from voicepool.errors import UnverifiableError as UnverifiableError
    from voicepool.errors import VoicePoolError as VoicePoolError
    from voicepool.errors import WorkerError as WorkerError
    from voicepool.errors import WorkerLostError as WorkerLostError
    from voicepool.errors import WorkerStartError as WorkerStartError
    from voicepool.errors import WorkerTimeoutError as WorkerTimeoutError
    from voicepool.events import Closed as Closed
    from voicepool.events import Connected as Connected
    from voicepool.events import EncryptionChanged as EncryptionChanged
    from voicepool.events import Interrupted as Interrupted
    from voicepool.events import MemberJoined as MemberJoined
    from voicepool.events import MemberLeft as MemberLeft
    from voicepool.events import MemberSpeaking as MemberSpeaking
    from voicepool.events import QueueEmpty as QueueEmpty
    from voicepool.events import QueueGaveUp as QueueGaveUp
    from voicepool.events import Restored as Restored
    from voicepool.events import ServerWanted as ServerWanted
    from voicepool.events import TrackChanged as TrackChanged
    from voicepool.events import TrackEnded as TrackEnded
    from voicepool.events import TrackPosition as TrackPosition
    from voicepool.events import TrackStarted as TrackStarted
    from voicepool.events import TrackStuck as TrackStuck
    from voicepool.events import TrackUnstuck as TrackUnstuck
    from voicepool.hikari import VoiceClosedEvent as VoiceClosedEvent
    from voicepool.hikari import VoiceConnectedEvent as VoiceConnectedEvent
    from voicepool.hikari import VoiceConnection as VoiceConnection
    from voicepool.hikari import VoiceConnectionEvent as VoiceConnectionEvent
    from voicepool.hikari import VoiceEncryptionChangedEvent as VoiceEncryptionChangedEvent
    from voicepool.hikari import VoiceInterruptedEvent as VoiceInterruptedEvent
    from voicepool.hikari import VoiceMemberJoinedEvent as VoiceMemberJoinedEvent
    from voicepool.hikari import VoiceMemberLeftEvent as VoiceMemberLeftEvent
    from voicepool.hikari import VoiceMemberSpeakingEvent as VoiceMemberSpeakingEvent
    from voicepool.hikari import VoiceQueueEmptyEvent as VoiceQueueEmptyEvent
    from voicepool.hikari import VoiceQueueGaveUpEvent as VoiceQueueGaveUpEvent
    from voicepool.hikari import VoiceRestoredEvent as VoiceRestoredEvent
    from voicepool.hikari import VoiceServerWantedEvent as VoiceServerWantedEvent
    from voicepool.hikari import VoiceTrackChangedEvent as VoiceTrackChangedEvent
    from voicepool.hikari import VoiceTrackEndedEvent as VoiceTrackEndedEvent
    from voicepool.hikari import VoiceTrackPositionEvent as VoiceTrackPositionEvent
    from voicepool.hikari import VoiceTrackStartedEvent as VoiceTrackStartedEvent
    from voicepool.hikari import VoiceTrackStuckEvent as VoiceTrackStuckEvent
    from voicepool.hikari import VoiceTrackUnstuckEvent as VoiceTrackUnstuckEvent
    from voicepool.hikari import connect as connect
    from voicepool.play_queue import PlayQueue as PlayQueue
    from voicepool.pool import VoicePool as VoicePool
    from voicepool.pool_events import CallMoved as CallMoved
    from voicepool.pool_events import ConfigReloaded as ConfigReloaded
    from voicepool.pool_events import ExitReason as ExitReason
    from voicepool.pool_events import MoveReason as MoveReason
    from voicepool.pool_events import PoolScaled as PoolScaled
    from voicepool.pool_events import SettingRefused as SettingRefused
    from voicepool.pool_events import WorkerHeavy as WorkerHeavy
    from voicepool.pool_events import WorkerLooping as WorkerLooping
    from voicepool.pool_events import WorkerLost as WorkerLost
    from voicepool.pool_events import WorkerShed as WorkerShed
    from voicepool.pool_events import WorkerStarted as WorkerStarted
    from voicepool.quarantine import Quarantine as Quarantine
    from voicepool.queue import Loop as Loop
    from voicepool.queue import QueueFullError as QueueFullError
    from voicepool.queued import QueuedTrack as QueuedTrack
    from voicepool.resolver import Resolved as Resolved
    from voicepool.resolver import WorkerResolver as WorkerResolver
    from voicepool.source import AudioFile as AudioFile
    from voicepool.source import Silence as Silence
    from voicepool.station import Station as Station
    from voicepool.stats import CallFigures as CallFigures
    from voicepool.stats import Gaps as Gaps
    from voicepool.stats import Lateness as Lateness
    from voicepool.stats import PoolStats as PoolStats
    from voicepool.stats import SlotTotals as SlotTotals
    from voicepool.stats import Stutter as Stutter
    from voicepool.stats import StutterCause as StutterCause
    from voicepool.stats import WorkerInfo as WorkerInfo
    from voicepool.stats import WorkerState as WorkerState
    from voicepool.stats import WorkerStats as WorkerStats
    from voicepool.streams import OpusStream as OpusStream
    from voicepool.streams import PcmStream as PcmStream
    from voicepool.streams import StreamClosedError as StreamClosedError
    from voicepool.track import EndReason as EndReason
    from voicepool.track import Track as Track
    from voicepool.track import TrackInfo as TrackInfo
    from voicepool.track import TrackState as TrackState

    __version__: str

_MODULES: Final = {
    "_playing.options": ("PlayOptions",),
    "config": ("PoolConfig",),
    "connection": ("BaseVoiceConnection",),
    "credentials": ("VoiceCredentials",),
    "encoding": ("Encoding",),
    "errors": (
        "AuthenticationError",
        "CallGoneError",
        "CertificateError",
        "ClosedByServerError",
        "ConfigError",
        "ConnectError",
        "ConnectRefusedError",
        "ConnectTimeoutError",
        "DaveRequiredError",
        "FilterRefusedError",
        "InternalError",
        "JoinError",
        "LibopusMissingError",
        "NoCommonModeError",
        "PoolClosedError",
        "PoolFullError",
        "PoolNotStartedError",
        "ProtocolError",
        "ResolverError",
        "SourceError",
        "SourceFailedError",
        "SourceNotFoundError",
        "SourceQuarantinedError",
        "SourceRefusedError",
        "SourceTimeoutError",
        "SourceTruncatedError",
        "SourceUnreadableError",
        "SupersededError",
        "TrackGoneError",
        "UnseekableError",
        "UnverifiableError",
        "VoicePoolError",
        "WorkerError",
        "WorkerLostError",
        "WorkerStartError",
        "WorkerTimeoutError",
    ),
    "events": (
        "Closed",
        "Connected",
        "EncryptionChanged",
        "Interrupted",
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
    ),
    "hikari": (
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
    ),
    "play_queue": ("PlayQueue",),
    "pool": ("VoicePool",),
    "pool_events": (
        "CallMoved",
        "ConfigReloaded",
        "ExitReason",
        "MoveReason",
        "PoolScaled",
        "SettingRefused",
        "WorkerHeavy",
        "WorkerLooping",
        "WorkerLost",
        "WorkerShed",
        "WorkerStarted",
    ),
    "quarantine": ("Quarantine",),
    "queue": ("Loop", "QueueFullError"),
    "queued": ("QueuedTrack",),
    "resolver": ("Resolved", "WorkerResolver"),
    "source": ("AudioFile", "Silence"),
    "station": ("Station",),
    "stats": (
        "CallFigures",
        "Gaps",
        "Lateness",
        "PoolStats",
        "SlotTotals",
        "Stutter",
        "StutterCause",
        "WorkerInfo",
        "WorkerState",
        "WorkerStats",
    ),
    "streams": ("OpusStream", "PcmStream", "StreamClosedError"),
    "track": ("EndReason", "Track", "TrackInfo", "TrackState"),
}
_HOME_OF: Final = {name: f"voicepool.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "AudioFile",
    "AuthenticationError",
    "BaseVoiceConnection",
    "CallFigures",
    "CallGoneError",
    "CallMoved",
    "CertificateError",
    "Closed",
    "ClosedByServerError",
    "ConfigError",
    "ConfigReloaded",
    "ConnectError",
    "ConnectRefusedError",
    "ConnectTimeoutError",
    "Connected",
    "DaveRequiredError",
    "Encoding",
    "EncryptionChanged",
    "EndReason",
    "ExitReason",
    "FilterRefusedError",
    "Gaps",
    "InternalError",
    "Interrupted",
    "JoinError",
    "Lateness",
    "LibopusMissingError",
    "Loop",
    "MemberJoined",
    "MemberLeft",
    "MemberSpeaking",
    "MoveReason",
    "NoCommonModeError",
    "OpusStream",
    "PcmStream",
    "PlayOptions",
    "PlayQueue",
    "PoolClosedError",
    "PoolConfig",
    "PoolFullError",
    "PoolNotStartedError",
    "PoolScaled",
    "PoolStats",
    "ProtocolError",
    "Quarantine",
    "QueueEmpty",
    "QueueFullError",
    "QueueGaveUp",
    "QueuedTrack",
    "Resolved",
    "ResolverError",
    "Restored",
    "ServerWanted",
    "SettingRefused",
    "Silence",
    "SlotTotals",
    "SourceError",
    "SourceFailedError",
    "SourceNotFoundError",
    "SourceQuarantinedError",
    "SourceRefusedError",
    "SourceTimeoutError",
    "SourceTruncatedError",
    "SourceUnreadableError",
    "Station",
    "StreamClosedError",
    "Stutter",
    "StutterCause",
    "SupersededError",
    "Track",
    "TrackChanged",
    "TrackEnded",
    "TrackGoneError",
    "TrackInfo",
    "TrackPosition",
    "TrackStarted",
    "TrackState",
    "TrackStuck",
    "TrackUnstuck",
    "UnseekableError",
    "UnverifiableError",
    "VoiceClosedEvent",
    "VoiceConnectedEvent",
    "VoiceConnection",
    "VoiceConnectionEvent",
    "VoiceCredentials",
    "VoiceEncryptionChangedEvent",
    "VoiceInterruptedEvent",
    "VoiceMemberJoinedEvent",
    "VoiceMemberLeftEvent",
    "VoiceMemberSpeakingEvent",
    "VoicePool",
    "VoicePoolError",
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
    "WorkerError",
    "WorkerHeavy",
    "WorkerInfo",
    "WorkerLooping",
    "WorkerLost",
    "WorkerLostError",
    "WorkerResolver",
    "WorkerShed",
    "WorkerStartError",
    "WorkerStarted",
    "WorkerState",
    "WorkerStats",
    "WorkerTimeoutError",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = _read_version()
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'voicepool' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_version() -> str:
    # Imported here: it costs more than the rest of this file, and workers do not need it.
    import importlib.metadata  # noqa: PLC0415

    try:
        return importlib.metadata.version("voicepool")
    except importlib.metadata.PackageNotFoundError:
        return "0+checkout"
