"""Who hears of a connection's events: functions, coroutine functions and iterations."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import _hearers
from voicepool._hearers import Hearers
from voicepool.errors import ConnectError
from voicepool.events import Closed, ConnectionEvent, Interrupted, MemberJoined, MemberLeft, Restored

JOINED = [MemberJoined(user) for user in range(5)]
LEFT = MemberLeft(3)
CLOSED = Closed(None)


class Tasks:
    """Starts tasks, and keeps them."""

    def __init__(self) -> None:
        self.started: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.started.append(task)
        return task


def make() -> tuple[Hearers, Tasks]:
    tasks = Tasks()
    return Hearers("guild 1", tasks.spawn), tasks


# Functions.


def test_a_function_hears_at_once_and_all() -> None:
    hearers, tasks = make()
    heard: list[ConnectionEvent] = []
    stop = hearers.add(heard.append, ())
    hearers.tell([JOINED[0], LEFT])
    assert heard == [JOINED[0], LEFT]
    stop()
    stop()
    hearers.tell([JOINED[1]])
    assert len(heard) == 2
    assert tasks.started == []


def test_a_function_hears_the_kinds_it_wants() -> None:
    hearers, _ = make()
    heard: list[ConnectionEvent] = []
    hearers.add(heard.append, (MemberLeft, Closed))
    hearers.tell([JOINED[0], LEFT, CLOSED])
    assert heard == [LEFT, CLOSED]


@pytest.mark.parametrize("kind", [int, "Closed", None, ConnectionEvent, (Closed,), CLOSED])
def test_what_is_no_kind_of_event_is_refused(kind: Any) -> None:
    hearers, _ = make()
    with pytest.raises(TypeError, match=r"is no class of event; allowed are Closed, Connected"):
        hearers.add(print, (kind,))
    with pytest.raises(TypeError, match="no class of event"):
        hearers.stream((kind,))


def test_what_cannot_be_called_is_refused() -> None:
    hearers, _ = make()
    with pytest.raises(TypeError, match="must be callable, which list is not"):
        hearers.add([], ())  # type: ignore[arg-type]


def test_a_function_that_fails_is_logged_and_the_others_hear(caplog: pytest.LogCaptureFixture) -> None:
    hearers, _ = make()
    heard: list[ConnectionEvent] = []

    def broken(_: object) -> None:
        raise RuntimeError("a mistake of the bot")

    hearers.add(broken, ())
    hearers.add(heard.append, ())
    hearers.tell(JOINED)
    assert heard == JOINED
    assert caplog.text.count("RuntimeError: a mistake of the bot") == len(JOINED)
    assert "guild 1: listener test_a_function_that_fails" in caplog.text


def test_all_hear_the_same_order_whatever_a_function_sets_off() -> None:
    hearers, _ = make()
    first: list[ConnectionEvent] = []
    second: list[ConnectionEvent] = []

    def leave(event: ConnectionEvent) -> None:
        first.append(event)
        if isinstance(event, Interrupted):
            hearers.tell([CLOSED])

    hearers.add(leave, ())
    hearers.add(second.append, ())
    lost = Interrupted(ConnectError("lost"))
    hearers.tell([lost, Restored(0.0, resumed=True)])
    assert first == second
    assert second == [lost, Restored(0.0, resumed=True), CLOSED]


def test_nothing_comes_after_the_end() -> None:
    hearers, _ = make()
    heard: list[ConnectionEvent] = []
    hearers.add(heard.append, ())
    hearers.tell([CLOSED, LEFT])
    hearers.tell([LEFT, CLOSED])
    hearers.add(heard.append, ())
    hearers.tell([LEFT])
    assert heard == [CLOSED]


def test_a_function_may_end_itself_and_another() -> None:
    hearers, _ = make()
    heard: list[str] = []

    def first(_: object) -> None:
        heard.append("first")
        stop_first()
        stop_second()

    stop_first = hearers.add(first, ())
    stop_second = hearers.add(lambda _: heard.append("second"), ())
    hearers.tell(JOINED)
    assert heard == ["first"]


# Coroutine functions.


@asyncio_test
async def test_a_coroutine_function_takes_one_event_after_the_other() -> None:
    hearers, tasks = make()
    begun: list[ConnectionEvent] = []
    ended: list[ConnectionEvent] = []
    gate = asyncio.Semaphore(0)

    async def listener(event: ConnectionEvent) -> None:
        begun.append(event)
        await gate.acquire()
        ended.append(event)

    hearers.add(listener, (MemberJoined, Closed))
    hearers.tell([*JOINED[:3], LEFT])
    await until(lambda: begun)
    assert (begun, ended) == (JOINED[:1], [])
    gate.release()
    await until(lambda: len(begun) == 2)
    assert ended == JOINED[:1]
    hearers.tell([CLOSED])
    for _ in range(3):
        gate.release()
    await until(lambda: len(ended) == 4)
    assert ended == [*JOINED[:3], CLOSED]
    assert [task.get_name().split(" ")[0] for task in tasks.started] == ["listener"]
    await asyncio.wait(tasks.started)


@asyncio_test
async def test_no_task_is_left_while_nothing_happens() -> None:
    hearers, tasks = make()
    heard: list[ConnectionEvent] = []

    async def listener(event: ConnectionEvent) -> None:
        heard.append(event)

    hearers.add(listener, ())
    assert tasks.started == []
    hearers.tell([LEFT])
    await asyncio.wait(tasks.started)
    hearers.tell([CLOSED])
    await until(lambda: heard == [LEFT, CLOSED])
    await asyncio.wait(tasks.started)
    assert len(tasks.started) == 2


class Callable:
    """Called, it gives a coroutine."""

    def __init__(self) -> None:
        self.heard: list[ConnectionEvent] = []

    async def __call__(self, event: ConnectionEvent) -> None:
        self.heard.append(event)

    async def method(self, more: int, event: ConnectionEvent) -> None:
        assert more == 1
        self.heard.append(event)


@asyncio_test
async def test_whatever_gives_a_coroutine_is_awaited() -> None:
    hearers, tasks = make()
    thing = Callable()
    hearers.add(thing, ())
    hearers.add(functools.partial(thing.method, 1), ())
    hearers.add(lambda event: thing.method(1, event), ())
    hearers.tell([LEFT])
    await asyncio.wait(tasks.started)
    assert thing.heard == [LEFT] * 3


@asyncio_test
async def test_a_coroutine_that_fails_is_logged_and_the_next_runs(caplog: pytest.LogCaptureFixture) -> None:
    hearers, tasks = make()
    heard: list[ConnectionEvent] = []

    async def listener(event: ConnectionEvent) -> None:
        heard.append(event)
        if event is JOINED[0]:
            raise RuntimeError("a mistake of the bot")

    hearers.add(listener, ())
    hearers.tell(JOINED[:2])
    await asyncio.wait(tasks.started)
    assert heard == JOINED[:2]
    assert caplog.text.count("RuntimeError: a mistake of the bot") == 1


@asyncio_test
async def test_stopping_drops_what_waits_and_not_what_runs() -> None:
    hearers, tasks = make()
    gate = asyncio.Event()
    ended: list[ConnectionEvent] = []

    async def listener(event: ConnectionEvent) -> None:
        await gate.wait()
        ended.append(event)

    stop = hearers.add(listener, ())
    hearers.tell(JOINED)
    await asyncio.sleep(0)
    stop()
    gate.set()
    await asyncio.wait(tasks.started)
    assert ended == JOINED[:1]
    gc.collect()


@asyncio_test
async def test_a_coroutine_function_that_does_not_keep_up_loses_the_oldest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_hearers, "MAX_WAITING", 2)
    hearers, tasks = make()
    ended: list[ConnectionEvent] = []

    async def listener(event: ConnectionEvent) -> None:
        ended.append(event)

    hearers.add(listener, ())
    hearers.tell([*JOINED, CLOSED])
    await asyncio.wait(tasks.started)
    assert ended == [JOINED[4], CLOSED]
    assert caplog.text.count("does not keep up; the oldest of 2 are dropped") == 1


@asyncio_test
async def test_a_task_that_is_cancelled_leaves_no_coroutine_behind() -> None:
    hearers, tasks = make()
    ended: list[ConnectionEvent] = []

    async def listener(event: ConnectionEvent) -> None:
        ended.append(event)

    hearers.add(listener, ())
    hearers.tell(JOINED)
    tasks.started[0].cancel()
    await asyncio.wait(tasks.started)
    await asyncio.sleep(0)
    assert ended == []
    # Of a coroutine that never ran, Python would complain here, and warnings are errors.
    gc.collect()
    hearers.tell([LEFT])
    await asyncio.wait(tasks.started)
    assert ended == [LEFT]


# Iterations.


@asyncio_test
async def test_an_iteration_gets_all_from_when_it_was_made_and_ends_after_the_end() -> None:
    hearers, _ = make()
    hearers.tell([LEFT])
    stream = hearers.stream(())
    hearers.tell([JOINED[0]])
    hearers.tell([JOINED[1], CLOSED])
    assert [event async for event in stream] == [JOINED[0], JOINED[1], CLOSED]
    assert [event async for event in stream] == []
    assert [event async for event in hearers.stream(())] == []


@asyncio_test
async def test_an_iteration_waits() -> None:
    hearers, _ = make()
    stream = hearers.stream((MemberLeft,))
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    hearers.tell([JOINED[0]])
    await asyncio.sleep(0)
    assert not waiting.done()
    hearers.tell([LEFT])
    assert await waiting == LEFT
    ending = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    hearers.tell([CLOSED])
    assert await ending is None, "the end ends it, wanted or not"


@asyncio_test
async def test_two_may_share_an_iteration() -> None:
    hearers, _ = make()
    stream = hearers.stream(())
    first, second = (asyncio.ensure_future(anext(stream, None)) for _ in range(2))
    await asyncio.sleep(0)
    hearers.tell([LEFT])
    hearers.tell([CLOSED])
    assert {await first, await second} == {LEFT, CLOSED}


@asyncio_test
async def test_an_iteration_that_does_not_keep_up_loses_the_oldest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_hearers, "MAX_WAITING", 2)
    hearers, _ = make()
    stream = hearers.stream(())
    hearers.tell(JOINED)
    assert [await anext(stream) for _ in range(2)] == JOINED[3:]
    assert caplog.text.count("an iteration over events does not keep up") == 1
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    hearers.tell(JOINED)
    hearers.tell([CLOSED])
    assert await waiting == JOINED[4]
    assert [event async for event in stream] == [CLOSED]
    assert caplog.text.count("does not keep up") == 2, "once each time it falls behind"


@asyncio_test
async def test_an_iteration_that_was_left_is_forgotten() -> None:
    hearers, _ = make()
    hearers_stream = hearers.stream(())
    hearers.tell([LEFT])
    async for _ in hearers_stream:
        break
    forgotten = weakref.ref(hearers_stream)
    del hearers_stream
    gc.collect()
    assert forgotten() is None
    hearers.tell([LEFT])


@asyncio_test
async def test_other_kinds_of_events_may_be_heard_and_end_when_told() -> None:
    class Rain:
        pass

    heard: list[object] = []
    hearers = Hearers("the sky", lambda work, *, name: asyncio.create_task(work, name=name), (Rain,))
    hearers.add(heard.append, ())
    stream = hearers.stream((Rain,))
    with pytest.raises(TypeError, match="allowed are Rain"):
        hearers.stream((int,))
    rain = Rain()
    hearers.tell([rain])
    hearers.end()
    hearers.tell([Rain()])
    assert heard == [rain]
    assert [event async for event in stream] == [rain]
