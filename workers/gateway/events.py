"""What the voice gateway tells its owner: one frozen Struct each, and their union.

All but the last three can come in any state: a server may announce clients, speakers and end-to-end
encryption before the handshake is over.
"""

from __future__ import annotations

import msgspec

from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import ClosePolicy, SpeakingFlag, close_error, close_policy
from voicepool.workers.gateway.payloads import Redacted

__all__ = [
    "ClientDisconnected",
    "ClientsConnected",
    "DaveMessage",
    "GatewayClosed",
    "GatewayEvent",
    "GatewayFailed",
    "HeartbeatLost",
    "Ready",
    "Resumed",
    "SessionDescription",
    "Skipped",
    "SpeakingUpdate",
    "VoiceIdentity",
]


class VoiceIdentity(Redacted, frozen=True):
    """Who we are to the voice server; what IDENTIFY and RESUME need.

    Attributes
    ----------
    server_id
        The guild.
    user_id
        The bot.
    session_id
        Of the bot's voice state update. Secret.
    token
        Of the voice server update. Secret.
    """

    server_id: int
    user_id: int
    session_id: str
    token: str


class Ready(msgspec.Struct, frozen=True):
    """The server knows us. Next: open the UDP socket, discover our address, ``select_protocol``.

    Attributes
    ----------
    ssrc
        Ours, for every RTP packet.
    ip, port
        Where our UDP packets go.
    modes
        Transport encryption the server offers, by its wire names.
    """

    ssrc: int
    ip: str
    port: int
    modes: tuple[str, ...]


class SessionDescription(Redacted, frozen=True):
    """The key. Audio may flow after a SPEAKING.

    If it comes again with the *same* key, keep the sealer in use: a new one would start its nonces anew.

    Attributes
    ----------
    mode
        The encryption mode, as selected.
    secret_key
        32 bytes. Secret.
    dave_protocol_version
        0: the call is not end-to-end encrypted.
    """

    mode: str
    secret_key: bytes
    dave_protocol_version: int


class Resumed(msgspec.Struct, frozen=True):
    """The session goes on, key and SSRC unchanged. What was missed comes now."""


class SpeakingUpdate(msgspec.Struct, frozen=True):
    """An SSRC belongs to this user."""

    user_id: int
    ssrc: int
    flags: SpeakingFlag


class ClientsConnected(msgspec.Struct, frozen=True):
    """These users are in the call."""

    user_ids: tuple[int, ...]


class ClientDisconnected(msgspec.Struct, frozen=True):
    """A user has left the call."""

    user_id: int


class DaveMessage(msgspec.Struct, frozen=True):
    """A message of the end-to-end encryption, as it came.

    Attributes
    ----------
    opcode
        21 to 31.
    payload
        Bytes after the opcode of a binary frame, or the JSON of ``d``.
    seq
        Its sequence number, if it had one.
    binary
        Which of the two the payload is.
    """

    opcode: int
    payload: bytes
    seq: int | None
    binary: bool


class Skipped(msgspec.Struct, frozen=True):
    """A message was of no use; told for the first of its kind on this websocket, all are counted.

    Attributes
    ----------
    what
        The kind of message, for example ``"unknown opcode 99"``.
    """

    what: str


class HeartbeatLost(msgspec.Struct, frozen=True):
    """The server has not answered; the websocket is about to be closed in a way that allows a resume.

    Attributes
    ----------
    unanswered
        Heartbeats without an ACK.
    silent_s
        Seconds since the oldest of them was sent.
    """

    unanswered: int
    silent_s: float


class GatewayFailed(msgspec.Struct, frozen=True):
    """The handshake cannot go on, by our own judgement; the websocket is about to be closed."""

    error: CallError


class GatewayClosed(msgspec.Struct, frozen=True):
    """The websocket is gone. Comes exactly once, and nothing after it.

    Attributes
    ----------
    code
        Close code; 1006 if there was none (RFC 6455 §7.1.5).
    reason
        Text of the close frame, from the server or ours.
    by_us
        Whether we began the closing.
    server
        Host and port, for texts.
    """

    code: int
    reason: str
    by_us: bool
    server: str

    @property
    def policy(self) -> ClosePolicy:
        """What this close asks of a running call."""
        return close_policy(self.code)

    def to_error(self) -> CallError:
        """Return the error for whoever waited for this call."""
        return close_error(self.code, self.reason, server=self.server)


GatewayEvent = (
    Ready
    | SessionDescription
    | Resumed
    | SpeakingUpdate
    | ClientsConnected
    | ClientDisconnected
    | DaveMessage
    | Skipped
    | HeartbeatLost
    | GatewayFailed
    | GatewayClosed
)
