"""What a bot can learn of a running call: frozen events, handed to whoever listens on the connection.

::

    stop_listening = voice.listen(print)

A connection is *interrupted* when it loses the voice server and mends itself; what plays is kept. It is
*restored* when sound can be sent again. Its *encryption* changes whenever a member joins or leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from voicepool.errors import VoicePoolError

__all__ = ["ConnectionEvent", "EncryptionChanged", "Interrupted", "Listener", "Restored", "ServerWanted"]


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
    """

    rejoin: bool


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


ConnectionEvent = Interrupted | Restored | ServerWanted | EncryptionChanged
Listener = Callable[[ConnectionEvent], object]
