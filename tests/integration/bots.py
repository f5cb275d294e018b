"""Bots in processes of their own, which are ended in any way but in order, and what they leave."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import SAFETY_S
from voicepool.ipc import sockets

__all__ = ["assert_gone", "own_place", "running_bot", "socket_directories", "workers_of"]

BOT = """
import asyncio, signal, sys
import voicepool

def tell_of_interrupts():
    interrupt = signal.getsignal(signal.SIGINT)
    def take(*args):
        interrupt(*args)
        print("interrupted", flush=True)
    signal.signal(signal.SIGINT, take)

async def main():
    tell_of_interrupts()
    async with voicepool.VoicePool(voicepool.PoolConfig(workers=2)):
        print("running", flush=True)
        await asyncio.Event().wait()

def make_loop():
    if "uvloop" not in sys.argv:
        return asyncio.new_event_loop()
    import uvloop
    return uvloop.new_event_loop()

try:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""
"""Says that it is running when its two workers are there, and that it was interrupted when asyncio knows."""


@contextlib.contextmanager
def own_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a directory for the temporary files of bots that cannot clear up, and of those after them."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@contextlib.asynccontextmanager
async def running_bot(loop: str = "asyncio") -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a bot, and wait for its end; one that does not end by itself is killed, and fails the test."""
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BOT, loop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield bot
        async with asyncio.timeout(SAFETY_S / 3):
            await bot.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            bot.kill()
        await bot.wait()
        raise


async def workers_of(pid: int, *, at_least: int) -> list[psutil.Process]:
    """Return the worker processes, once there are so many."""
    bot = psutil.Process(pid)
    while len(found := bot.children()) < at_least:  # noqa: ASYNC110 - nothing tells of them from outside
        await asyncio.sleep(0.001)
    return found


async def assert_gone(processes: list[psutil.Process], place: Path) -> None:
    """Fail if workers stay, or what they left cannot be removed."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=SAFETY_S / 2)
    assert alive == []
    # Workers clear up behind their bot; what a very early end leaves is removed by the next one's start.
    assert set(socket_directories(place)) <= set(sockets.remove_stale_directories())
    assert socket_directories(place) == []


def socket_directories(place: Path) -> list[Path]:
    """Return the directories of sockets that are there."""
    return [path for path in place.glob("voicepool.ipc-*") if list(path.glob("w*.sock"))]
