"""One guild's call inside a worker: its connection to the voice server, and its player.

The player outlives the connection: when the bot sends new credentials (another voice server, another
channel), what plays is held, the connection is replaced, and it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Final

import msgspec

from voicepool.ipc.commands import OpenCall
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    CallStats,
    EncryptionState,
    Event,
    ServerWanted,
)
from voicepool.ipc.ids import CallId
from voicepool.workers.connection import Transport, VoiceServerConnection
from voicepool.workers.dave.events import DaveEvent, DaveFailed, EncryptionChanged, GroupChanged
from voicepool.workers.errors import CallError
from voicepool.workers.lifecycle import (
    CallLifecycle,
    Connect,
    Disconnect,
    End,
    LifecyclePolicy,
    Step,
    WantServer,
)
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
    policy
        How patient it is when a connection is lost.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        call: CallId,
        *,
        studio: Studio,
        ssl_context: ssl.SSLContext,
        report: Callable[[Event], None],
        on_closed: Callable[[CallId], None],
        policy: LifecyclePolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call = call
        self.player = Player(call, studio, report=report, on_failure=self._on_send_failure)
        self._studio = studio
        self._ssl_context = ssl_context
        self._report = report
        self._on_closed = on_closed
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._life = CallLifecycle(policy)
        self._timer: asyncio.TimerHandle | None = None
        self._command: OpenCall | None = None
        self._asked: asyncio.Future[None] | None = None
        self._connection: VoiceServerConnection | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._silent_since: float | None = None
        self._encryption = (0, False)
        self._closed = False
        self._transport: Transport | None = None

    async def open(self, command: OpenCall) -> None:
        """Connect, or connect anew in place of the present connection; `CallOpened` is reported then.

        Raises
        ------
        CallError
            The handshake failed, or (``SUPERSEDED``) a newer `OpenCall` or `CloseCall` came first.
        """
        if self._closed:
            raise _superseded()
        self._overtake()
        self._command = command
        asked = self._asked = self._loop.create_future()
        self._carry_out(self._life.new_server(self._clock()))
        try:
            await asked
        except asyncio.CancelledError:
            if self._asked is asked:
                self._end_attempt()
            raise
        except CallError:
            if self._command is not command:
                raise _superseded() from None
            raise

    async def close(self, error: CallError | None = None) -> None:
        """End the call; with an error, what plays has failed with it."""
        self._closed = True
        self._overtake()
        self.player.close(None if error is None else error.info)
        self._carry_out(self._life.close(self._clock()))
        await self._until_dropped()

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        rtt_ms = None if self._connection is None else self._connection.rtt_ms
        return msgspec.structs.replace(self.player.stats(), gateway_rtt_ms=rtt_ms)

    # What the life cycle wants.

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Disconnect():
                    self._end_attempt()
                    self._drop_connection()
                case Connect(resume=resume):
                    self._end_attempt()
                    connecting = self._resume() if resume else self._connect()
                    self._attempt = asyncio.create_task(connecting, name=f"connect call {self.call}")
                case WantServer(rejoin=rejoin):
                    self._report(ServerWanted(call=self.call, generation=self._generation, rejoin=rejoin))
                case End(error=error):
                    self._end(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._life.next_deadline
        if deadline is not None:
            delay_s = max(0.0, deadline - self._clock())
            self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._life.tick(self._clock()))

    async def _connect(self) -> None:
        await self._until_dropped()
        command = self._command
        assert command is not None, "the life cycle connects once there are credentials"
        connection = VoiceServerConnection(
            command.credentials,
            settings=self._studio.settings,
            ssl_context=self._ssl_context,
            on_lost=lambda error: self._on_lost(connection, error),
            on_dave=lambda event: self._on_dave(connection, event),
        )
        try:
            transport = await connection.open()
        except Exception as error:  # noqa: BLE001  # the life cycle judges it, and it is logged
            self._failed(_as_call_error(error))
            return
        self._connection = connection
        self._transport = transport
        self.player.bind(transport.seal, transport.send, transport.ssrc)
        self._attempt = None
        self._carry_out(self._life.ready(self._clock()))
        self._announce(command, resumed=False)

    async def _resume(self) -> None:
        connection, command = self._connection, self._command
        assert connection is not None, "only what was connected is resumed"
        assert command is not None, "likewise"
        try:
            await connection.resume()
        except Exception as error:  # noqa: BLE001  # the life cycle judges it, and it is logged
            self._failed(_as_call_error(error))
            return
        self._attempt = None
        self._carry_out(self._life.ready(self._clock()))
        self._announce(command, resumed=True)

    def _announce(self, command: OpenCall, *, resumed: bool) -> None:
        assert self._transport is not None, "it was set up, or resumed"
        mode, ssrc = self._transport.mode.value, self._transport.ssrc
        gap_s = 0.0 if self._silent_since is None else self._clock() - self._silent_since
        self._silent_since = None
        asked, self._asked = self._asked, None
        if asked is None:
            self._report(
                CallRestored(
                    call=self.call,
                    generation=self._generation,
                    gap_ms=gap_s * 1_000,
                    resumed=resumed,
                    mode=mode,
                    ssrc=ssrc,
                )
            )
            return
        # Here and not where it was asked for, so that no `CallClosed` of this connection can come before it.
        self._report(
            CallOpened(
                request=command.request,
                call=self.call,
                generation=command.generation,
                mode=mode,
                ssrc=ssrc,
            )
        )
        if not asked.done():
            asked.set_result(None)

    def _failed(self, error: CallError) -> None:
        """Take the failure of the attempt that is calling."""
        self._attempt = None
        self._carry_out(self._life.failed(error, self._clock()))

    def _end(self, error: CallError | None) -> None:
        if error is None:
            return
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(error)
            return
        _LOGGER.info("call %s has ended: %s", self.call, error)
        # First of all, so that whoever learns that a playback ended knows the call to be over already.
        self._report(CallClosed(call=self.call, generation=self._generation, error=error.info))
        self.player.close(error.info)
        self._on_closed(self.call)

    # What happens.

    @property
    def _generation(self) -> int:
        return 0 if self._command is None else self._command.generation

    def _on_lost(self, connection: VoiceServerConnection, error: CallError) -> None:
        if connection is self._connection:
            self._interrupted(error, self._life.failed(error, self._clock()))

    def _on_dave(self, connection: VoiceServerConnection, event: DaveEvent) -> None:
        match event:
            case DaveFailed(reason=reason):
                if connection is self._connection:
                    text = f"end-to-end encryption could not be kept up: {reason}. Join the call again."
                    error = CallError(ErrorCode.PROTOCOL, text)
                    self._interrupted(error, self._life.broken(error, self._clock()))
            case EncryptionChanged(protocol_version=version, is_sending=sending):
                self._encryption = (version, sending)
                self._report(EncryptionState(call=self.call, protocol_version=version, sending=sending))
            case GroupChanged():
                version, sending = self._encryption
                self._report(
                    EncryptionState(
                        call=self.call,
                        protocol_version=version,
                        sending=sending,
                        epoch=event.epoch,
                        privacy_code=event.privacy_code,
                        members=sorted(event.user_ids),
                    )
                )
            case _:
                _LOGGER.info("call %s: %s", self.call, event)

    def _on_send_failure(self, error: Exception) -> None:
        if self._connection is not None:
            broken = CallError(ErrorCode.INTERNAL, f"sending broke: {error}. Join the call again.")
            self._interrupted(broken, self._life.broken(broken, self._clock()))

    def _interrupted(self, error: CallError, steps: list[Step]) -> None:
        if not any(isinstance(step, End) for step in steps):
            _LOGGER.info("call %s was interrupted: %s", self.call, error)
            self._report(CallInterrupted(call=self.call, generation=self._generation, error=error.info))
        self._carry_out(steps)

    # Letting go.

    def _overtake(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(_superseded())

    def _end_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None and attempt is not asyncio.current_task():
            attempt.cancel()
            self._keep(attempt)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self.player.unbind()
        if self._silent_since is None:
            self._silent_since = self._clock()
        # In a task of its own, because the connection itself may be calling, and cannot wait for its own end.
        self._keep(asyncio.create_task(connection.close(), name=f"end call {self.call}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _until_dropped(self) -> None:
        if others := self._ending - {asyncio.current_task()}:
            await asyncio.wait(others)


def _superseded() -> CallError:
    msg = "the call was closed, or opened anew, before this connection was ready"
    return CallError(ErrorCode.SUPERSEDED, msg)


def _as_call_error(error: Exception) -> CallError:
    if isinstance(error, CallError):
        return error
    _LOGGER.error("connecting failed inside voicepool", exc_info=error)
    text = f"voicepool failed while it connected: {error!r}; the worker's log has the traceback"
    return CallError(ErrorCode.INTERNAL, text)
