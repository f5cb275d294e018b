"""Threads that serve an event loop."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._process.threads import start_thread, tell_loop


@asyncio_test
async def test_a_thread_tells_its_loop() -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()

    def work() -> None:
        tell_loop(loop, told.append, (threading.current_thread().name, threading.current_thread().daemon))

    start_thread(work, name="a name")
    await until(lambda: told)
    assert told == [("a name", True)]


def test_a_loop_that_is_closed_is_not_told() -> None:
    loop = asyncio.new_event_loop()
    assert tell_loop(loop, print)
    loop.close()
    assert not tell_loop(loop, print)


def test_that_there_are_no_threads_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="can't start new thread") as raised:
        start_thread(lambda: None, name="a name")
    assert raised.value.errno == errno.EAGAIN
