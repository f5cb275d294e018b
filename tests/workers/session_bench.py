"""A session in a hand-driven studio, over scripted connections, for tests of what it does and says."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from tests.workers.hand_studio import HandSource, HandStudio, play_command
from tests.workers.scripted_connection import Script, open_command
from voicepool.ipc.commands import OpenCall, WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import CallId
from voicepool.workers.errors import CallError
from voicepool.workers.session import Session

__all__ = ["CALL", "KICKED", "LOST", "REFUSED", "SessionBench", "code_of"]

CALL = CallId("call")
KICKED = CallError(ErrorCode.CLOSED_BY_SERVER, "joined too often", close_code=4021)
"""A close that nothing can mend."""
REFUSED = CallError(ErrorCode.CONNECT_REFUSED, "nobody listens")
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)


class SessionBench:
    """A session in a hand-driven studio, with scripted connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **patience: Any) -> None:
        self.script = Script(monkeypatch)
        self.hand = HandStudio(WorkerSettings(ring_frames=4, complexity=0, **patience))
        self.forgotten: list[CallId] = []
        self.over = asyncio.Event()
        self.session = Session(
            CALL,
            studio=self.hand.studio,
            ssl_context=ssl.create_default_context(),
            report=self.hand.events.append,
            on_closed=self._forget,
        )

    def _forget(self, call: CallId) -> None:
        self.forgotten.append(call)
        self.over.set()

    def start(self, command: OpenCall | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self.session.open(command or open_command()))

    async def play(self, name: str, count: int) -> HandSource:
        source = self.hand.opener.sources[name] = HandSource(name, count)
        task = asyncio.create_task(self.session.player.play(play_command(name), []))
        await self.hand.settle()
        await task
        return source

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.hand.events if isinstance(event, kind)]

    async def close(self) -> None:
        await self.session.close()
        await self.hand.settle()
        assert all(attempt.closed for attempt in self.script.attempts)
        assert not self.hand.encoders.held


async def code_of(task: asyncio.Task[None]) -> ErrorCode:
    with pytest.raises(CallError) as caught:
        await task
    return caught.value.code
