"""One worker process from its start to its end.

Start: launch, wait for `Hello`, send `Setup`, wait for `Ready`. End: ask (`Shutdown`), wait, SIGTERM, wait,
SIGKILL. Whatever happens in between, the process is reaped and the socket closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

import zmq

from voicepool._launcher import LaunchedProcess, Launcher, describe_exit
from voicepool._link import Link
from voicepool._quarantine import is_crash
from voicepool._rendezvous import Rendezvous
from voicepool.errors import LibopusMissingError, VoicePoolError, WorkerLostError, WorkerStartError
from voicepool.ipc.channel import BotEnd
from voicepool.ipc.commands import Setup, Shutdown, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ForeignPeerError, UnreadableMessageError, WrongVersionError
from voicepool.ipc.events import Hello, Ready, StartFailed
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.version import check_hello

__all__ = ["Worker"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

_LAST_WORD_GRACE_S: Final = 0.5
"""After an exit, how long a message that was sent before it may still take through the socket."""


class Worker:
    """One process instance. Used once: `start`, then `stop`; its successor is another object.

    Parameters
    ----------
    name
        Of this instance.
    settings
        What the process is told after its `Hello`.
    rendezvous, launcher
        Where it finds the bot, and who starts it.
    start_timeout_s
        From the launch to `Ready`.
    stop_timeout_s
        For each step of the end.
    on_crash
        Told its name if it dies unasked, before those whose calls it held are.
    """

    def __init__(
        self,
        name: WorkerId,
        *,
        settings: WorkerSettings,
        rendezvous: Rendezvous,
        launcher: Launcher,
        start_timeout_s: float,
        stop_timeout_s: float,
        on_crash: Callable[[WorkerId], None] = lambda _worker: None,
    ) -> None:
        self.name: Final = name
        self._settings = settings
        self._rendezvous = rendezvous
        self._launcher = launcher
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._on_crash = on_crash
        self._is_dismissed = False
        self._channel: BotEnd | None = None
        self._bootstrap: Bootstrap | None = None
        self._process: LaunchedProcess | None = None
        self._exit: asyncio.Task[int] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ready: Ready | None = None
        self._link: Link | None = None

    @property
    def link(self) -> Link:
        """The conversation with it; only after `start`."""
        assert self._link is not None
        return self._link

    @property
    def ready(self) -> Ready:
        """What it said of itself; only after `start`."""
        assert self._ready is not None
        return self._ready

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def lost(self) -> VoicePoolError | None:
        """How it ended; None before that."""
        return self._link.lost if self._link is not None else None

    async def start(self) -> None:
        """Bring it up. When this fails or is cancelled, nothing is left of it.

        Raises
        ------
        WorkerStartError
            It cannot be launched, has ended, refused, or not answered in time; the text tells which.
        LibopusMissingError
            It finds no libopus.
        """
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._launch()
                self._ready = await self._meet()
        except TimeoutError:
            error = WorkerStartError(
                self._told(f"is not ready after start_timeout_s = {self._start_timeout_s:g}")
            )
            await self._release(0.0)
            raise error from None
        except BaseException:
            await self._release(0.0)
            raise
        assert self._channel is not None
        self._link = Link(self._channel, worker=self.name)
        self._reader = asyncio.create_task(self._link.run(), name=f"voicepool reader of {self.name}")
        self._watch = asyncio.create_task(self._watch_exit(), name=f"voicepool watch of {self.name}")

    async def wait_lost(self) -> VoicePoolError:
        """Wait until the process has ended, for whatever reason, and say how."""
        assert self._watch is not None
        await asyncio.wait({self._watch})
        assert self.link.lost is not None
        return self.link.lost

    async def stop(self) -> None:
        """End it in order, by force if need be. When cancelled, by force at once."""
        await self._release(self._stop_timeout_s)

    def kill(self) -> None:
        """End it at once; `stop` still has to be awaited."""
        self._dismiss()
        if self._process is not None:
            self._process.kill()

    # The start.

    async def _launch(self) -> None:
        try:
            self._channel, self._bootstrap = self._rendezvous.open(self.name)
            self._process = await self._launcher.launch(self._bootstrap)
        except (OSError, zmq.ZMQError) as error:
            raise WorkerStartError(f"worker {self.name} cannot be started: {error}") from error
        self._exit = asyncio.create_task(self._process.wait(), name=f"voicepool exit of {self.name}")

    async def _meet(self) -> Ready:
        """Exchange the first messages, unless the process ends first."""
        assert self._exit is not None
        meeting = asyncio.create_task(self._exchange(), name=f"voicepool start of {self.name}")
        try:
            await asyncio.wait({meeting, self._exit}, return_when=asyncio.FIRST_COMPLETED)
            if not meeting.done():
                await asyncio.wait({meeting}, timeout=_LAST_WORD_GRACE_S)
        finally:
            if not meeting.done():
                meeting.cancel()
                await asyncio.wait({meeting})
        if meeting.cancelled():
            raise WorkerStartError(self._told(f"{describe_exit(self._exit.result())} before it was ready"))
        return meeting.result()

    async def _exchange(self) -> Ready:
        assert self._channel is not None
        assert self._bootstrap is not None
        while True:
            try:
                event, _ = await self._channel.receive()
                if isinstance(event, Hello):
                    check_hello(event, start_token=self._bootstrap.start_token)
                    break
            except WrongVersionError as error:
                raise WorkerStartError(f"worker {self.name} cannot be used: {error}") from error
            except (ForeignPeerError, UnreadableMessageError) as error:
                # Anyone who can reach the address may knock; that must not spoil the start of the real one.
                _LOGGER.warning("worker %s: ignored a stranger at its address: %s", self.name, error)
        self._channel.accept_peer()
        self._channel.post(Setup(settings=self._settings))
        while True:
            try:
                event, _ = await self._channel.receive()
            except UnreadableMessageError as error:
                raise WorkerStartError(f"worker {self.name} speaks in tongues: {error}") from error
            if isinstance(event, Ready):
                return event
            if isinstance(event, StartFailed):
                kind = (
                    LibopusMissingError if event.error.code is ErrorCode.LIBOPUS_MISSING else WorkerStartError
                )
                raise kind(f"worker {self.name} cannot start: {event.error.text}", **event.error.data)

    def _told(self, what: str) -> str:
        lines = self._process.last_lines if self._process is not None else ()
        heading = f"worker {self.name} {what}"
        return "\n".join([f"{heading}; its last words:", *lines]) if lines else f"{heading}, and said nothing"

    # The end.

    async def _watch_exit(self) -> None:
        assert self._exit is not None
        await asyncio.wait({self._exit})
        if self._exit.cancelled():
            self.link.lose(WorkerLostError(f"worker {self.name} was given up", worker=self.name))
            return
        status = self._exit.result()
        if is_crash(status) and not self._is_dismissed:
            self._on_crash(self.name)
        text = f"worker {self.name} {describe_exit(status)}"
        self.link.lose(WorkerLostError(text, worker=self.name, exit_status=status))

    async def _release(self, patience_s: float) -> None:
        self._dismiss()
        # The stack goes on with the next step when one is cancelled or fails.
        async with contextlib.AsyncExitStack() as stack:
            if self._bootstrap is not None:
                stack.callback(self._rendezvous.forget, self._bootstrap)
            if self._channel is not None:
                stack.push_async_callback(self._channel.close)
            if self._reader is not None:
                stack.push_async_callback(self._end_reader, self._reader)
            if self._exit is not None:
                stack.push_async_callback(self._reap, self._exit)
                await self._end_process(self._exit, patience_s)

    def _dismiss(self) -> None:
        """Take note that its end is wanted, unless it has come already."""
        self._is_dismissed = self._is_dismissed or self._exit is None or not self._exit.done()

    async def _reap(self, exit_: asyncio.Task[int]) -> None:
        self.kill()
        await asyncio.wait({exit_}, timeout=self._stop_timeout_s)
        if not exit_.done():
            _LOGGER.error(
                "worker %s (pid %s) has not ended at SIGKILL; it is left behind", self.name, self.pid
            )
            exit_.cancel()
            await asyncio.wait({exit_})
        if self._watch is not None:
            await asyncio.wait({self._watch})

    @staticmethod
    async def _end_reader(reader: asyncio.Task[None]) -> None:
        reader.cancel()
        await asyncio.wait({reader})

    async def _end_process(self, exit_: asyncio.Task[int], patience_s: float) -> None:
        assert self._process is not None
        if exit_.done():
            return
        if self._link is not None and patience_s > 0:
            self._ask_to_leave()
            await asyncio.wait({exit_}, timeout=patience_s)
        if exit_.done():
            return
        self._process.say_goodbye()
        self._process.terminate()
        if patience_s > 0:
            _LOGGER.warning("worker %s does not leave when asked; sent SIGTERM", self.name)
            await asyncio.wait({exit_}, timeout=patience_s)
            if not exit_.done():
                _LOGGER.error("worker %s does not leave at SIGTERM; sending SIGKILL", self.name)

    def _ask_to_leave(self) -> None:
        try:
            self.link.post(Shutdown())
        except VoicePoolError as error:
            _LOGGER.debug("worker %s cannot be asked to leave: %s", self.name, error)
