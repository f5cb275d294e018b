"""Errors inside the worker.

One base, `WorkerSideError`, that carries the `ErrorCode` it becomes on the wire. Code that finds the fault
raises the nearest class with a sentence for the bot author; `dispatch` turns it into an `ErrorInfo`.
"""

from __future__ import annotations

from voicepool.ipc.errors import ErrorCode, ErrorInfo

__all__ = ["CallError", "SourceError", "WorkerSideError"]


class WorkerSideError(Exception):
    """An error that the bot author is to read.

    Parameters
    ----------
    code
        The word both sides know.
    text
        One sentence: what, which thing, and the way out. It must hold no secret.
    data
        Facts for programs.
    """

    def __init__(self, code: ErrorCode, text: str, **data: str | float) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.data = data

    @property
    def info(self) -> ErrorInfo:
        """The error as it goes over the wire."""
        return ErrorInfo(code=self.code, text=self.text, data=self.data)


class SourceError(WorkerSideError):
    """What was to be played cannot be played. Code: one of ``SOURCE_*``."""


class CallError(WorkerSideError):
    """The call to the voice server could not be made or has ended."""
