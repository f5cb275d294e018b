"""Notices that the bot is gone.

The bot holds the write end of this process's standard input for as long as it lives, and writes nothing to
it after the bootstrap line. However the bot dies, the kernel closes that end, and a blocked read returns at
once: no polling, no parent pid, no signal that could be lost.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from voicepool.ipc.endpoint import Bootstrap

__all__ = ["read_bootstrap", "watch_parent"]

_LONGEST_LINE_BYTES: Final = 16 * 1024


def read_bootstrap() -> Bootstrap | None:
    """Read the bootstrap line from standard input, byte by byte, so that nothing after it is swallowed.

    Returns
    -------
    Bootstrap or None
        None when standard input closed before the line was complete.

    Raises
    ------
    msgspec.DecodeError, UnicodeDecodeError
        The line is no bootstrap.
    """
    line = bytearray()
    while len(line) < _LONGEST_LINE_BYTES:
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return None
        if byte == b"\n":
            break
        line += byte
    return Bootstrap.from_line(bytes(line))


def watch_parent(gone: Callable[[], object]) -> threading.Thread:
    """Call `gone` once, from a daemon thread, when the other end of standard input is closed."""

    def wait() -> None:
        try:
            while os.read(sys.stdin.fileno(), 4_096):
                pass
        except OSError:
            # The pipe is broken in some other way; the bot is as gone as with an end of file.
            pass
        gone()

    thread = threading.Thread(target=wait, name="voicepool-parent-watch", daemon=True)
    thread.start()
    return thread
