"""What ties a worker to the life of its bot: the bot's end of a pipe that the worker reads.

Ends of pipes close with their process, however it ends. But a fork of the bot (``multiprocessing``, a bot
that makes a daemon of itself) has a copy of each, which would keep the workers of a dead bot alive. So a fork
gives them up the moment it is there.
"""

from __future__ import annotations

import os
import weakref
from typing import Final

__all__ = ["Leash"]


class Leash:
    """The standard input of a worker, whose end of file tells it that its bot is gone.

    A pipe of our own, not the event loop's, which has no way to give it up without a trace.

    Parameters
    ----------
    end
        File descriptor to write to; owned from now on.
    """

    _ALL: Final[weakref.WeakSet[Leash]] = weakref.WeakSet()

    def __init__(self, end: int) -> None:
        self._end: int | None = end
        self._ALL.add(self)

    @classmethod
    def with_line(cls, line: bytes) -> tuple[Leash, int]:
        """Make a pipe in which a line waits; return it, and the end to read from, which is the caller's."""
        read_end, write_end = os.pipe()
        # A pipe takes at least 4096 bytes (PIPE_BUF of Linux) at once, and a bootstrap is far shorter.
        os.write(write_end, line)
        return cls(write_end), read_end

    def let_go(self) -> None:
        """Close it."""
        end, self._end = self._end, None
        if end is not None:
            os.close(end)

    @classmethod
    def let_all_go(cls) -> None:
        """Close them all: this process is a fork."""
        for leash in list(cls._ALL):
            leash.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Leash.let_all_go)
