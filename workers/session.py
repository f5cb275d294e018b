"""One guild's call inside a worker: its connection to the voice server, and its player.

The player outlives the connection: when it is lost, or the bot sends new credentials (another voice server,
another channel), what plays is held, the connection is mended or replaced, and it goes on.

An `OpenCall` is answered when the call is up, or when nothing will be tried any more. The first one of a call
is tried once, so its answer comes within ``connect_timeout_s``, and its failure is the end of the call. One
for a call that has been up is mended like any other loss, because its server may need some moments to begin:
`CallInterrupted` says so at the first failure, and the answer comes as late as the last attempt does, which
is after ``reconnect_attempts * (connect_timeout_s + reconnect_longest_pause_s) + server_wait_s`` at most. Who
does not want to wait so long closes the call, or opens it anew: that is answered at once.

A call may be up at another worker before it is here, and after: `prepare` has it known before there is
anything to connect to, an `OpenCall` that takes over is mended like one for a call that has been up, and
`release` lets go of a call that goes on elsewhere.
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
from voicepool.ipc.events import CallStats, Event, TrackPlace
from voicepool.ipc.ids import CallId
from voicepool.workers.alarm import Alarm
from voicepool.workers.connection import MemberEvent, Transport, VoiceServerConnection
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.events import DaveEvent
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
from voicepool.workers.news import CallNews
from voicepool.workers.player import Player
from voicepool.workers.settling import settle
from voicepool.workers.sound import Studio

__all__ = ["Session"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")

NAMED_WITHIN_S: Final = 5.0
"""How long a new voice session may take to name the members of the call; see `members`."""
PREPARED_S: Final = 60.0
"""How long a call that was prepared is kept until it is opened."""
LEAVE_WITHIN_S: Final = 0.5
"""How long a close frame may take to be written: the call is silent meanwhile."""


class Session:
    """One call. All methods run on the control loop.

    Parameters
    ----------
    call
        Its name.
    studio
        The worker's threads, and settings: how patient a call is, too.
    ssl_context
        For voice servers' certificates.
    report
        Takes events for the bot.
    on_closed
        Told, after `report`, when the call ended by itself; `close` then waits for what is left of it.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call = call
        self.player = Player(call, studio, report=report, on_failure=self._on_send_failure)
        self._studio = studio
        self._ssl_context = ssl_context
        self._news = CallNews(call, report=report, clock=clock)
        self._on_closed = on_closed
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._life = CallLifecycle(LifecyclePolicy.of(studio.settings))
        self._due = Alarm(lambda: self._carry_out(self._life.tick(self._clock())))
        self._roll_call = Alarm(self._call_roll)
        self._member_news = Alarm(self._tell_members)
        self._unopened = Alarm(self._give_up_waiting)
        self._command: OpenCall | None = None
        self._asked: asyncio.Future[None] | None = None
        self._opening: VoiceServerConnection | None = None
        self._connection: VoiceServerConnection | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._transport: Transport | None = None
        self._frames_failed = 0
        """In connections that are no more."""

    @property
    def was_opened(self) -> bool:
        """Whether it was more than prepared."""
        return self._command is not None

    def prepare(self) -> None:
        """Keep the call for `PREPARED_S` if it is not opened before."""
        if not (self.was_opened or self._unopened.is_set):
            self._unopened.set(PREPARED_S)

    async def open(self, command: OpenCall) -> None:
        """Connect, or connect anew in place of the present connection; `CallOpened` is reported then.

        Raises
        ------
        CallError
            Nothing will be tried any more; the error is that of the last attempt. Or (``SUPERSEDED``) a newer
            `OpenCall` or `CloseCall` came first.
        """
        if self._closed:
            raise _superseded()
        self._overtake()
        self._unopened.stop()
        self._command = command
        self._news.generation = command.generation
        asked = self._asked = self._loop.create_future()
        self._carry_out(self._life.new_server(self._clock(), takes_over=command.takes_over))
        if command.takes_over:
            self._news.down()
            self.player.expect_transport()
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

    def server_gone(self, generation: int) -> None:
        """Take note that Discord took the voice server of this generation away, and will name another."""
        if self._closed or generation != self._news.generation:
            _LOGGER.debug("call %s: the server of generation %d is history", self.call, generation)
            return
        self._news.interrupted(None)
        self._carry_out(self._life.server_gone(self._clock()))

    def verification(self, user_id: int) -> VerificationPair | str:
        """Return what a member's verification code is made from; see `CallEncryption.verification`.

        Raises
        ------
        CallError
            That is not known, or the call has no connection now.
        """
        if self._connection is None:
            text = "the call has no connection now, so nobody in it can be verified. Ask again when it has."
            raise CallError(ErrorCode.UNVERIFIABLE, text, user=user_id)
        return self._connection.verification(user_id)

    async def release(self) -> list[TrackPlace]:
        """Let go of a call that goes on elsewhere; see `Player.release`. `close` is still to be called.

        Returns
        -------
        list
            Where its tracks go on, once nothing is sent any more and the voice server was told.
        """
        self._closed = True
        self._overtake()
        self._unopened.stop()
        connection = self._connection
        self._carry_out(self._life.close(self._clock()))
        places = await self.player.release()
        if connection is not None:
            try:
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await connection.wait_until_left()
            except TimeoutError:
                _LOGGER.info("call %s: the voice server takes no close frame", self.call)
        return places

    async def close(self, error: CallError | None = None) -> None:
        """End the call; with an error, what plays has failed with it."""
        self._closed = True
        self._overtake()
        self._unopened.stop()
        # What was prepared in vain plays on elsewhere, under the same names.
        self.player.close(None if error is None else error.info, silently=not self.was_opened)
        self._carry_out(self._life.close(self._clock()))
        await self._until_dropped()
        # They and this know each other; see `voicepool.workers.garbage`.
        for alarm in (self._due, self._roll_call, self._member_news, self._unopened):
            alarm.retire()

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        stats, connection = self.player.stats(), self._connection
        if connection is None:
            return self._news.counted(stats, frames_failed=self._frames_failed)
        stats = msgspec.structs.replace(
            stats, gateway_rtt_ms=connection.rtt_ms, messages_skipped=connection.messages_skipped
        )
        return self._news.counted(stats, frames_failed=self._frames_failed + connection.frames_failed)

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
                case WantServer(rejoin=rejoin, error=error):
                    self._news.wants_server(error, rejoin=rejoin)
                case End(error=error):
                    self._end(error)
        self._due.stop()
        deadline = self._life.next_deadline
        if deadline is not None:
            self._due.set(deadline - self._clock())

    async def _connect(self) -> None:
        await self._until_dropped()
        command = self._command
        assert command is not None, "the life cycle connects once there are credentials"
        self._news.begins(command)
        try:
            connection = self._opening = VoiceServerConnection(
                command.credentials,
                settings=self._studio.settings,
                ssl_context=self._ssl_context,
                on_lost=lambda error: self._on_lost(connection, error),
                on_broken=lambda error: self._on_broken(connection, error),
                on_dave=lambda event: self._on_dave(connection, event),
                on_member=lambda event: self._on_member(connection, event),
            )
            transport = await connection.open()
        except Exception as error:  # noqa: BLE001  # the life cycle judges it, and it is logged
            self._failed(_as_call_error(error))
            return
        self._opening, self._connection = None, connection
        self._transport = transport
        self.player.bind(transport.seal, transport.send, transport.ssrc)
        if not self._news.members.is_settled:
            self._roll_call.set(NAMED_WITHIN_S)
        self._is_up(resumed=False)

    async def _resume(self) -> None:
        connection = self._connection
        assert connection is not None, "only what was connected is resumed"
        try:
            await connection.resume()
        except Exception as error:  # noqa: BLE001  # the life cycle judges it, and it is logged
            self._failed(_as_call_error(error))
            return
        self._is_up(resumed=True)

    def _is_up(self, *, resumed: bool) -> None:
        assert self._transport is not None, "it was set up, or resumed"
        self._attempt = None
        self._carry_out(self._life.ready(self._clock()))
        asked, self._asked = self._asked, None
        # Here and not where it was asked for, so that no `CallClosed` of this connection can come before it.
        answers = None if asked is None else self._command
        self._news.up(self._transport, answers=answers, resumed=resumed)
        self._pace_member_news()
        if asked is not None:
            settle(asked, None)

    def _call_roll(self) -> None:
        self._news.members.settled()
        self._tell_members()

    def _tell_members(self) -> None:
        self._news.tell_members()
        self._pace_member_news()

    def _pace_member_news(self) -> None:
        if self._news.tell_members_at is not None and not self._member_news.is_set:
            self._member_news.set(self._news.tell_members_at - self._clock())

    def _failed(self, error: CallError) -> None:
        """Take the failure of the attempt that is calling."""
        self._attempt = self._opening = None
        self._interrupted(error, self._life.failed(error, self._clock()))

    def _end(self, error: CallError | None) -> None:
        if error is None:
            return
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(error)
            return
        # First of all, so that whoever learns that a playback ended knows the call to be over already.
        self._news.closed(error)
        self.player.close(error.info)
        self._on_closed(self.call)

    # What happens.

    def _on_lost(self, connection: VoiceServerConnection, error: CallError) -> None:
        if connection is self._connection:
            self._interrupted(error, self._life.failed(error, self._clock()))

    def _on_broken(self, connection: VoiceServerConnection, error: CallError) -> None:
        if connection is self._connection:
            self._interrupted(error, self._life.broken(error, self._clock()))

    def _on_dave(self, connection: VoiceServerConnection, event: DaveEvent) -> None:
        if connection in {self._opening, self._connection}:
            self._news.dave(event)

    def _on_member(self, connection: VoiceServerConnection, event: MemberEvent) -> None:
        if connection in {self._opening, self._connection}:
            self._news.member(event)
            self._pace_member_news()

    def _on_send_failure(self, error: Exception) -> None:
        if self._connection is not None:
            broken = CallError(ErrorCode.INTERNAL, f"sending broke: {error}. Join the call again.")
            self._on_broken(self._connection, broken)

    def _interrupted(self, error: CallError, steps: list[Step]) -> None:
        if not any(isinstance(step, End) for step in steps):
            self._news.interrupted(error)
        self._carry_out(steps)

    # Letting go.

    def _give_up_waiting(self) -> None:
        _LOGGER.warning("call %s was prepared, but not opened within %g s", self.call, PREPARED_S)
        self._on_closed(self.call)

    def _overtake(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(_superseded())

    def _end_attempt(self) -> None:
        self._opening = None
        attempt, self._attempt = self._attempt, None
        if attempt is not None and attempt is not asyncio.current_task():
            attempt.cancel()
            self._keep(attempt)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._roll_call.stop()
        self._member_news.stop()
        if connection is None:
            return
        self._frames_failed += connection.frames_failed
        self.player.unbind()
        self._news.down()
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
