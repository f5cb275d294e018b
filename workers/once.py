"""Says a thing once, however often it happens: for what strangers send, which must not fill a log."""

from __future__ import annotations

import logging
import threading
from typing import Final

__all__ = ["LogOnce"]


class LogOnce:
    """A logger that keeps to the first of each kind, over all calls of this process. Any thread may use it.

    Parameters
    ----------
    logger
        Where to.
    limit
        Kinds that are told apart. When there are as many, one more line says so, and the rest is silence.
    """

    def __init__(self, logger: logging.Logger, *, limit: int = 64) -> None:
        self._logger: Final = logger
        self._limit = limit
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def info(self, kind: str, text: str, *arguments: object) -> None:
        """Log at the level INFO unless something of this kind was logged before."""
        with self._lock:
            if kind in self._said or len(self._said) > self._limit:
                return
            self._said.add(kind)
            full = len(self._said) > self._limit
        if full:
            self._logger.info("more than %d kinds of this; no further one is logged", self._limit)
        else:
            self._logger.info(text, *arguments)
