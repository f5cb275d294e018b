"""Bots that are ended by signals, while their workers start and when they run: nobody is left behind.

That they do not hang is told by `running_bot`, which gives up on one that does not end by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.bots import assert_gone, own_place, running_bot, workers_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LOOPS = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") is not None else ["asyncio"]
EARLY, LATE = "the first process is there", "it runs"
each_loop = pytest.mark.parametrize("loop", LOOPS)
each_moment = pytest.mark.parametrize("when", [EARLY, LATE])


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_place(monkeypatch) as folder:
        yield folder


async def reach(when: str, bot: asyncio.subprocess.Process) -> list[psutil.Process]:
    """Wait for a moment; return the workers that are there."""
    if when == LATE:
        assert bot.stdout is not None
        assert await bot.stdout.readline() == b"running\n"
    return await workers_of(bot.pid, at_least=2 if when == LATE else 1)


async def last_words(bot: asyncio.subprocess.Process) -> str:
    assert bot.stderr is not None
    return (await bot.stderr.read()).decode()


@each_moment
@asyncio_test
async def test_sigterm_leaves_nobody_behind(when: str, place: Path) -> None:
    async with running_bot() as bot:
        workers = await reach(when, bot)
        bot.send_signal(signal.SIGTERM)
    assert bot.returncode == -signal.SIGTERM
    await assert_gone(workers, place)


@each_loop
@each_moment
@asyncio_test
async def test_ctrl_c_leaves_nobody_behind_and_shows_no_traceback(when: str, loop: str, place: Path) -> None:
    async with running_bot(loop) as bot:
        workers = await reach(when, bot)
        bot.send_signal(signal.SIGINT)
    assert bot.returncode == 130
    assert "Traceback" not in await last_words(bot)
    await assert_gone(workers, place)


@pytest.mark.parametrize(("when", "pause_s"), [(EARLY, 0.0), (EARLY, 0.002), (EARLY, 0.02), (LATE, 0.002)])
@each_loop
@asyncio_test
async def test_ctrl_c_twice_leaves_nobody_behind(when: str, loop: str, pause_s: float, place: Path) -> None:
    """The second breaks off whatever the bot is at: the pauses are there to hit more of it.

    It is not sent before asyncio has taken the first. Microseconds after it, it would break off the very
    cancellation, of which the task then never learns; any program of asyncio's may hang of that.
    """
    async with running_bot(loop) as bot:
        workers = await reach(when, bot)
        bot.send_signal(signal.SIGINT)
        assert bot.stdout is not None
        while await bot.stdout.readline() not in {b"interrupted\n", b""}:
            pass
        await asyncio.sleep(pause_s)
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            # One more may have been born in the meantime.
            workers = list({*workers, *psutil.Process(bot.pid).children()})
            # Not by its transport, which may reap a bot that has just ended before asyncio does (then: 255).
            os.kill(bot.pid, signal.SIGINT)
    # It may hit the interpreter while that ends, or asyncio while it cancels (1, with a traceback).
    assert bot.returncode in {130, -signal.SIGINT, 1}
    # Python may show where the second one has hit ("Exception ignored in" a finaliser, a coroutine that was
    # never begun), but nothing came of it.
    shown = re.findall(
        r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Warning))\b", await last_words(bot), re.M
    )
    assert set(shown) <= {"KeyboardInterrupt", "CancelledError", "Exception", "RuntimeWarning"}
    await assert_gone(workers, place)
