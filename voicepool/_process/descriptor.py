"""File descriptors that are this process's alone: closed once, and given up by its forks.

A pipe ends when the last copy of its end is closed, and a fork of the bot (``multiprocessing``, a bot that
makes a daemon of itself) has a copy of each. So a fork gives up what is held here the moment it is there.
"""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import ClassVar, Self

__all__ = ["Descriptor"]


class Descriptor:
    """A file descriptor that is owned.

    Parameters
    ----------
    number
        Owned from now on.
    """

    _ALL: ClassVar[weakref.WeakSet[Descriptor]] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        self._number: int | None = number
        self._ALL.add(self)

    @staticmethod
    def pipe() -> tuple[Descriptor, Descriptor]:
        """Make a pipe; return the end to read from, and the end to write to. No child inherits them."""
        reading, writing = os.pipe()
        return Descriptor(reading), Descriptor(writing)

    @property
    def is_held(self) -> bool:
        """Whether it is open, and ours."""
        return self._number is not None

    def fileno(self) -> int:
        """Return its number.

        Raises
        ------
        ValueError
            It was let go.
        """
        if self._number is None:
            raise ValueError("this file descriptor was let go")
        return self._number

    def let_go(self) -> None:
        """Close it. Does nothing when that has been done."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.let_go()

    @classmethod
    def let_all_go(cls) -> None:
        """Close them all: this process is a fork."""
        for descriptor in list(cls._ALL):
            descriptor.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Descriptor.let_all_go)
