"""Voice for Discord bots in worker processes of their own: sound that does not stutter when the bot is busy.

Every public name is loaded on its first use (PEP 562). That is not only for speed: a worker process imports
this package too, on the way to ``voicepool.workers``, and must not load hikari or anything of the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from voicepool.config import PoolConfig as PoolConfig
    from voicepool.connection import BaseVoiceConnection as BaseVoiceConnection
    from voicepool.credentials import VoiceCredentials as VoiceCredentials
    from voicepool.errors import AuthenticationError as AuthenticationError
    from voicepool.errors import CallGoneError as CallGoneError
    from voicepool.errors import CertificateError as CertificateError
    from voicepool.errors import ClosedByServerError as ClosedByServerError
    from voicepool.errors import ConfigError as ConfigError
    from voicepool.errors import ConnectError as ConnectError
    from voicepool.errors import ConnectRefusedError as ConnectRefusedError
    from voicepool.errors import ConnectTimeoutError as ConnectTimeoutError
    from voicepool.errors import DaveRequiredError as DaveRequiredError
    from voicepool.errors import InternalError as InternalError
    from voicepool.errors import JoinError as JoinError
    from voicepool.errors import LibopusMissingError as LibopusMissingError
    from voicepool.errors import NoCommonModeError as NoCommonModeError
    from voicepool.errors import PoolClosedError as PoolClosedError
    from voicepool.errors import PoolFullError as PoolFullError
    from voicepool.errors import PoolNotStartedError as PoolNotStartedError
    from voicepool.errors import ProtocolError as ProtocolError
    from voicepool.errors import SourceError as SourceError
    from voicepool.errors import SourceFailedError as SourceFailedError
    from voicepool.errors import SourceNotFoundError as SourceNotFoundError
    from voicepool.errors import SourceRefusedError as SourceRefusedError
    from voicepool.errors import SourceTimeoutError as SourceTimeoutError
    from voicepool.errors import SourceTruncatedError as SourceTruncatedError
    from voicepool.errors import SourceUnreadableError as SourceUnreadableError
    from voicepool.errors import SupersededError as SupersededError
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
    from voicepool.events import Restored as Restored
    from voicepool.events import ServerWanted as ServerWanted
    from voicepool.hikari import VoiceClosedEvent as VoiceClosedEvent
    from voicepool.hikari import VoiceConnectedEvent as VoiceConnectedEvent
    from voicepool.hikari import VoiceConnection as VoiceConnection
    from voicepool.hikari import VoiceConnectionEvent as VoiceConnectionEvent
    from voicepool.hikari import VoiceEncryptionChangedEvent as VoiceEncryptionChangedEvent
    from voicepool.hikari import VoiceInterruptedEvent as VoiceInterruptedEvent
    from voicepool.hikari import VoiceMemberJoinedEvent as VoiceMemberJoinedEvent
    from voicepool.hikari import VoiceMemberLeftEvent as VoiceMemberLeftEvent
    from voicepool.hikari import VoiceMemberSpeakingEvent as VoiceMemberSpeakingEvent
    from voicepool.hikari import VoiceRestoredEvent as VoiceRestoredEvent
    from voicepool.hikari import VoiceServerWantedEvent as VoiceServerWantedEvent
    from voicepool.hikari import connect as connect
    from voicepool.pool import VoicePool as VoicePool
    from voicepool.source import AudioFile as AudioFile
    from voicepool.stats import CallFigures as CallFigures
    from voicepool.stats import Lateness as Lateness
    from voicepool.stats import PoolStats as PoolStats
    from voicepool.stats import WorkerInfo as WorkerInfo
    from voicepool.stats import WorkerState as WorkerState
    from voicepool.stats import WorkerStats as WorkerStats

    __version__: str

_MODULES: Final = {
    "config": ("PoolConfig",),
    "connection": ("BaseVoiceConnection",),
    "credentials": ("VoiceCredentials",),
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
        "InternalError",
        "JoinError",
        "LibopusMissingError",
        "NoCommonModeError",
        "PoolClosedError",
        "PoolFullError",
        "PoolNotStartedError",
        "ProtocolError",
        "SourceError",
        "SourceFailedError",
        "SourceNotFoundError",
        "SourceRefusedError",
        "SourceTimeoutError",
        "SourceTruncatedError",
        "SourceUnreadableError",
        "SupersededError",
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
        "Restored",
        "ServerWanted",
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
        "VoiceRestoredEvent",
        "VoiceServerWantedEvent",
        "connect",
    ),
    "pool": ("VoicePool",),
    "source": ("AudioFile",),
    "stats": ("CallFigures", "Lateness", "PoolStats", "WorkerInfo", "WorkerState", "WorkerStats"),
}
_HOME_OF: Final = {name: f"voicepool.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "AudioFile",
    "AuthenticationError",
    "BaseVoiceConnection",
    "CallFigures",
    "CallGoneError",
    "CertificateError",
    "Closed",
    "ClosedByServerError",
    "ConfigError",
    "ConnectError",
    "ConnectRefusedError",
    "ConnectTimeoutError",
    "Connected",
    "DaveRequiredError",
    "EncryptionChanged",
    "InternalError",
    "Interrupted",
    "JoinError",
    "Lateness",
    "LibopusMissingError",
    "MemberJoined",
    "MemberLeft",
    "MemberSpeaking",
    "NoCommonModeError",
    "PoolClosedError",
    "PoolConfig",
    "PoolFullError",
    "PoolNotStartedError",
    "PoolStats",
    "ProtocolError",
    "Restored",
    "ServerWanted",
    "SourceError",
    "SourceFailedError",
    "SourceNotFoundError",
    "SourceRefusedError",
    "SourceTimeoutError",
    "SourceTruncatedError",
    "SourceUnreadableError",
    "SupersededError",
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
    "VoiceRestoredEvent",
    "VoiceServerWantedEvent",
    "WorkerError",
    "WorkerInfo",
    "WorkerLostError",
    "WorkerStartError",
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
