"""Numbers of the voice gateway, and what each close code asks of us.

Sources: Opcodes and Status Codes, Voice; Voice Connections, Speaking. An opcode or flag marked ``observed:``
is on the wire but in no document.

The close policy is data because two parts read it: a handshake turns a close into the error of the call that
failed, a running call decides from the same row whether to resume, identify anew, wait or stop.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError

__all__ = [
    "CLOSE_POLICIES",
    "DAVE_OPCODES",
    "GATEWAY_VERSION",
    "IGNORED_OPCODES",
    "SERVER_REASON_MAX_CHARS",
    "CloseAction",
    "CloseCode",
    "ClosePolicy",
    "OurCloseCode",
    "SpeakingFlag",
    "VoiceOpcode",
    "close_error",
    "close_policy",
]

GATEWAY_VERSION: Final = 8
"""The version whose messages carry ``seq`` and whose resumes re-send what was missed."""
SERVER_REASON_MAX_CHARS: Final = 123
"""A close frame has room for no more (RFC 6455 §5.5); text from elsewhere is cut to it."""


class VoiceOpcode(enum.IntEnum):
    """What a message is about. Who sends it stands behind each."""

    IDENTIFY = 0  # client
    SELECT_PROTOCOL = 1  # client
    READY = 2  # server
    HEARTBEAT = 3  # client
    SESSION_DESCRIPTION = 4  # server
    SPEAKING = 5  # both
    HEARTBEAT_ACK = 6  # server
    RESUME = 7  # client
    HELLO = 8  # server
    RESUMED = 9  # server
    CLIENTS_CONNECT = 11  # server
    VIDEO = 12  # observed: both; the clients' cameras
    CLIENT_DISCONNECT = 13  # server
    SESSION_UPDATE = 14  # observed: server; codecs of the session
    MEDIA_SINK_WANTS = 15  # observed: both; wanted quality by SSRC
    VOICE_BACKEND_VERSION = 16  # observed: both
    CHANNEL_OPTIONS_UPDATE = 17  # observed: server
    CLIENT_FLAGS = 18  # observed: server
    SPEED_TEST = 19  # observed: both
    CLIENT_PLATFORM = 20  # observed: server
    DAVE_PREPARE_TRANSITION = 21  # server
    DAVE_EXECUTE_TRANSITION = 22  # server
    DAVE_TRANSITION_READY = 23  # client
    DAVE_PREPARE_EPOCH = 24  # server
    DAVE_MLS_EXTERNAL_SENDER = 25  # server, binary
    DAVE_MLS_KEY_PACKAGE = 26  # client, binary
    DAVE_MLS_PROPOSALS = 27  # server, binary
    DAVE_MLS_COMMIT_WELCOME = 28  # client, binary
    DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION = 29  # server, binary
    DAVE_MLS_WELCOME = 30  # server, binary
    DAVE_MLS_INVALID_COMMIT_WELCOME = 31  # client


DAVE_OPCODES: Final = frozenset(
    opcode for opcode in VoiceOpcode if opcode >= VoiceOpcode.DAVE_PREPARE_TRANSITION
)
"""End-to-end encryption; passed on as they are."""
IGNORED_OPCODES: Final = frozenset(
    {
        VoiceOpcode.VIDEO,
        VoiceOpcode.SESSION_UPDATE,
        VoiceOpcode.MEDIA_SINK_WANTS,
        VoiceOpcode.VOICE_BACKEND_VERSION,
        VoiceOpcode.CHANNEL_OPTIONS_UPDATE,
        VoiceOpcode.CLIENT_FLAGS,
        VoiceOpcode.SPEED_TEST,
        VoiceOpcode.CLIENT_PLATFORM,
    },
)
"""Known, and of no meaning to a bot's audio: skipped without being counted as unknown."""


class SpeakingFlag(enum.IntFlag):
    """How a user speaks (Voice Connections, Speaking). Zero stops; it must not be zero to send audio."""

    MICROPHONE = 1 << 0
    SOUNDSHARE = 1 << 1
    PRIORITY = 1 << 2


class OurCloseCode(enum.IntEnum):
    """What we close the websocket with."""

    NORMAL = 1000
    """The call is over; the server may forget the session."""
    KEEP_SESSION = 3000
    """This websocket is over, the session is not: what follows is a resume."""


class CloseCode(enum.IntEnum):
    """Why the voice server closed (Opcodes and Status Codes, Voice Close Event Codes)."""

    UNKNOWN_OPCODE = 4001
    FAILED_TO_DECODE = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    SESSION_NO_LONGER_VALID = 4006
    SESSION_TIMEOUT = 4009
    SERVER_NOT_FOUND = 4011
    UNKNOWN_PROTOCOL = 4012
    DISCONNECTED = 4014
    VOICE_SERVER_CRASHED = 4015
    UNKNOWN_ENCRYPTION_MODE = 4016
    DAVE_REQUIRED = 4017
    BAD_REQUEST = 4020
    RATE_LIMITED = 4021
    CALL_TERMINATED = 4022


class CloseAction(enum.Enum):
    """What to do about a close."""

    STOP = "stop"
    """Terminal: trying again gives the same close."""
    STOP_AND_BACK_OFF = "stop_and_back_off"
    """Terminal for this call, and the next one to this server should wait long."""
    NEW_SESSION = "new_session"
    """The session is gone: ask the main gateway for a new one (op 4) and identify."""
    GRACE_WAIT = "grace_wait"
    """Moved, kicked or ended: the main gateway's next events tell which; never resume."""
    RESUME = "resume"
    """Resume once; if that fails, identify anew."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClosePolicy:
    """One row of the policy.

    Attributes
    ----------
    action
        What a running call does.
    error
        The code of the error when the close ends the call.
    meaning
        The close in words, to follow "the voice server closed the call:".
    way_out
        What the bot author can do, a sentence.
    """

    action: CloseAction
    error: ErrorCode
    meaning: str
    way_out: str


_DEFECT: Final = "This is a defect of voicepool or a change at Discord: please report it with this code."
_REJOIN: Final = "Join the channel again; every join gets a new session."


def _closed(action: CloseAction, meaning: str, way_out: str) -> ClosePolicy:
    return ClosePolicy(action=action, error=ErrorCode.CLOSED_BY_SERVER, meaning=meaning, way_out=way_out)


CLOSE_POLICIES: Final[Mapping[CloseCode, ClosePolicy]] = MappingProxyType(
    {
        CloseCode.UNKNOWN_OPCODE: _closed(
            CloseAction.NEW_SESSION, "it does not know an opcode of ours", _DEFECT
        ),
        CloseCode.FAILED_TO_DECODE: _closed(
            CloseAction.NEW_SESSION, "it could not read our message", _DEFECT
        ),
        CloseCode.NOT_AUTHENTICATED: _closed(
            CloseAction.NEW_SESSION, "a message of ours came before it had identified us", _DEFECT
        ),
        CloseCode.AUTHENTICATION_FAILED: ClosePolicy(
            action=CloseAction.STOP,
            error=ErrorCode.AUTHENTICATION,
            meaning="it did not accept the voice token",
            way_out="Token, session and user must be those of the newest voice state and voice server update "
            "of this bot in this guild; join the channel again to get new ones.",
        ),
        CloseCode.ALREADY_AUTHENTICATED: _closed(CloseAction.NEW_SESSION, "we identified twice", _DEFECT),
        CloseCode.SESSION_NO_LONGER_VALID: _closed(
            CloseAction.NEW_SESSION, "the voice session is no longer valid", _REJOIN
        ),
        CloseCode.SESSION_TIMEOUT: _closed(
            CloseAction.NEW_SESSION, "the voice session has timed out", _REJOIN
        ),
        CloseCode.SERVER_NOT_FOUND: _closed(
            CloseAction.NEW_SESSION,
            "it does not serve this guild",
            "The endpoint belongs to an older voice server update; join the channel again.",
        ),
        CloseCode.UNKNOWN_PROTOCOL: _closed(
            CloseAction.STOP, "it does not know the protocol we selected", _DEFECT
        ),
        CloseCode.DISCONNECTED: _closed(
            CloseAction.GRACE_WAIT,
            "the bot was disconnected or moved, or its main gateway session ended",
            "If nobody kicked the bot, join the channel again.",
        ),
        CloseCode.VOICE_SERVER_CRASHED: _closed(CloseAction.RESUME, "the voice server crashed", "Try again."),
        CloseCode.UNKNOWN_ENCRYPTION_MODE: _closed(
            CloseAction.STOP,
            "it does not know the encryption mode we selected",
            "Leave the deprecated modes out of the config's list of transport modes.",
        ),
        CloseCode.DAVE_REQUIRED: ClosePolicy(
            action=CloseAction.STOP,
            error=ErrorCode.DAVE_REQUIRED,
            meaning="this channel takes end-to-end encrypted calls only",
            way_out="Turn DAVE on in the config.",
        ),
        CloseCode.BAD_REQUEST: _closed(CloseAction.NEW_SESSION, "it calls our request malformed", _DEFECT),
        CloseCode.RATE_LIMITED: _closed(
            CloseAction.STOP_AND_BACK_OFF,
            "the bot joined or sent too often",
            "Wait for some minutes before joining again, and join at a lower rate.",
        ),
        CloseCode.CALL_TERMINATED: _closed(
            CloseAction.GRACE_WAIT,
            "the call has ended for everyone: the channel was deleted or moved to another voice server",
            "Join again if the channel still exists.",
        ),
    },
)

_TRANSPORT_LOSS: Final = _closed(
    CloseAction.RESUME,
    "the connection was lost",
    "Try again; if it happens often, look at the network between the worker and Discord.",
)
_UNKNOWN_CLOSE: Final = _closed(CloseAction.NEW_SESSION, "for a reason voicepool does not know", _REJOIN)
_FIRST_APPLICATION_CODE: Final = 4000


def close_policy(code: int) -> ClosePolicy:
    """Return the row for any close code, also for one that no document names.

    Everything below 4000 is the websocket's own (RFC 6455 §7.4), 1006 the loss of the connection: the session
    at the server is untouched by it, so it can be resumed.
    """
    if code in CLOSE_POLICIES:
        return CLOSE_POLICIES[CloseCode(code)]
    return _TRANSPORT_LOSS if code < _FIRST_APPLICATION_CODE else _UNKNOWN_CLOSE


def close_error(code: int, reason: str = "", *, server: str = "the voice server") -> CallError:
    """Return the error of a call that ended with this close.

    Parameters
    ----------
    code
        Close code; 1006 if the connection ended without one.
    reason
        What the server wrote into the close frame; shortened, and quoted only if printable.
    server
        Who closed, for the text; host and port.
    """
    policy = close_policy(code)
    said = f" ({reason[:SERVER_REASON_MAX_CHARS]!r})" if reason and reason.isprintable() else ""
    text = f"{server} closed the call with code {code}{said}: {policy.meaning}. {policy.way_out}"
    return CallError(policy.error, text, close_code=code)
