"""A real worker process at the other end of a real link, as a pool would have it but without the pool."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import zmq.asyncio

from tests.fakes.running import SAFETY_S
from tests.workers import live_studio
from voicepool.ipc.channel import BotEnd
from voicepool.ipc.commands import Command, Setup
from voicepool.ipc.endpoint import Bootstrap, SocketDirectory
from voicepool.ipc.events import Event, Hello, Ready
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.version import check_hello

__all__ = ["COMMAND", "WorkerProcess", "worker_process"]

COMMAND: Final = (sys.executable, "-m", "voicepool.workers")
_TOKEN: Final = "SECRET-start-token"
_WORKER: Final = WorkerId("w0.1")

T = TypeVar("T", bound=Event)


class WorkerProcess:
    """The bot's view of one worker. Every wait has a generous bound; none is part of what is tested."""

    def __init__(self, process: asyncio.subprocess.Process, link: BotEnd, bootstrap: Bootstrap) -> None:
        self.process = process
        self.link = link
        self.bootstrap = bootstrap
        self.events: list[Event] = []
        self._output = asyncio.create_task(self._read_output())

    async def greet(self) -> Hello:
        """Take its Hello, checked, and speak with nobody else from now on."""
        event, _ = await self.link.receive()
        assert isinstance(event, Hello)
        check_hello(event, start_token=self.bootstrap.start_token)
        self.link.accept_peer()
        return event

    async def set_up(self, **changes: Any) -> Ready:
        """Greet, set up, and wait until it is ready."""
        await self.greet()
        self.link.post(Setup(settings=live_studio.settings(encoder_class="normal", **changes)))
        return await self.wait_for(Ready)

    def post(self, command: Command, attachments: list[bytes] | None = None) -> None:
        self.link.post(command, attachments or [])

    async def wait_for(self, kind: type[T]) -> T:
        """The next event of a kind; those before it are kept in `events`."""
        while True:
            event, _ = await self.link.receive()
            self.events.append(event)
            if isinstance(event, kind):
                return event

    def close_input(self) -> None:
        """What the death of the bot looks like from inside."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def exit_code(self) -> int:
        async with asyncio.timeout(SAFETY_S):
            return await self.process.wait()

    async def output(self) -> str:
        """All it wrote, once it has ended."""
        return await self._output

    async def _read_output(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.read()).decode()


@contextlib.asynccontextmanager
async def worker_process() -> AsyncIterator[WorkerProcess]:
    """Start a worker and hand it its bootstrap; kill it if the test has not ended it."""
    directory = SocketDirectory()
    context = zmq.asyncio.Context()
    link = BotEnd(context, directory.address(_WORKER), max_attachment_bytes=1 << 24)
    bootstrap = Bootstrap(address=link.address, worker=_WORKER, start_token=_TOKEN)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    worker = WorkerProcess(process, link, bootstrap)
    try:
        assert process.stdin is not None
        process.stdin.write(bootstrap.to_line())
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await worker.output()
        worker.close_input()
        await link.close()
        context.term()
        directory.close()
