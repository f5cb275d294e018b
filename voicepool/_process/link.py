"""The client's side of the conversation with one worker: requests and their answers, and unasked news.

Whoever waits for an answer gets one: the worker's, a `WorkerTimeoutError`, or a `WorkerLostError` when the
process is gone. News about a call is handed to that call's listener at once, in the order of its arrival, so
there is no queue to fill up.

However much a worker says, the bot's loop gets its turns: after some messages, or some milliseconds of them,
everybody else is let in, and a worker that says far too much is reported, see `voicepool._process.flood`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from voicepool._process.flood import FloodGauge
from voicepool._process.listener import CallEvent, CallListener, TrackEvent
from voicepool._process.request import Answer, AnswerT, Request, fresh_copy
from voicepool._subject_log import about
from voicepool.errors import (
    VoicePoolError,
    WorkerError,
    WorkerLostError,
    WorkerTimeoutError,
)
from voicepool.ipc.channel import BotEnd, ForkedError, LinkFullError, MessageTooLargeError
from voicepool.ipc.commands import Command, Ping
from voicepool.ipc.errors import UnreadableMessageError
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallReleased,
    CallRestored,
    Done,
    EncryptionState,
    Event,
    Failed,
    MembersChanged,
    ServerWanted,
    Speaking,
    Stats,
    StreamCredit,
    TrackChanged,
    TrackEnded,
    TrackReady,
    TrackStarted,
    TrackStuck,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, RequestId, WorkerId

__all__ = ["CallEvent", "CallListener", "Link", "Request", "TrackEvent", "fresh_copy"]

_LOGGER: Final = logging.getLogger("voicepool.link")

MAX_PENDING_REQUESTS: Final = 4_096
"""Requests without an answer at one worker; at the bound a new one is refused."""
MESSAGES_A_TURN: Final = 64
LONGEST_TURN_S: Final = 0.002
"""What is read in a row before the loop's other work gets its turn, whichever is reached first."""
QUIET_S: Final = 0.003
QUIET_LOOKS: Final = 2
LONGEST_CATCH_UP_S: Final = 0.25
SHORTEST_CPU_SPAN_S: Final = 0.05
"""Shorter spans between two reports say more about the clock than about the load."""


class Link:
    """The conversation with one worker that has said `Ready`.

    Parameters
    ----------
    channel
        The bot's end. It stays its owner's, who closes it.
    worker
        Name of the worker, for texts.
    on_stats
        Handed each report, after the calls that it speaks of.
    on_flood
        Told once, if the worker sends more than any worker has to say.
    """

    def __init__(
        self,
        channel: BotEnd,
        *,
        worker: WorkerId,
        on_stats: Callable[[Stats], None] = lambda _stats: None,
        on_flood: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker: Final = worker
        self.stats: Stats | None = None
        """The latest report; None before the first."""
        self.cpu_share: float | None = None
        """CPU time per wall time, lately; None before the second report."""
        self.unreadable = 0
        """Messages that could not be read."""
        self.messages = 0
        """Messages that were received."""
        self.heard_at = asyncio.get_running_loop().time()
        """When the last one was, in seconds of the loop's clock."""
        self.rtt_ms: float | None = None
        """Round trip of the latest `ping` that was answered, in milliseconds; None before the first."""
        self._channel = channel
        self._on_stats = on_stats
        self._on_flood = on_flood
        self._flood = FloodGauge(self.heard_at)
        self._ping: tuple[RequestId, float] | None = None
        self._calls_at_loss = 0
        self._numbers = 0
        self._pending: dict[RequestId, Request[Any]] = {}
        self._listeners: dict[CallId, CallListener] = {}
        self._lost: VoicePoolError | None = None
        self._cpu_since: Stats | None = None

    @property
    def lost(self) -> VoicePoolError | None:
        """Why the worker is gone; None while it is there."""
        return self._lost

    @property
    def calls(self) -> int:
        """How many calls it holds, or held when it was lost."""
        return len(self._listeners) if self._lost is None else self._calls_at_loss

    def request(
        self,
        make: Callable[[RequestId], Command],
        expected: type[AnswerT],
        *,
        timeout_s: float | None,
        attachments: Sequence[bytes] = (),
    ) -> Request[AnswerT]:
        """Send a command at once; whoever wants the answer awaits ``answer()`` of what is returned.

        Parameters
        ----------
        make
            Makes the command from its request number.
        expected
            Type of the answer.
        timeout_s
            How long ``answer()`` waits, in seconds; None for as long as the worker is there.
        attachments
            Raw frames that go with the command.

        Raises
        ------
        WorkerLostError
            The worker is gone.
        WorkerTimeoutError
            The worker reads nothing any more, or owes too many answers.
        """
        if len(self._pending) >= MAX_PENDING_REQUESTS:
            raise WorkerTimeoutError(f"worker {self.worker} owes {len(self._pending)} answers already")
        number = self._next_number()
        command = make(number)
        request = Request(
            type(command).__name__,
            worker=self.worker,
            expected=expected,
            timeout_s=timeout_s,
            forget=lambda: self.forget(number),
        )
        self.post(command, attachments)
        self._pending[number] = request
        return request

    def post(self, command: Command, attachments: Sequence[bytes] = ()) -> None:
        """Send an intention, which is not answered.

        Raises
        ------
        WorkerLostError
            The worker is gone.
        WorkerTimeoutError
            The worker reads nothing any more.
        WorkerError
            It would not read a message as large as this.
        """
        if self._lost is not None:
            raise fresh_copy(self._lost)
        try:
            self._channel.post(command, attachments)
        except LinkFullError as error:
            raise WorkerTimeoutError(f"worker {self.worker} is stuck: {error}") from error
        except ForkedError as error:
            raise WorkerLostError(
                f"worker {self.worker} is another process's: {error}; start a pool where it is used",
                worker=self.worker,
            ) from error
        except MessageTooLargeError as error:
            name = type(command).__name__
            raise WorkerError(f"worker {self.worker} cannot be sent {name}: {error}") from error

    def ping(self) -> None:
        """Ask for a sign of life, unless one that was asked for is still to come.

        Raises
        ------
        WorkerLostError, WorkerTimeoutError
            As of `post`.
        """
        if self._ping is None:
            number = self._next_number()
            self.post(Ping(request=number))
            self._ping = number, asyncio.get_running_loop().time()

    def forget(self, number: RequestId) -> None:
        """Ignore the answer to a request."""
        self._pending.pop(number, None)

    def listen(self, call: CallId, listener: CallListener) -> None:
        """Hand news about a call to its owner from now on."""
        self._listeners[call] = listener

    def unlisten(self, call: CallId) -> None:
        """Hand over no more news about a call."""
        self._listeners.pop(call, None)

    async def run(self) -> None:
        """Read what the worker says, until it is lost, or this is cancelled."""
        channel = self._channel
        while self._lost is None:
            began_bytes = channel.received_bytes
            await self._read()
            count, turn_ends_at = 1, self.heard_at + LONGEST_TURN_S
            while (
                channel.has_message
                and self._lost is None
                and count < MESSAGES_A_TURN
                and self.heard_at < turn_ends_at
            ):
                await self._read()
                count += 1
            if self._flood.pour(count, channel.received_bytes - began_bytes, self.heard_at):
                self._on_flood()
                return
            if channel.has_message:
                # What is there already is received without a pause, so that there might never be one.
                await asyncio.sleep(0)

    async def catch_up(self) -> None:
        """Wait until all that the worker had sent before has been taken in; a quarter of a second at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONGEST_CATCH_UP_S
        quiet = 0
        # Nobody tells that a socket is empty, ZeroMQ's own thread being still on its way perhaps. Twice,
        # because a loop that was held up runs its timers before it has read.
        while quiet < QUIET_LOOKS and loop.time() < deadline:
            before = self.messages
            await asyncio.sleep(QUIET_S)
            quiet = quiet + 1 if self.messages == before else 0

    def lose(self, error: VoicePoolError) -> None:
        """End everything that waits for the worker, with this error."""
        if self._lost is not None:
            return
        self._calls_at_loss = len(self._listeners)
        self._lost = error
        for request in list(self._pending.values()):
            request.fail(fresh_copy(error))
        listeners = list(self._listeners.values())
        self._listeners.clear()
        for listener in listeners:
            try:
                listener.on_worker_lost(fresh_copy(error))
            except Exception:
                _LOGGER.exception(
                    "worker %s: cannot end one of its calls", self.worker, extra=about(worker=self.worker)
                )

    async def _read(self) -> None:
        """Take in one message."""
        event: Event | None = None
        try:
            event, _attachments = await self._channel.receive()
        except UnreadableMessageError as error:
            self.unreadable += 1
            if self.unreadable == 1:
                _LOGGER.error(  # noqa: TRY400 - where it was noticed says nothing about where it came from
                    "worker %s sent an unreadable message: %s",
                    self.worker,
                    error,
                    extra=about(worker=self.worker),
                )
        self.messages += 1
        self.heard_at = asyncio.get_running_loop().time()
        if event is not None:
            try:
                self._take(event)
            except Exception:
                # One call's mistake must not make the worker's other calls deaf.
                _LOGGER.exception(
                    "worker %s: cannot handle %s",
                    self.worker,
                    type(event).__name__,
                    extra=about(worker=self.worker),
                )

    def _next_number(self) -> RequestId:
        self._numbers += 1
        return RequestId(self._numbers)

    def _take(self, event: Event) -> None:
        match event:
            case Stats():
                self._take_stats(event)
            case CallOpened():
                # Its listener too, since what follows may be read before whoever asked gets to run.
                self._tell(event)
                self._settle(event.request, event)
            case TrackReady():
                self._tell_of_track(event)
                self._settle(event.request, event)
            case Done() | Failed() | VerificationCode() | CallReleased():
                self._settle(event.request, event)
            case TrackStarted() | TrackStuck() | TrackChanged() | TrackEnded() | StreamCredit():
                self._tell_of_track(event)
            case CallClosed():
                if (listener := self._listeners.get(event.call)) is not None:
                    listener.on_call_closed(event)
            case (
                CallInterrupted()
                | CallRestored()
                | ServerWanted()
                | EncryptionState()
                | MembersChanged()
                | Speaking()
            ):
                self._tell(event)
            case _:
                # Hello, Ready and StartFailed belong to the start, Bye is confirmed by the process's exit.
                _LOGGER.debug(
                    "worker %s: %s", self.worker, type(event).__name__, extra=about(worker=self.worker)
                )

    def _tell(self, event: CallEvent) -> None:
        if (listener := self._listeners.get(event.call)) is not None:
            listener.on_call_event(event)

    def _tell_of_track(self, event: TrackEvent) -> None:
        if (listener := self._listeners.get(event.call)) is not None:
            listener.on_track_event(event)

    def _settle(self, number: RequestId, event: Answer) -> None:
        if self._ping is not None and number == self._ping[0]:
            self.rtt_ms = 1_000.0 * (self.heard_at - self._ping[1])
            self._ping = None
            return
        request = self._pending.pop(number, None)
        if request is None:
            _LOGGER.debug(
                "worker %s: late answer %s",
                self.worker,
                type(event).__name__,
                extra=about(worker=self.worker),
            )
        else:
            request.settle(event)

    def _take_stats(self, stats: Stats) -> None:
        self.stats = stats
        since = self._cpu_since
        if since is None:
            self._cpu_since = stats
        elif (span_s := stats.uptime_s - since.uptime_s) >= SHORTEST_CPU_SPAN_S:
            self.cpu_share = (stats.cpu_s - since.cpu_s) / span_s
            self._cpu_since = stats
        for figures in stats.calls:
            if (listener := self._listeners.get(figures.call)) is not None:
                listener.on_stats(figures)
        self._on_stats(stats)
        if stats.request is not None:
            self._settle(stats.request, stats)
