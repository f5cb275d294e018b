"""Work on threads: bounds, cancellation and failures, with work that waits for its turn."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool.workers.audio.blocking import DaemonThreads


class Product:
    def __init__(self) -> None:
        self.discarded = threading.Event()

    def discard(self) -> None:
        self.discarded.set()


class Works:
    """Named pieces of work, each of which waits for its turn."""

    def __init__(self, threads: DaemonThreads) -> None:
        self.threads = threads
        self.waiting: dict[str, threading.Event] = {}
        self.products: dict[str, Product] = {}
        self.errors: dict[str, Exception] = {}
        self.open_for_all = False
        self.at_once = self.most_at_once = 0
        self._changed = threading.Condition()

    def start(self, *names: str) -> list[asyncio.Task[Product]]:
        return [asyncio.create_task(self.run(name)) for name in names]

    async def run(self, name: str) -> Product:
        return await self.threads.run(lambda: self._work(name), discard=Product.discard)

    def _work(self, name: str) -> Product:
        gate = threading.Event()
        with self._changed:
            self.waiting[name] = gate
            self.products[name] = Product()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.open_for_all:
                gate.set()
            self._changed.notify_all()
        assert gate.wait(SAFETY_S)
        with self._changed:
            self.at_once -= 1
        if name in self.errors:
            raise self.errors[name]
        return self.products[name]

    async def wait_for(self, count: int) -> None:
        """Wait until so many have begun."""

        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self.waiting) >= count, SAFETY_S)

        await asyncio.to_thread(wait)

    def open(self, name: str) -> None:
        self.waiting[name].set()

    def open_all(self) -> None:
        with self._changed:
            self.open_for_all = True
            for gate in self.waiting.values():
                gate.set()


@contextlib.asynccontextmanager
async def working(at_once: int) -> AsyncIterator[Works]:
    works = Works(DaemonThreads("voicepool-test", at_once=at_once))
    try:
        yield works
    finally:
        works.open_all()


@asyncio_test
async def test_only_so_many_at_once() -> None:
    async with working(8) as works:
        tasks = works.start(*map(str, range(20)))
        await works.wait_for(8)
        assert works.threads.full
        works.open_all()
        assert await asyncio.gather(*tasks) == [works.products[str(n)] for n in range(20)]
        assert works.most_at_once == 8
        assert not works.threads.full


@asyncio_test
async def test_threads_do_not_keep_the_process_from_ending() -> None:
    async with working(1) as works:
        [task] = works.start("a")
        await works.wait_for(1)
        assert [t.daemon for t in threading.enumerate() if t.name == "voicepool-test"] == [True]
        works.open("a")
        await task


@asyncio_test
async def test_cancelled_it_is_discarded_when_it_comes_after_all() -> None:
    async with working(1) as works:
        [task] = works.start("a")
        await works.wait_for(1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        works.open("a")
        assert await asyncio.to_thread(works.products["a"].discarded.wait, SAFETY_S)


@asyncio_test
async def test_what_hangs_after_its_cancellation_still_counts() -> None:
    async with working(8) as works:
        hanging = works.start(*map(str, range(8)))
        await works.wait_for(8)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        [late] = works.start("late")
        # One full round of the loop would be enough to start its thread.
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(works.waiting) == 8
        works.open("3")
        await works.wait_for(9)
        works.open("late")
        assert await late is works.products["late"]


@asyncio_test
async def test_cancelled_while_it_waits_for_its_turn_it_never_starts() -> None:
    async with working(1) as works:
        first, second = works.start("first", "second")
        await works.wait_for(1)
        second.cancel()
        await asyncio.wait({second})
        works.open_all()
        await first
        assert "second" not in works.waiting
        assert not works.threads.full


@asyncio_test
async def test_cancelled_in_the_moment_it_is_ready_it_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(1) as works:
        loop = asyncio.get_running_loop()
        [task] = works.start("a")
        await works.wait_for(1)
        hand_over = loop.call_soon_threadsafe
        delivered = threading.Event()

        def deliver_then_cancel(callback: Any, *args: Any) -> Any:
            def both() -> None:
                callback(*args)
                # The result is there, and the task has not run since.
                task.cancel()
                delivered.set()

            return hand_over(both)

        monkeypatch.setattr(loop, "call_soon_threadsafe", deliver_then_cancel)
        works.open("a")
        await asyncio.wait({task})
        monkeypatch.undo()
        assert delivered.is_set()
        assert task.cancelled()
        assert works.products["a"].discarded.is_set()


@asyncio_test
async def test_errors_go_through_as_they_are_and_free_the_place() -> None:
    async with working(2) as works:
        works.open_for_all = True
        for number, error in enumerate([LookupError("gone"), ZeroDivisionError()] * 4):
            works.errors[str(number)] = error
            with pytest.raises(type(error)) as caught:
                await works.run(str(number))
            assert caught.value is error
        assert await works.run("fine") is works.products["fine"]


@asyncio_test
async def test_an_error_after_its_cancellation_frees_the_place_and_is_nobodys() -> None:
    async with working(1) as works:
        works.errors["a"] = LookupError("gone")
        [task] = works.start("a")
        await works.wait_for(1)
        task.cancel()
        await asyncio.wait({task})
        works.open_all()
        assert await works.run("b") is works.products["b"]


@asyncio_test
async def test_a_thread_that_cannot_start_frees_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(1) as works:
        works.open_for_all = True
        with monkeypatch.context() as patch:

            def refuse(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="new thread"):
                    await works.run("a")
        assert await works.run("a") is works.products["a"]


def test_what_is_ready_after_the_loop_has_closed_is_discarded() -> None:
    found: list[Works] = []

    async def leave() -> None:
        found.append(works := Works(DaemonThreads("voicepool-test", at_once=1)))
        [task] = works.start("a")
        await works.wait_for(1)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(leave())
    [works] = found
    [thread] = [thread for thread in threading.enumerate() if thread.name == "voicepool-test"]
    works.open("a")
    thread.join(SAFETY_S)
    assert works.products["a"].discarded.is_set()


@asyncio_test
async def test_work_runs_in_the_context_of_who_asked_for_it() -> None:
    subject: contextvars.ContextVar[str] = contextvars.ContextVar("subject", default="nothing")
    threads = DaemonThreads("voicepool-test", at_once=1)
    subject.set("a call")
    assert await threads.run(subject.get, discard=lambda _: None) == "a call"
