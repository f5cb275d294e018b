"""Every error a bot author can meet, in one tree.

::

    VoicePoolError
    ├── ConfigError (also a ValueError)    a setting is unknown or has a wrong value
    ├── PoolNotStartedError                the pool was used before `start`
    ├── PoolClosedError                    the pool was used after `close`
    ├── SourceError                        what was to be played cannot be played
    │   ├── SourceNotFoundError            no such file, HTTP 404 or 410
    │   ├── SourceRefusedError             it is there and may not be read
    │   ├── SourceUnreadableError          there is no audio in it
    │   ├── SourceTimeoutError             it does not answer, or has stopped sending
    │   ├── SourceTruncatedError           it ended early; what was there has been played
    │   ├── SourceFailedError              reading broke off for another reason
    │   ├── ResolverError                  what was to find it could not
    │   └── SourceQuarantinedError         workers died of it
    ├── FilterRefusedError                 libavfilter does not know the filter, or its options
    ├── UnseekableError                    the source cannot go to another position
    ├── TrackGoneError                     the track you hold does not play any more
    ├── ConnectError                       the call could not be made, or was ended by the far side
    │   ├── JoinError                      the bot did not get into the channel; see `reason`
    │   ├── ConnectRefusedError            nothing listens there, or it refused
    │   ├── ConnectTimeoutError            a step of the handshake got no answer
    │   ├── CertificateError               the TLS certificate does not verify
    │   ├── NoCommonModeError              no transport encryption that both sides allow
    │   ├── ProtocolError                  one side broke the voice protocol
    │   └── ClosedByServerError            the voice gateway closed; see `close_code`
    │       ├── AuthenticationError        close 4004
    │       └── DaveRequiredError          close 4017
    ├── UnverifiableError                  that member has no verification code now
    ├── CallGoneError                      the connection you hold is no longer a call
    ├── SupersededError                    a newer request took this one's place
    ├── WorkerError                        a worker process could not do its part
    │   ├── WorkerStartError               it did not come up
    │   │   └── LibopusMissingError        because it found no usable libopus
    │   ├── WorkerLostError                it died, and the call could not be moved
    │   ├── WorkerTimeoutError             it runs and does not answer
    │   └── PoolFullError                  every worker holds as many calls as the config allows
    └── InternalError                      a defect of voicepool

Inside a worker an error is data, an `ErrorInfo`; `from_info` makes the class for its code, so each
`ErrorCode` belongs to exactly one class. None of them is an `OSError`: ``except OSError`` around a network
call must not swallow a missing song, and most of these have no ``errno`` to give.
"""

from __future__ import annotations

from typing import ClassVar, Final

from voicepool.ipc.errors import ErrorCode, ErrorInfo

__all__ = [
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
    "from_info",
]


_BY_CODE: Final[dict[ErrorCode, type[VoicePoolError]]] = {}
"""Filled as the classes are made: a code's class is the one that names it."""


class VoicePoolError(Exception):
    """Base of every error that voicepool raises on purpose.

    Parameters
    ----------
    text
        One sentence: what happened, to which thing, and the way out. It is what `str` gives.
    data
        Facts for programs.

    Attributes
    ----------
    code
        The word for this class on the wire; None for errors that arise in the bot's own process.
    data
        Facts for programs, for example ``{"close_code": 4014}``.
    """

    code: ClassVar[ErrorCode | None] = None

    def __init__(self, text: str, /, **data: str | float) -> None:
        super().__init__(text)
        self.data = data

    def __init_subclass__(cls) -> None:
        # Not what it has inherited; and a subclass of somebody else's takes nothing over.
        if (code := cls.__dict__.get("code")) is not None:
            _BY_CODE.setdefault(code, cls)


class ConfigError(VoicePoolError, ValueError):
    """Raised by `PoolConfig` and its loaders: an unknown key, a wrong value, an unreadable file."""

    @property
    def key(self) -> str | None:
        """The setting it is about; None when the whole file cannot be read."""
        key = self.data.get("key")
        return key if isinstance(key, str) else None

    @property
    def origin(self) -> str | None:
        """Where the setting came from: a file's path, an environment variable, or None for an argument."""
        origin = self.data.get("origin")
        return origin if isinstance(origin, str) else None


class PoolNotStartedError(VoicePoolError):
    """Raised when a pool is used before ``await pool.start()`` or outside ``async with``."""


class PoolClosedError(VoicePoolError):
    """Raised when a pool, or anything that belongs to it, is used after the pool was closed."""


class SourceError(VoicePoolError):
    """Base of the errors about what was to be played. The call goes on; only this source has ended."""


class SourceNotFoundError(SourceError):
    """Raised by ``play`` when there is no such file, or the server answered 404 or 410."""

    code = ErrorCode.SOURCE_NOT_FOUND


class SourceRefusedError(SourceError):
    """Raised by ``play`` when the source exists and may not be read.

    Permissions, a directory or device, a URL scheme that is not allowed, a server that refuses the
    connection or answers 401, 403 or 5xx.
    """

    code = ErrorCode.SOURCE_REFUSED


class SourceUnreadableError(SourceError):
    """Raised by ``play`` when no audio is found in the source: a text file, an image, an unknown format."""

    code = ErrorCode.SOURCE_UNREADABLE


class SourceTimeoutError(SourceError):
    """Raised by ``play`` when a source does not open, or stops sending, in the time the config allows.

    The limits are ``source_open_timeout_s`` and ``source_read_timeout_s`` of `PoolConfig`.
    """

    code = ErrorCode.SOURCE_TIMEOUT


class SourceTruncatedError(SourceError):
    """Raised by ``play`` after the last sound when a source ended earlier than its header announced."""

    code = ErrorCode.SOURCE_TRUNCATED


class SourceFailedError(SourceError):
    """Raised by ``play`` when reading broke off for a reason without a class of its own."""

    code = ErrorCode.SOURCE_FAILED


class ResolverError(SourceError):
    """Raised by ``play`` when a resolver cannot be imported, fails, or returns what cannot be played."""

    code = ErrorCode.RESOLVER_FAILED


class SourceQuarantinedError(SourceError):
    """Raised by ``play`` and ``start`` for a source that workers have died of; see `voicepool.quarantine`.

    ``pool.quarantine.release(source)`` lifts it.
    """


class FilterRefusedError(VoicePoolError):
    """Raised by ``play`` and ``track.set`` when libavfilter refuses a filter; the text has its reason."""

    code = ErrorCode.FILTER_REFUSED


class UnseekableError(VoicePoolError):
    """Raised by ``seek`` for what cannot go to another position: a live stream, or pushed audio."""

    code = ErrorCode.UNSEEKABLE


class TrackGoneError(VoicePoolError):
    """Raised when a track is to be changed that does not play any more."""

    code = ErrorCode.NO_SUCH_TRACK


class ConnectError(VoicePoolError):
    """Base of the errors about reaching the voice server and staying connected to it."""


class JoinError(ConnectError):
    """Raised by `voicepool.connect` and ``move`` when the bot does not get into the channel.

    The text names guild, channel, what is in the way and the way out.
    """

    @property
    def reason(self) -> str | None:
        """What is in the way, in one word.

        ``"permission"``: View Channel or Connect is missing. ``"full"``: as many are in it as may be.
        ``"channel"``: no voice or stage channel of this guild. ``"bot"``: the bot does not run. ``"shard"``:
        the guild is not on a shard of this process. ``"occupied"``: another kind of connection, or another
        pool, has the guild. ``"removed"``: taken out of the channel while joining. ``"timeout"``: Discord
        did not answer.
        """
        reason = self.data.get("reason")
        return reason if isinstance(reason, str) else None


class ConnectRefusedError(ConnectError):
    """Raised by ``connect`` when nothing listens at the endpoint, its name is unknown, or it refused."""

    code = ErrorCode.CONNECT_REFUSED


class ConnectTimeoutError(ConnectError):
    """Raised by ``connect`` when a step of the handshake, named in the text, got no answer in time.

    The limit is ``connect_timeout_s`` of `PoolConfig`.
    """

    code = ErrorCode.CONNECT_TIMEOUT


class CertificateError(ConnectError):
    """Raised by ``connect`` when the voice server's TLS certificate does not verify.

    For a server of your own, name its authority in ``ca_file`` of `PoolConfig`.
    """

    code = ErrorCode.CERTIFICATE


class NoCommonModeError(ConnectError):
    """Raised by ``connect`` when the server offers none of the ``modes`` that `PoolConfig` allows."""

    code = ErrorCode.NO_COMMON_MODE


class ProtocolError(ConnectError):
    """Raised when the server broke the voice protocol, or accused us of it; the text says how."""

    code = ErrorCode.PROTOCOL


class UnverifiableError(VoicePoolError):
    """Raised by ``verification_code`` when the call has no encrypted group, or the user is not in it."""

    code = ErrorCode.UNVERIFIABLE


class ClosedByServerError(ConnectError):
    """Raised when the voice gateway closed the call for good (Voice Close Event Codes)."""

    code = ErrorCode.CLOSED_BY_SERVER

    @property
    def close_code(self) -> int | None:
        """The websocket close code; None when the connection ended without one."""
        close_code = self.data.get("close_code")
        return close_code if isinstance(close_code, int) else None


class AuthenticationError(ClosedByServerError):
    """Raised by ``connect`` at close 4004: token, session and user do not belong together."""

    code = ErrorCode.AUTHENTICATION


class DaveRequiredError(ClosedByServerError):
    """Raised by ``connect`` at close 4017: the server takes end-to-end encrypted calls only."""

    code = ErrorCode.DAVE_REQUIRED


class CallGoneError(VoicePoolError):
    """Raised when a connection is used that is disconnected, or was replaced by a newer one in its guild."""

    code = ErrorCode.NO_SUCH_CALL


class SupersededError(VoicePoolError):
    """Raised by a request, such as ``connect`` or ``move``, that a newer one overtook before it finished."""

    code = ErrorCode.SUPERSEDED


class WorkerError(VoicePoolError):
    """Base of the errors about worker processes."""


class WorkerStartError(WorkerError):
    """Raised by ``pool.start`` when a worker does not come up within ``start_timeout_s`` of `PoolConfig`."""


class LibopusMissingError(WorkerStartError):
    """Raised by ``pool.start`` when a worker finds no usable libopus; ``voicepool doctor`` tells more."""

    code = ErrorCode.LIBOPUS_MISSING


class WorkerLostError(WorkerError):
    """Raised by what was waiting on a worker that died, when no other worker could take the call over.

    The text has the exit code or the signal, where it is known.
    """

    @property
    def exit_status(self) -> int | None:
        """The exit code of the process, or the number of the signal that ended it, negative; None unknown."""
        status = self.data.get("exit_status")
        return status if isinstance(status, int) else None

    @property
    def reason(self) -> str | None:
        """Why it ended, as an `ExitReason` reads: "crashed", "killed", "hung" and so on; None unknown."""
        reason = self.data.get("reason")
        return str(reason) if isinstance(reason, str) else None


class WorkerTimeoutError(WorkerError):
    """Raised when a worker gave no answer to a request within ``command_timeout_s`` of `PoolConfig`."""


class PoolFullError(WorkerError):
    """Raised by ``connect`` when no worker takes another call; the text tells of each why not.

    One is full that holds ``max_calls_per_worker`` calls, uses more than ``full_share`` of its core, or has
    lowered its Opus complexity to 0 already.
    """

    code = ErrorCode.WORKER_FULL


class InternalError(VoicePoolError):
    """Raised for a defect of voicepool itself; the worker's log holds the traceback. Please report it."""

    code = ErrorCode.INTERNAL


def from_info(info: ErrorInfo) -> VoicePoolError:
    """Make the exception for an error that came over the wire.

    Parameters
    ----------
    info
        What the worker sent.

    Returns
    -------
    VoicePoolError
        An instance of the class for its code, not yet raised. Its text and data are the worker's.
    """
    return _BY_CODE[info.code](info.text, **info.data)
