"""What a worker's log lines look like, and how each one knows the worker and the call that it is about.

Lines go to standard error, which the bot passes on. As text::

    2026-11-21 18:13:25,123 WARNING voicepool.worker.call [w0.1 4242 guild 81384788765712384] ...

With ``log_format = "json"`` each line is one object. Its keys are the fields of OpenTelemetry's logs data
model, so that a collector's JSON parser needs no mapping:

``timestamp``
    RFC 3339 in UTC, to the microsecond.
``severity_text``, ``severity_number``
    Python's name of the level, and the model's number for it: 5, 9, 13, 17 or 21.
``body``
    The message.
``scope``
    The logger's name (``InstrumentationScope``).
``resource``
    ``service.name`` (always ``voicepool.worker``), ``service.instance.id`` (the worker's name, as in
    `WorkerStats`), ``process.pid``.
``attributes``
    ``thread.name``; ``worker``, its name again, where the lines of the bot's side have it; of a line about a
    call ``guild`` and ``call``, all text, for a guild's id is beyond what many JSON readers hold exactly; and
    of an error ``exception.type``, ``exception.message`` and ``exception.stacktrace``.

The record itself carries ``worker``, ``guild`` and ``call`` too, so that a handler which follows ours, such
as one of OpenTelemetry's that a resolver has added, finds them where those of the bot's side are.

A line learns its call from a context variable. `Subjects.about` sets it while a command is carried out, and
all tasks and timers that come of it inherit it (`contextvars`), so nobody has to hand a logger around. It
holds the call's secrets too: should one of them ever find its way into a line of that call, such as the text
of an error of some library's, it is not written.

Threads that open sources inherit it as well, and what the encoder threads do for a call they do in the
context in which its playback was made. Lines of the pacing thread are about no call. A stack dump
(`stackdump`) is plain text in either format.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import json
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TextIO

from voicepool.ipc.secret import REDACTED

__all__ = ["JsonFormatter", "SubjectFilter", "Subjects", "TextFormatter", "configure"]

_SEVERITIES: Final = ((logging.CRITICAL, 21), (logging.ERROR, 17), (logging.WARNING, 13), (logging.INFO, 9))
"""Python's levels and OpenTelemetry's FATAL, ERROR, WARN and INFO; what is below is DEBUG, 5."""
_DEBUG_SEVERITY: Final = 5
_ATTRIBUTES: Final = ("worker", "guild", "call")
"""What a record says it is about."""
_SHORTEST_SECRET: Final = 4
"""Characters; masking shorter ones would only make a line unreadable."""


@dataclass(slots=True)
class _Subject:
    """The call that is being dealt with. Once its guild is known, all who spoke of it know that too."""

    call: str
    guild: int | None = None
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"_Subject(call={self.call!r}, guild={self.guild})"


_SUBJECT: Final[contextvars.ContextVar[_Subject | None]] = contextvars.ContextVar(
    "voicepool_call", default=None
)


class Subjects:
    """What is known of the calls that lines may be about.

    Parameters
    ----------
    most
        Of so many calls; beyond it, the one noted first is forgotten, and its lines name the call alone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, _Subject] = {}
        self._unknown: dict[str, _Subject] = {}
        """Calls of which nothing was noted: prepared here, they go on at their worker for now; or gone."""

    def note(self, call: str, guild: int, *, secrets: tuple[str, ...] = ()) -> None:
        """Note a call's guild, and what is never to be in one of its lines: token and session id."""
        self._known.pop(call, None)
        subject = self._unknown.pop(call, None) or _Subject(call)
        subject.guild, subject.secrets = guild, secrets
        self._put(self._known, subject)

    def forget(self, call: str) -> None:
        """Forget a call that has ended; what was begun while it was known goes on knowing it."""
        self._known.pop(call, None)
        self._unknown.pop(call, None)

    def about(self, call: str) -> AbstractContextManager[None]:
        """Mark lines as being about a call: those logged within, and by all tasks and timers begun within."""
        subject = self._known.get(call) or self._unknown.get(call)
        if subject is None:
            subject = _Subject(call)
            self._put(self._unknown, subject)
        return _speaking_of(subject)

    def _put(self, place: dict[str, _Subject], subject: _Subject) -> None:
        place[subject.call] = subject
        if len(place) > self._most:
            del place[next(iter(place))]


@contextlib.contextmanager
def _speaking_of(subject: _Subject) -> Iterator[None]:
    token = _SUBJECT.set(subject)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


class SubjectFilter(logging.Filter):
    """Lets every line through, and has its record carry what it is about.

    Parameters
    ----------
    worker
        The worker's name; empty as long as it has none.
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``worker``, ``call`` and ``guild``, as far as they are known, unless whoever logged it has."""
        subject = _SUBJECT.get()
        said = {"worker": self._worker}
        if subject is not None:
            said["call"] = subject.call
            said["guild"] = "" if subject.guild is None else str(subject.guild)
        for name, text in said.items():
            if text and not hasattr(record, name):
                setattr(record, name, text)
        return True


def _masked(text: str, subject: _Subject | None) -> str:
    for secret in subject.secrets if subject is not None else ():
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    return text


def _said(record: logging.LogRecord, name: str) -> str:
    """Return what a record carries; empty if nothing."""
    return str(record.__dict__.get(name, ""))


class TextFormatter(logging.Formatter):
    """One line a record for people, and a traceback below it. What it is about was set by `SubjectFilter`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        who = [_said(record, "worker"), str(os.getpid())]
        if guild := _said(record, "guild"):
            who.append(f"guild {guild}")
        elif call := _said(record, "call"):
            who.append(f"call {call}")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        head = f"{self.formatTime(record)} {record.levelname} {record.name} [{' '.join(filter(None, who))}]"
        return f"{head} {_masked(text, _SUBJECT.get())}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record. What it is about was set by `SubjectFilter`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        subject = _SUBJECT.get()
        attributes: dict[str, str] = {"thread.name": record.threadName or ""}
        attributes |= {name: text for name in _ATTRIBUTES if (text := _said(record, name))}
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, _ = record.exc_info
            attributes["exception.type"] = f"{kind.__module__}.{kind.__qualname__}"
            attributes["exception.message"] = str(error)
            attributes["exception.stacktrace"] = self.formatException(record.exc_info)
        written = dt.datetime.fromtimestamp(record.created, dt.UTC)
        severity = (number for level, number in _SEVERITIES if record.levelno >= level)
        line = {
            "timestamp": written.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "severity_text": record.levelname,
            "severity_number": next(severity, _DEBUG_SEVERITY),
            "body": _masked(record.getMessage(), subject),
            "scope": record.name,
            "resource": {
                "service.name": "voicepool.worker",
                "service.instance.id": _said(record, "worker"),
                "process.pid": os.getpid(),
            },
            "attributes": {name: _masked(text, subject) for name, text in attributes.items()},
        }
        return json.dumps(line, ensure_ascii=False)


class _OwnHandler(logging.StreamHandler[TextIO]):
    """The one that `configure` replaces."""


def configure(
    *, worker: str = "", level: str = "WARNING", log_format: str = "text", stream: TextIO | None = None
) -> None:
    """Write the log in one of the formats, and no longer in the one before.

    Parameters
    ----------
    worker
        Its name, once it has one.
    level
        The least severe lines to be written.
    log_format
        ``"text"`` or ``"json"``.
    stream
        Where to write to instead of standard error.
    """
    handler: logging.Handler = _OwnHandler(stream)
    handler.addFilter(SubjectFilter(worker))
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for former in list(root.handlers):
        if isinstance(former, _OwnHandler):
            root.removeHandler(former)
    # First, so that others find what its filter has set.
    root.handlers.insert(0, handler)
    root.setLevel(level)
