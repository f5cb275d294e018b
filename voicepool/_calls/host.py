"""`CallHost`: what a connection knows of its pool, which makes connections and places their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import TYPE_CHECKING, Protocol

from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import Link
from voicepool.config import PoolConfig
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import PoolEvent

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

    async def place(self, connection: BaseVoiceConnection, *, avoid: Collection[WorkerId] = ()) -> Link:
        """Return the link to the worker that holds the connection's call, choosing one if none does.

        Parameters
        ----------
        connection
            Whose call.
        avoid
            Workers that are not to be chosen.
        """

    def release(self, connection: BaseVoiceConnection) -> None:
        """Forget a connection that has closed."""

    def recover(self, connection: BaseVoiceConnection, *, was_opening: bool) -> bool:
        """Have a call begun again that has lost its worker: `BaseVoiceConnection.begin_again` is called.

        Parameters
        ----------
        connection
            Whose call.
        was_opening
            Whether a source of it was being opened when the worker died, which may be what it died of.

        Returns
        -------
        bool
            False if the pool is closing, so that the call ends.
        """

    def tell(self, event: PoolEvent) -> None:
        """Hand an event to whoever listens on the pool."""

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run something on a connection's behalf, and see to its end."""
