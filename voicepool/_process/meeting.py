"""The first messages between the bot and a worker: `Hello`, `Setup`, `Ready`."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from voicepool._subject_log import about
from voicepool.errors import LibopusMissingError, WorkerStartError
from voicepool.ipc.channel import BotEnd
from voicepool.ipc.commands import Setup, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ForeignPeerError, UnreadableMessageError, WrongVersionError
from voicepool.ipc.events import Hello, Ready, StartFailed
from voicepool.ipc.version import check_hello

__all__ = ["meet"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

_LAST_WORD_GRACE_S: Final = 0.5
"""After an exit, how long a message that was sent before it may still take through the socket."""
_STRANGERS_TOLD: Final = 3
"""Messages of strangers that are logged, however many come."""


async def meet(
    channel: BotEnd, bootstrap: Bootstrap, settings: WorkerSettings, *, end: asyncio.Task[int]
) -> Ready | None:
    """Wait for a worker that was launched, set it up, and return what it says of itself.

    Parameters
    ----------
    channel
        Where it will knock. From now on, nobody else is heard there.
    bootstrap
        What it was launched with.
    settings
        What it is told.
    end
        Done when its process has ended.

    Returns
    -------
    Ready or None
        None if the process has ended before that.

    Raises
    ------
    WorkerStartError
        It is of another version, refuses, or says what is no message; the text tells which.
    LibopusMissingError
        It finds no libopus.
    """
    meeting = asyncio.create_task(
        _exchange(channel, bootstrap, settings), name=f"voicepool start of {bootstrap.worker}"
    )
    try:
        await asyncio.wait({meeting, end}, return_when=asyncio.FIRST_COMPLETED)
        if not meeting.done():
            await asyncio.wait({meeting}, timeout=_LAST_WORD_GRACE_S)
    finally:
        if not meeting.done():
            meeting.cancel()
            await asyncio.wait({meeting})
    return None if meeting.cancelled() else meeting.result()


async def _exchange(channel: BotEnd, bootstrap: Bootstrap, settings: WorkerSettings) -> Ready:
    await _wait_for_hello(channel, bootstrap)
    channel.accept_peer()
    channel.post(Setup(settings=settings))
    worker = bootstrap.worker
    while True:
        try:
            event, _ = await channel.receive()
        except UnreadableMessageError as error:
            raise WorkerStartError(f"worker {worker} speaks in tongues: {error}") from error
        if isinstance(event, Ready):
            return event
        if isinstance(event, StartFailed):
            kind = LibopusMissingError if event.error.code is ErrorCode.LIBOPUS_MISSING else WorkerStartError
            raise kind(f"worker {worker} cannot start: {event.error.text}", **event.error.data)
        await asyncio.sleep(0)


async def _wait_for_hello(channel: BotEnd, bootstrap: Bootstrap) -> None:
    strangers = 0
    while True:
        try:
            event, _ = await channel.receive()
            if isinstance(event, Hello):
                check_hello(event, start_token=bootstrap.start_token)
                return
        except WrongVersionError as error:
            raise WorkerStartError(f"worker {bootstrap.worker} cannot be used: {error}") from error
        except (ForeignPeerError, UnreadableMessageError) as error:
            # Anyone who can reach the address may knock; that must not spoil the start of the real one.
            strangers += 1
            if strangers <= _STRANGERS_TOLD:
                _LOGGER.warning(
                    "worker %s: ignored a stranger at its address: %s",
                    bootstrap.worker,
                    error,
                    extra=about(worker=bootstrap.worker),
                )
        # Who knocks without end must not keep the loop from its other work.
        await asyncio.sleep(0)
