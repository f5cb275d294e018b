"""What was asked of a worker, and its answer: whoever waits for one gets one.

It is the worker's, a `WorkerTimeoutError`, or a `WorkerLostError` when the process is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from voicepool.errors import InternalError, VoicePoolError, WorkerTimeoutError, from_info
from voicepool.ipc.events import CallOpened, CallReleased, Done, Failed, Stats, TrackReady, VerificationCode
from voicepool.ipc.ids import WorkerId

__all__ = ["Answer", "AnswerT", "Request", "fresh_copy"]

Answer = CallOpened | CallReleased | Done | Failed | Stats | TrackReady | VerificationCode
AnswerT = TypeVar("AnswerT", CallOpened, CallReleased, Done, Stats, TrackReady, VerificationCode)


class Request(Generic[AnswerT]):
    """A command on its way. Made by `Link.request`.

    Parameters
    ----------
    name
        Of the command, for texts.
    worker
        Which was asked.
    expected
        Type of the answer.
    timeout_s
        How long `answer` waits, in seconds; None for as long as the worker is there.
    forget
        Called when the answer is wanted no more.
    """

    def __init__(
        self,
        name: str,
        *,
        worker: WorkerId,
        expected: type[AnswerT],
        timeout_s: float | None,
        forget: Callable[[], object],
    ) -> None:
        self._name = name
        self._worker = worker
        self._forget = forget
        self._expected: type[AnswerT] = expected
        self._timeout_s = timeout_s
        self._deadline: asyncio.Timeout | None = None
        self._future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()

    @property
    def timeout_s(self) -> float | None:
        """How long `answer` waits, in seconds; None as long as the worker is there."""
        return self._timeout_s

    async def answer(self) -> AnswerT:
        """Wait for the answer.

        Raises
        ------
        VoicePoolError
            The worker could not do it; the class tells why.
        WorkerTimeoutError
            It has not answered in time. A late answer is ignored.
        WorkerLostError
            It is gone.
        """
        try:
            async with asyncio.timeout(self._timeout_s) as self._deadline:
                return await self._future
        except TimeoutError:
            assert self._timeout_s is not None, "else there was no limit"
            raise WorkerTimeoutError(
                f"worker {self._worker} has not answered {self._name} within {self._timeout_s:g} s"
            ) from None
        finally:
            self.abandon()

    def allow(self, timeout_s: float) -> None:
        """Let the answer take so many seconds from now on, unless it may take longer anyway."""
        if self._timeout_s is None:
            return
        self._timeout_s = max(self._timeout_s, timeout_s)
        if self._deadline is not None and not self._future.done() and not self._deadline.expired():
            when = asyncio.get_running_loop().time() + timeout_s
            self._deadline.reschedule(max(self._deadline.when() or when, when))

    def abandon(self) -> None:
        """Ignore the answer."""
        self._forget()
        # If there is an error already, this also keeps asyncio from reporting that nobody wanted it.
        self._future.cancel()

    def settle(self, event: Answer) -> None:
        """Take the answer."""
        if self._future.done():
            return
        if isinstance(event, Failed):
            self._future.set_exception(from_info(event.error))
        elif isinstance(event, self._expected):
            self._future.set_result(event)
        else:
            name = type(event).__name__
            self.fail(InternalError(f"worker {self._worker} answered {self._name} with {name}"))

    def fail(self, error: VoicePoolError) -> None:
        """End the waiting with an error."""
        if not self._future.done():
            self._future.set_exception(error)


def fresh_copy(error: VoicePoolError) -> VoicePoolError:
    """Return the same error for another raise: one object would collect the tracebacks of all of them."""
    return type(error)(str(error), **error.data)
