"""Hearing of the end of a process, and of what it says: by descriptors where there are, else by threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from tests.fakes.loops import ReaderlessLoop, every_way
from tests.fakes.pool import until
from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool._process.child import process_state
from voicepool._process.descriptor import Descriptor
from voicepool._process.hearing import PIECE_BYTES, Ending, Output, listen

LIVES = "import sys; sys.stdin.read()"


def child(code: str = LIVES) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)


def let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def waiting_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("voicepool")]


# The end of a process.


@every_way
async def test_the_end_is_told_and_the_process_reaped() -> None:
    process = child()
    ending = Ending(process)
    assert not ending.status.done()
    let_go(process)
    assert await ending.status == 0
    assert not psutil.pid_exists(process.pid)
    ending.close()


@every_way
async def test_many_ends_are_told_apart() -> None:
    processes = [child(f"{LIVES}; sys.exit({status})") for status in range(5)]
    endings = [Ending(process) for process in processes]
    for process in reversed(processes):
        let_go(process)
    assert [await ending.status for ending in endings] == list(range(5))


@every_way
async def test_an_end_that_nobody_wants_to_hear_of_any_more_is_not_told() -> None:
    process = child()
    ending = Ending(process)
    ending.close()
    ending.close()
    let_go(process)
    await asyncio.to_thread(process.wait)
    await asyncio.sleep(0)
    assert process.returncode == 0


@every_way
async def test_whoever_waited_may_have_given_up() -> None:
    process = child()
    ending = Ending(process)
    ending.status.cancel()
    let_go(process)
    await until(lambda: process.returncode is not None)


@pytest.mark.skipif(sys.platform != "linux", reason="as /proc tells")
@every_way
async def test_a_signal_may_find_out_first_that_it_has_ended() -> None:
    process = child()
    ending = Ending(process)
    process.kill()
    while process_state(process.pid) not in {None, "Z"}:
        threading.Event().wait(0.001)
    # This looks whether it is there, and reaps it.
    process.send_signal(signal.SIGTERM)
    assert await ending.status == -signal.SIGKILL
    let_go(process)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="as on Linux")
@pytest.mark.parametrize("error", [PermissionError("sandbox"), OSError("too many open files")])
@asyncio_test
async def test_a_system_that_refuses_a_descriptor_gets_a_thread(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise error

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = child()
    ending = Ending(process)
    assert waiting_threads() == [f"voicepool wait for {process.pid}"]
    let_go(process)
    assert await ending.status == 0


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="as on Linux")
@asyncio_test
async def test_where_there_are_descriptors_there_are_no_threads() -> None:
    process = child()
    reading, writing = Descriptor.pipe()
    with writing:
        ending = Ending(process)
        output = listen(reading, lambda _data: None)
        assert waiting_threads() == []
    let_go(process)
    await ending.status
    await output.finish()


def test_a_loop_may_close_before_the_end() -> None:
    async def begin() -> tuple[subprocess.Popen[bytes], Ending]:
        process = child()
        return process, Ending(process)

    with asyncio.Runner(loop_factory=ReaderlessLoop) as runner:
        process, ending = runner.run(begin())
    let_go(process)
    for thread in threading.enumerate():
        if thread.name.startswith("voicepool wait"):
            thread.join(SAFETY_S)
    assert process.returncode == 0
    assert not ending.status.done()


# Output.


class Listener:
    """Takes what comes through a pipe."""

    def __init__(self) -> None:
        self.heard = b""
        self.pieces = 0
        self.end, self.mouth = Descriptor.pipe()
        self.output: Output = listen(self.end, self._take)

    def say(self, data: bytes) -> None:
        os.write(self.mouth.fileno(), data)

    def _take(self, data: bytes) -> None:
        assert 0 < len(data) <= PIECE_BYTES
        self.heard += data
        self.pieces += 1


@every_way
async def test_what_is_said_is_heard_until_nobody_is_left_to_speak() -> None:
    here = Listener()
    for word in (b"one", b"two", b"three"):
        before = here.heard
        here.say(word)
        await until(lambda before=before: here.heard != before)  # type: ignore[misc]
    here.mouth.let_go()
    await until(lambda: not here.end.is_held)
    await here.output.finish()
    assert here.heard == b"onetwothree"


@every_way
async def test_what_waits_in_the_pipe_is_taken_at_the_end() -> None:
    here = Listener()
    here.say(b"x" * 60_000)
    here.say(b"last")
    # The other end stays open, as a stray child of a process keeps it.
    await here.output.finish()
    assert here.heard == b"x" * 60_000 + b"last"
    here.mouth.let_go()


@every_way
async def test_nothing_is_taken_after_the_end() -> None:
    here = Listener()
    here.output.close()
    here.output.close()
    await here.output.finish()
    with contextlib.suppress(BrokenPipeError):
        while True:
            # A thread that reads is in the middle of it, and takes one more piece, which is lost.
            here.say(b"x")
    await asyncio.sleep(0)
    assert here.heard == b""
    here.mouth.let_go()


@every_way
async def test_a_loop_that_is_busy_lets_the_pipe_fill_up() -> None:
    here = Listener()
    os.set_blocking(here.mouth.fileno(), False)
    said = 0
    # The loop stands still. A thread, if there is one, may read two pieces and no more.
    for _ in range(10):
        try:
            while True:
                said += os.write(here.mouth.fileno(), b"x" * 4_096)
        except BlockingIOError:
            threading.Event().wait(0.002)
    assert said <= 4 * PIECE_BYTES
    here.mouth.let_go()
    await until(lambda: len(here.heard) == said)
    await here.output.finish()


@asyncio_test
async def test_a_flood_leaves_the_loop_its_turns() -> None:
    here = Listener()
    os.set_blocking(here.mouth.fileno(), False)
    turns = 0
    while here.pieces < 20:
        try:
            here.say(b"x" * 4_096)
        except BlockingIOError:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 20
    here.mouth.let_go()
    await here.output.finish()


def test_a_thread_does_not_outlive_its_loop() -> None:
    async def begin() -> Listener:
        return Listener()

    with asyncio.Runner(loop_factory=ReaderlessLoop) as runner:
        here = runner.run(begin())
    here.say(b"nobody hears it")
    for thread in threading.enumerate():
        if thread.name == "voicepool output":
            thread.join(SAFETY_S)
    assert not here.end.is_held
    here.mouth.let_go()
