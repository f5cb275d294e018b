"""One guild's call inside a worker: its connection to the voice server, and its player.

The player outlives the connection: when the bot sends new credentials (another voice server, another
channel), what plays is held, the connection is replaced, and it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

import msgspec

from voicepool.ipc.commands import OpenCall
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import CallClosed, CallOpened, CallStats, Event
from voicepool.ipc.ids import CallId
from voicepool.workers.connection import VoiceServerConnection
from voicepool.workers.dave.events import DaveEvent
from voicepool.workers.errors import CallError
from voicepool.workers.player import Player, Studio

__all__ = ["Session"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")


class Session:
    """One call. All methods run on the control loop.

    Parameters
    ----------
    call
        Its name.
    studio
        The worker's threads and settings.
    ssl_context
        For voice servers' certificates.
    report
        Takes events for the bot.
    on_closed
        Told, after `report`, when the call ended by itself; `close` then waits for what is left of it.
    """

    def __init__(
        self,
        call: CallId,
        *,
        studio: Studio,
        ssl_context: ssl.SSLContext,
        report: Callable[[Event], None],
        on_closed: Callable[[CallId], None],
    ) -> None:
        self.call = call
        self.player = Player(call, studio, report=report, on_failure=self._on_send_failure)
        self._studio = studio
        self._ssl_context = ssl_context
        self._report = report
        self._on_closed = on_closed
        self._generation = 0
        self._connection: VoiceServerConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self, command: OpenCall) -> None:
        """Connect, or connect anew in place of the present connection; `CallOpened` is reported then.

        Raises
        ------
        CallError
            The handshake failed, or (``SUPERSEDED``) a newer `OpenCall` or `CloseCall` came first.
        """
        if self._opening is not None:
            self._opening.cancel()
        # At once: were it lost while its successor is on the way, that would be no news.
        self._drop_connection()
        opening = self._opening = asyncio.create_task(self._open(command), name=f"open call {self.call}")
        try:
            await asyncio.wait({opening})
        except asyncio.CancelledError:
            opening.cancel()
            raise
        error = None if opening.cancelled() else opening.exception()
        if opening.cancelled() or (error is not None and self._opening is not opening):
            msg = "the call was closed, or opened anew, before this connection was ready"
            raise CallError(ErrorCode.SUPERSEDED, msg)
        opening.result()

    async def close(self, error: CallError | None = None) -> None:
        """End the call; with an error, what plays has failed with it."""
        self.player.close(None if error is None else error.info)
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        self._drop_connection()
        await self._until_dropped()

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        rtt_ms = None if self._connection is None else self._connection.rtt_ms
        return msgspec.structs.replace(self.player.stats(), gateway_rtt_ms=rtt_ms)

    async def _open(self, command: OpenCall) -> None:
        await self._until_dropped()
        self._generation = command.generation
        connection = VoiceServerConnection(
            command.credentials,
            settings=self._studio.settings,
            ssl_context=self._ssl_context,
            on_lost=lambda error: self._on_lost(connection, error),
            on_dave=self._on_dave,
        )
        transport = await connection.open()
        self._connection = connection
        self.player.bind(transport.seal, transport.send, transport.ssrc)
        # Here and not where it was asked for, so that no `CallClosed` of this connection can come before it.
        self._report(
            CallOpened(
                request=command.request,
                call=self.call,
                generation=command.generation,
                mode=transport.mode.value,
                ssrc=transport.ssrc,
            )
        )

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self.player.unbind()
        # In a task of its own, because the connection itself may be calling, and cannot wait for its own end.
        task = asyncio.create_task(connection.close(), name=f"end call {self.call}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _until_dropped(self) -> None:
        if self._ending:
            await asyncio.wait(self._ending)

    def _on_lost(self, connection: VoiceServerConnection, error: CallError) -> None:
        if connection is not self._connection:
            return
        _LOGGER.info("call %s was lost: %s", self.call, error)
        # First of all, so that whoever learns that a playback ended knows the call to be over already.
        self._report(CallClosed(call=self.call, generation=self._generation, error=error.info))
        self.player.close(error.info)
        self._drop_connection()
        self._on_closed(self.call)

    def _on_dave(self, event: DaveEvent) -> None:
        _LOGGER.debug("call %s: %s", self.call, type(event).__name__)

    def _on_send_failure(self, error: Exception) -> None:
        if self._connection is not None:
            text = f"sending broke: {error}. Join the call again."
            self._on_lost(self._connection, CallError(ErrorCode.INTERNAL, text))
