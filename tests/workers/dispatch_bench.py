"""A dispatcher to be sent commands by hand, and what it has answered."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from tests.workers.hand_studio import HandSource, HandStudio
from tests.workers.scripted_connection import Script, open_command
from voicepool.ipc.commands import (
    CloseCall,
    Command,
    Play,
    Stop,
    Verify,
    WorkerSettings,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    Event,
    Failed,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, UserId
from voicepool.ipc.sources import FileSource
from voicepool.workers.dispatch import Dispatcher
from voicepool.workers.errors import CallError

__all__ = ["KICKED", "LOST", "Bench", "dispatching"]

T = TypeVar("T", bound=Event)
KICKED = CallError(ErrorCode.CLOSED_BY_SERVER, "joined too often", close_code=4021)
"""A close that nothing can mend."""
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)


class Bench:
    """A dispatcher in a hand-driven studio, with scripted connections."""

    def __init__(self, patch: pytest.MonkeyPatch, *, max_calls: int = 10) -> None:
        self.script = Script(patch)
        self.hand = HandStudio(
            WorkerSettings(ring_frames=4, complexity=0, max_calls=max_calls, reconnect_first_pause_s=0.0)
        )
        self.stats_asked: list[RequestId] = []
        self.shut_downs = 0
        self.dispatcher = Dispatcher(
            studio=self.hand.studio,
            ssl_context=ssl.create_default_context(),
            report=self.hand.events.append,
            report_stats=self.stats_asked.append,
            shut_down=self._shut_down,
        )
        self._requests = itertools.count(1)

    def _shut_down(self) -> None:
        self.shut_downs += 1

    def send(self, command: Command) -> int:
        """Hand over a command; its request, 0 if it has none."""
        self.dispatcher.handle(command, [])
        return int(getattr(command, "request", 0))

    def open(self, call: str = "call", generation: int = 1) -> int:
        return self.send(open_command(self._next(), generation, call))

    def close_call(self, call: str = "call") -> int:
        return self.send(CloseCall(request=self._next(), call=CallId(call)))

    def play(self, name: str = "song", call: str = "call", *, exists: bool = True) -> int:
        if exists:
            self.hand.opener.sources.setdefault(name, HandSource(name, 6))
        source = FileSource(name)
        return self.send(
            Play(request=self._next(), call=CallId(call), playback=PlaybackId(name), source=source)
        )

    def stop(self, call: str = "call") -> int:
        return self.send(Stop(request=self._next(), call=CallId(call)))

    def verify(self, user: int, call: str = "call") -> int:
        return self.send(Verify(request=self._next(), call=CallId(call), user=UserId(user)))

    async def wait_for_answers(self, request: int) -> list[Event]:
        """Wait for what takes a thread of its own."""
        while not (answers := self.answers(request)):
            assert self.dispatcher._tasks, "nobody is at it"
            await asyncio.wait(self.dispatcher._tasks)
        return answers

    def _next(self) -> RequestId:
        return RequestId(next(self._requests))

    async def answer(self, request: int) -> Event:
        """The one answer to a request, once all is done that can be."""
        await self.hand.settle()
        [answer] = self.answers(request)
        return answer

    async def failure(self, request: int) -> ErrorCode:
        answer = await self.answer(request)
        assert isinstance(answer, Failed)
        return answer.error.code

    def answers(self, request: int) -> list[Event]:
        return [event for event in self.hand.events if getattr(event, "request", None) == request]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.hand.events if isinstance(event, kind)]

    @property
    def calls(self) -> list[str]:
        return [stats.call for stats in self.dispatcher.call_stats()]


@asynccontextmanager
async def dispatching(**options: Any) -> AsyncIterator[Bench]:
    """A bench that is closed at the end, and has left nothing behind then."""
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(patch, **options)
        try:
            yield bench
        finally:
            for attempt in bench.script.attempts:
                attempt.may_close.set()
            await bench.dispatcher.close()
            await bench.hand.settle()
        assert bench.calls == []
        assert all(attempt.closed for attempt in bench.script.attempts)
        assert not bench.hand.encoders.held
        assert not any(bench.hand.pacer._wheel)
