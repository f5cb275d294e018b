"""FFmpeg's failures in the words of a bot author.

PyAV's exceptions carry the URL with its query, and lump causes together (a name that does not resolve is an
"Input/output error"). What tells them apart are FFmpeg's log lines, which `captured_log` collects; of
these only known patterns are looked for, and no line gets into an error text.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import av
import av.logging

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import SourceError

__all__ = ["captured_log", "open_fault", "read_fault"]

_HTTP_STATUS: Final = re.compile(r"HTTP error (\d{3})")
_NOT_ALLOWED: Final = re.compile(r"Protocol '(\w+)' not on whitelist")
_REASONS: Final = (
    ("failed to resolve", "its host name does not resolve"),
    ("certificate", "its TLS certificate does not verify"),
    ("connection refused", "nothing listens there"),
)
_GONE: Final = frozenset({404, 410})
_UNREADABLE: Final = (av.InvalidDataError, av.EOFError, av.PatchWelcomeError, av.error.LookupError)


def _collect_log() -> None:
    """Have FFmpeg's warnings handed to Python, where only `captured_log` sees them; never to stderr."""
    av.logging.set_level(av.logging.WARNING)
    # Otherwise the second of two equal failures in a row would have an empty log.
    av.logging.set_skip_repeated(False)
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)


_collect_log()


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect the lines that FFmpeg logs in this thread."""
    lines: list[str] = []
    with av.logging.Capture() as captured:
        try:
            yield lines
        finally:
            lines.extend(line for _, _, line in captured)


def open_fault(error: av.FFmpegError, name: str, log: list[str], *, timeout_s: float) -> SourceError:
    """Return what to raise when a source could not be opened.

    Parameters
    ----------
    error
        What PyAV raised.
    name
        What to call the source.
    log
        What FFmpeg logged meanwhile.
    timeout_s
        How long it had, in seconds.
    """
    lines = "\n".join(log)
    if _is_timeout(error):
        text = f"{name} did not answer with audio within {timeout_s:g} s"
        return SourceError(ErrorCode.SOURCE_TIMEOUT, text, timeout_s=timeout_s)
    if isinstance(error, av.error.HTTPError | av.error.HTTPClientError):
        return _http_fault(error, name, lines)
    if found := _NOT_ALLOWED.search(lines):
        text = f"{name} leads to the protocol {found[1]!r}, which voicepool does not follow from a URL"
        return SourceError(ErrorCode.SOURCE_REFUSED, text)
    if isinstance(error, _UNREADABLE) or error.errno == errno.EINVAL:
        text = (
            f"{name} is not audio that FFmpeg can read: an unknown or damaged container, or no media at all"
        )
        return SourceError(ErrorCode.SOURCE_UNREADABLE, text)
    if isinstance(error, OSError):
        lowered = lines.lower()
        reason = next((words for sign, words in _REASONS if sign in lowered), _words(error))
        return SourceError(ErrorCode.SOURCE_REFUSED, f"{name} cannot be reached: {reason}")
    return SourceError(ErrorCode.SOURCE_FAILED, f"{name} cannot be opened: {_words(error)}")


def read_fault(error: av.FFmpegError, name: str, *, timeout_s: float, played_s: float) -> SourceError:
    """Return what to raise when reading broke off.

    Parameters
    ----------
    error, name, timeout_s
        As for `open_fault`.
    played_s
        How much audio came before, in seconds.
    """
    if _is_timeout(error):
        text = f"{name} sent nothing for {timeout_s:g} s, after {played_s:.1f} s of audio"
        return SourceError(ErrorCode.SOURCE_TIMEOUT, text, timeout_s=timeout_s, played_s=played_s)
    if isinstance(error, OSError):
        text = f"the connection to {name} broke off after {played_s:.1f} s of audio, before all was sent"
        return SourceError(ErrorCode.SOURCE_TRUNCATED, text, played_s=played_s)
    text = f"reading {name} broke off after {played_s:.1f} s: {_words(error)}"
    return SourceError(ErrorCode.SOURCE_FAILED, text, played_s=played_s)


def _http_fault(error: av.FFmpegError, name: str, lines: str) -> SourceError:
    found = _HTTP_STATUS.findall(lines)
    if found:
        status = int(found[-1])
    elif isinstance(error, av.error.HTTPNotFoundError):
        status = 404
    elif isinstance(error, av.error.HTTPUnauthorizedError):
        # FFmpeg hopes for another try with a password, and logs nothing.
        status = 401
    else:
        return SourceError(ErrorCode.SOURCE_REFUSED, f"the server refused {name}: {_words(error)}")
    code = ErrorCode.SOURCE_NOT_FOUND if status in _GONE else ErrorCode.SOURCE_REFUSED
    return SourceError(code, f"the server answered {name} with HTTP status {status}", http_status=status)


def _is_timeout(error: av.FFmpegError) -> bool:
    # An ended deadline of PyAV's makes FFmpeg "exit"; a socket's own makes it time out.
    return isinstance(error, av.error.ExitError | av.error.TimeoutError)


def _words(error: av.FFmpegError) -> str:
    return (error.strerror or "unknown error").lower()
