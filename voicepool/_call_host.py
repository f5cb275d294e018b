"""`CallHost`: what a connection knows of its pool, which makes connections and places their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Protocol

from voicepool._link import Link
from voicepool._quarantine import Suspicion
from voicepool.config import PoolConfig

if TYPE_CHECKING:
    from voicepool.connection import BaseVoiceConnection

__all__ = ["CallHost"]


class CallHost(Protocol):
    """What a connection needs of its pool."""

    @property
    def config(self) -> PoolConfig:
        """The pool's settings."""

    @property
    def suspicion(self) -> Suspicion:
        """Which sources workers may have died of."""

    async def place(self, connection: BaseVoiceConnection) -> Link:
        """Return the link to the worker that holds the connection's call, choosing one if none does."""

    def release(self, connection: BaseVoiceConnection) -> None:
        """Forget a connection that has closed."""

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run something on a connection's behalf, and see to its end."""
