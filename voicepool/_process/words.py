"""What a child process says: passed on to standard error, and its last lines kept."""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["KEPT_CHARS", "KEPT_LINES", "MAX_DUMP_LINES", "Words"]

KEPT_LINES: Final = 20
KEPT_CHARS: Final = 500
"""Of each line."""
MAX_DUMP_LINES: Final = 2_000
"""Of the stacks of all threads."""


class Words:
    """What one process has said, in UTF-8: `KEPT_LINES` of `KEPT_CHARS` are kept, however much comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = ""
        self._dump: list[str] | None = None

    @property
    def lines(self) -> Sequence[str]:
        """The last lines, without empty ones."""
        return tuple(self._lines)

    def take(self, data: bytes) -> None:
        """Take the next piece."""
        self._take(self._decoder.decode(data))

    def end(self) -> None:
        """Take note that nothing more comes: what it has begun is a line."""
        self._take(self._decoder.decode(b"", final=True))
        self._keep([self._rest])
        self._rest = ""

    @contextlib.contextmanager
    def collecting(self) -> Iterator[list[str]]:
        """Collect the lines that come, `MAX_DUMP_LINES` at most; they are neither kept nor passed on."""
        self._dump = []
        try:
            yield self._dump
        finally:
            self._dump = None

    def _take(self, text: str) -> None:
        if self._dump is None and sys.stderr is not None:
            # It may be closed; that is no reason to let the process block on a full pipe.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
        *lines, rest = (self._rest + text).split("\n")
        self._keep(lines)
        self._rest = rest[:KEPT_CHARS]

    def _keep(self, lines: Sequence[str]) -> None:
        said = [line[:KEPT_CHARS] for line in lines if line.strip()]
        if self._dump is None:
            self._lines.extend(said)
        else:
            self._dump.extend(said[: MAX_DUMP_LINES - len(self._dump)])
