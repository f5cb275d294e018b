"""How an error crosses the process border: a code, a sentence and data; never a pickle.

`ErrorCode` is shared vocabulary. The worker turns its exceptions into an `ErrorInfo`; the client turns
an `ErrorInfo` into the matching class of `voicepool.errors`. The exceptions below are about the wire
itself: bytes that cannot be read, or a peer that speaks another version.
"""

from __future__ import annotations

import enum

import msgspec

__all__ = [
    "ErrorCode",
    "ErrorInfo",
    "ForeignPeerError",
    "UnreadableMessageError",
    "WireError",
    "WrongVersionError",
]


class ErrorCode(enum.StrEnum):
    """What went wrong, in one word that both sides know."""

    # The source: what was to be played.
    SOURCE_NOT_FOUND = "source_not_found"
    """No such file, or the server answered 404 or 410."""
    SOURCE_REFUSED = "source_refused"
    """It exists but may not be read: permissions, HTTP 401/403/5xx, a device or a directory."""
    SOURCE_UNREADABLE = "source_unreadable"
    """FFmpeg finds no audio in it: a text file, an image, an unknown container."""
    SOURCE_TIMEOUT = "source_timeout"
    """It did not answer, or stopped sending, within the time the config allows."""
    SOURCE_TRUNCATED = "source_truncated"
    """It ended before its own header said; what was there has been played."""
    SOURCE_FAILED = "source_failed"
    """Reading broke off for another reason, with FFmpeg's words in the text."""

    FILTER_REFUSED = "filter_refused"
    """libavfilter does not know the filter or its options; the text has its reason."""
    UNSEEKABLE = "unseekable"
    """The source cannot go to another position: a live stream, or pushed audio."""
    RESOLVER_FAILED = "resolver_failed"
    """The resolver could not be imported, raised, or returned something that cannot be played."""
    NO_SUCH_TRACK = "no_such_track"
    """The command names a track that does not play (any more)."""

    # The call: gateway, UDP, encryption.
    CONNECT_REFUSED = "connect_refused"
    """Nothing listens at the endpoint, its name does not resolve, or it refused the upgrade."""
    CONNECT_TIMEOUT = "connect_timeout"
    """A step of the handshake got no answer in time; the text names the step."""
    CERTIFICATE = "certificate"
    """The voice server's TLS certificate does not verify."""
    CLOSED_BY_SERVER = "closed_by_server"
    """The voice gateway closed the call; `data` holds `close_code`."""
    AUTHENTICATION = "authentication"
    """Close 4004: token, session and user do not fit together."""
    DAVE_REQUIRED = "dave_required"
    """Close 4017: the server accepts end-to-end encrypted calls only."""
    NO_COMMON_MODE = "no_common_mode"
    """The server offers no transport encryption that the config allows."""
    PROTOCOL = "protocol"
    """The server broke the protocol, or accused us of it; the text says how."""
    UNVERIFIABLE = "unverifiable"
    """There is no end-to-end encryption now by which that user could be verified."""

    # The worker and the pool.
    NO_SUCH_CALL = "no_such_call"
    """The command names a call that this worker does not hold (any more)."""
    SUPERSEDED = "superseded"
    """A newer command took this one's place before it could finish."""
    LIBOPUS_MISSING = "libopus_missing"
    """No usable libopus, neither the system's nor the one in PyAV's wheel."""
    WORKER_FULL = "worker_full"
    """The worker holds as many calls as its config allows."""
    INTERNAL = "internal"
    """A defect of voicepool; the worker's log has the traceback."""


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data.

    Attributes
    ----------
    code
        Which class of `voicepool.errors` it becomes.
    text
        One sentence for a person: what, which thing, and the way out. Holds no secret.
    data
        Facts for programs, for example ``{"close_code": 4004}``.
    """

    code: ErrorCode
    text: str
    data: dict[str, str | int | float] = {}


class WireError(Exception):
    """Base of the errors about the wire itself."""


class UnreadableMessageError(WireError):
    """Bytes arrived that are no message of this contract."""


class ForeignPeerError(WireError):
    """The peer does not know the start token, or (`WrongVersionError`) speaks another wire version."""


class WrongVersionError(ForeignPeerError):
    """The worker that was started speaks another wire version; waiting for a better one is no use."""
