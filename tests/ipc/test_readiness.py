"""An event loop hears of a ZeroMQ socket, whether it watches descriptors or not."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zmq

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool.ipc.readiness import Readiness


class Peer:
    """A socket that is written to, and what was read from it."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.reading = context.socket(zmq.PULL)
        port = self.reading.bind_to_random_port("tcp://127.0.0.1")
        self.writing = context.socket(zmq.PUSH)
        self.writing.connect(f"tcp://127.0.0.1:{port}")
        self.read: list[bytes] = []
        self.threads: set[int] = set()

    def has_read(self, count: int) -> bool:
        return len(self.read) == count

    def take(self) -> None:
        self.threads.add(threading.get_ident())
        while self.reading.get(zmq.EVENTS) & zmq.POLLIN:
            self.read.append(self.reading.recv(zmq.NOBLOCK))


def no_descriptors(*_args: object) -> None:
    raise NotImplementedError


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    context: zmq.Context[Any] = zmq.Context()
    made = Peer(context)
    try:
        yield made
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("watches", [True, False], ids=["descriptors", "a thread"])
def test_the_loop_is_told_of_each_message(monkeypatch: pytest.MonkeyPatch, *, watches: bool) -> None:
    @asyncio_test
    async def run() -> None:
        if not watches:
            monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", no_descriptors)
        async with peer() as here:
            readiness = Readiness(here.reading, here.take)
            sent = [b"%d" % number for number in range(50)]
            for number, message in enumerate(sent, 1):
                here.writing.send(message)
                await until(functools.partial(here.has_read, number))
            assert here.read == sent
            assert here.threads == {threading.get_ident()}
            readiness.close()

    run()


@pytest.mark.parametrize("watches", [True, False], ids=["descriptors", "a thread"])
def test_after_closing_nothing_is_called_and_no_thread_is_left(
    monkeypatch: pytest.MonkeyPatch, *, watches: bool
) -> None:
    @asyncio_test
    async def run() -> None:
        if not watches:
            monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", no_descriptors)
        async with peer() as here:
            readiness = Readiness(here.reading, here.take)
            readiness.close()
            readiness.close()
            here.writing.send(b"late")
            await asyncio.to_thread(here.reading.poll)
            await asyncio.sleep(0)
            assert here.read == []
            assert not [thread for thread in threading.enumerate() if thread.name == "voicepool link"]

    run()


def test_a_call_that_fails_does_not_end_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    @asyncio_test
    async def run() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", no_descriptors)
        failures: list[Any] = []
        loop.set_exception_handler(lambda _loop, facts: failures.append(facts["exception"]))
        async with peer() as here:

            def fail_first() -> None:
                here.take()
                if len(here.read) == 1:
                    raise ValueError("the first")

            call: Callable[[], None] = fail_first
            readiness = Readiness(here.reading, call)
            here.writing.send(b"one")
            await until(lambda: failures)
            here.writing.send(b"two")
            await until(lambda: here.read == [b"one", b"two"])
            readiness.close()
        assert [str(failure) for failure in failures] == ["the first"]

    run()
