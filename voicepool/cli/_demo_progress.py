"""One line on a terminal that tells what the demo is doing, and nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
from typing import Final, Self, TextIO

__all__ = ["Progress"]

_BAR_CELLS: Final = 30
_FULL: Final = "#"
_EMPTY: Final = "-"
_CLEAR_LINE: Final = "\r\x1b[2K"
"""Carriage return, and erase in line (ECMA-48, EL)."""


class Progress:
    """A line that is written over and over, and gone in the end. A context manager.

    Parameters
    ----------
    stream
        Where to; None for stderr. Unless it is a terminal, nothing is ever written.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.shown = self._stream.isatty()
        self._dirty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    def say(self, what: str) -> None:
        """Show what is going on."""
        self._write(what)

    def play(self, done_s: float, whole_s: float) -> None:
        """Show how far playback is."""
        share = min(1.0, done_s / whole_s) if whole_s > 0 else 1.0
        filled = round(share * _BAR_CELLS)
        bar = _FULL * filled + _EMPTY * (_BAR_CELLS - filled)
        self._write(f"playing [{bar}] {min(done_s, whole_s):4.1f} / {whole_s:.1f} s")

    def clear(self) -> None:
        """Take the line away."""
        if self._dirty:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._dirty = False

    def _write(self, line: str) -> None:
        if not self.shown:
            return
        # A line that wraps could not be taken away again.
        width = max(1, shutil.get_terminal_size().columns - 1)
        self._stream.write(f"{_CLEAR_LINE}{line[:width]}")
        self._stream.flush()
        self._dirty = True
