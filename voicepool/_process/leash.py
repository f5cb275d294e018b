"""What ties a worker to the life of its bot: the bot's end of a pipe that the worker reads.

Ends of pipes close with their process, however it ends. That a fork of the bot does not keep the workers of a
dead bot alive is up to `Descriptor`.
"""

from __future__ import annotations

import os

from voicepool._process.descriptor import Descriptor

__all__ = ["Leash"]


class Leash(Descriptor):
    """The standard input of a worker, whose end of file tells it that its bot is gone."""

    @classmethod
    def with_line(cls, line: bytes) -> tuple[Leash, Descriptor]:
        """Make a pipe in which a line waits; return it, and the end to read from, which is the caller's."""
        reading, writing = os.pipe()
        leash, end = cls(writing), Descriptor(reading)
        # A pipe takes at least 4096 bytes (PIPE_BUF of Linux) at once, and a bootstrap is far shorter.
        os.write(writing, line)
        return leash, end
