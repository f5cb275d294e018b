"""Which calls of lost workers are begun again, in which order, how fast, and for how long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.running import asyncio_test
from voicepool._calls.recovery import Recovery, RecoveryQueue, Urgency
from voicepool.config import PoolConfig
from voicepool.errors import (
    InternalError,
    PoolClosedError,
    PoolFullError,
    VoicePoolError,
    WorkerLostError,
    WorkerTimeoutError,
)
from voicepool.ipc.ids import CallId


def names(*calls: str) -> list[CallId]:
    return [CallId(call) for call in calls]


def taken(queue: RecoveryQueue, *, until: float = 100.0) -> list[tuple[CallId, float]]:
    """All that it gives, and when."""
    found: list[tuple[CallId, float]] = []
    while (at := queue.next_at()) is not None and at <= until:
        now = max(at, found[-1][1] if found else 0.0)
        call = queue.take(now)
        assert call is not None, "next_at says when"
        found.append((call, now))
    return found


# The queue.


def test_what_is_heard_comes_first_and_suspects_last() -> None:
    queue = RecoveryQueue(50.0)
    wanted = {"s": Urgency.SUSPECT, "i": Urgency.IDLE, "h": Urgency.PAUSED, "p": Urgency.PLAYING}
    for call, urgency in wanted.items():
        queue.add(CallId(call), urgency)
        queue.add(CallId(call + "2"), urgency)
    assert len(queue) == 8
    assert [call for call, _ in taken(queue)] == names("p", "p2", "h", "h2", "i", "i2", "s", "s2")
    assert (len(queue), queue.next_at(), queue.take(100.0)) == (0, None, None)


def test_the_rate_is_kept_and_little_of_it_is_caught_up_on() -> None:
    queue = RecoveryQueue(50.0)
    for number in range(100):
        queue.add(CallId(str(number)), Urgency.PLAYING)
    times = [at for _, at in taken(queue)]
    for first, last in zip(times, times[50:], strict=False):
        assert last - first >= 50 / 50.0 - 0.1 - 1e-6, "more than the rate in a second"
    assert times[-1] <= 100 / 50.0
    # Whoever looks late catches up on a tenth of a second.
    queue.add(CallId("a"), Urgency.PLAYING)
    queue.take(1_000.0)
    for number in range(20):
        queue.add(CallId(str(number)), Urgency.PLAYING)
    at_once = 0
    while queue.take(2_000.0) is not None:
        at_once += 1
    assert at_once == 6


def test_a_call_waits_once_and_not_before_its_time() -> None:
    queue = RecoveryQueue(50.0)
    queue.add(CallId("a"), Urgency.IDLE)
    queue.add(CallId("a"), Urgency.PLAYING, not_before=7.0)
    queue.add(CallId("b"), Urgency.IDLE, not_before=3.0)
    assert (len(queue), "a" in queue, "c" in queue) == (2, True, False)
    assert queue.take(2.9) is None
    assert queue.next_at() == 3.0
    assert taken(queue) == [(CallId("b"), 3.0), (CallId("a"), 7.0)]
    queue.add(CallId("a"), Urgency.IDLE)
    queue.discard(CallId("a"))
    queue.discard(CallId("a"))
    assert queue.next_at() is None


@pytest.mark.parametrize("seed", range(30))
def test_nobody_is_forgotten_whatever_comes(seed: int) -> None:
    chance = random.Random(seed)
    queue = RecoveryQueue(chance.choice([0.5, 50.0, 1_000.0]))
    waiting: dict[CallId, float] = {}
    now = 0.0
    for _ in range(300):
        call = CallId(str(chance.randrange(12)))
        match chance.randrange(4):
            case 0:
                not_before = now + chance.choice([0.0, 0.0, chance.random()])
                queue.add(call, chance.choice(list(Urgency)), not_before=not_before)
                waiting[call] = not_before
            case 1:
                queue.discard(call)
                waiting.pop(call, None)
            case _:
                now += chance.random() / 10
                given = queue.take(now)
                if given is not None:
                    assert waiting.pop(given) <= now + 1e-6
        assert len(queue) == len(waiting)
    assert {call for call, _ in taken(queue, until=1e9)} == set(waiting)


# What uses it.


class Call:
    """A connection that a test decides about."""

    def __init__(self, name: str, urgency: Urgency = Urgency.PLAYING) -> None:
        self.call_id = CallId(name)
        self.guild_id = 1
        self.urgency = urgency
        self.seeks_worker = True
        self.error: VoicePoolError | None = None
        self.given_up: list[VoicePoolError] = []
        self.answers: list[Exception | None] = []
        self.tries = 0

    async def begin_again(self) -> None:
        self.tries += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.seeks_worker = False

    def give_up(self, error: VoicePoolError) -> None:
        self.given_up.append(error)


class Rig:
    """A recovery whose timers are set off by hand."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.tasks: set[asyncio.Task[None]] = set()
        self.recovery = Recovery(PoolConfig(**config), spawn=self._spawn, now=self.clock)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, in steps, for whatever waits."""
        for _ in range(round(seconds / 0.05)):
            await self.turn()
            self.clock.advance(0.05)
            # What sleeps by the loop's clock looks at ours when it is woken.
            self.recovery._changed.set()
        await self.turn()

    async def turn(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)


@asyncio_test
async def test_a_call_that_comes_up_is_forgotten() -> None:
    rig, call = Rig(), Call("a")
    rig.recovery.add(call)
    assert rig.recovery.waiting == 1
    await rig.pass_by(0.1)
    assert (call.tries, call.given_up, rig.recovery._efforts) == (1, [], {})
    assert not rig.tasks, "nothing runs while nobody waits"


@asyncio_test
async def test_a_worker_that_cannot_take_it_is_followed_by_others_more_and_more_rarely() -> None:
    rig, call = (
        Rig(reconnect_first_pause_s=1.0, reconnect_longest_pause_s=4.0, reconnect_attempts=5),
        Call("a"),
    )
    call.answers = [WorkerTimeoutError("does not answer") for _ in range(5)]
    rig.recovery.add(call)
    tries = []
    for _ in range(5):
        await rig.pass_by(0.1)
        tries.append((round(rig.clock(), 1), call.tries))
        await rig.pass_by(3.9)
    assert tries[0][1] == 1
    assert call.tries == 5
    [error] = call.given_up
    assert isinstance(error, WorkerTimeoutError)
    assert rig.recovery._efforts == {}
    assert rig.clock() >= 1 + 2 + 4 + 4


@asyncio_test
async def test_a_full_pool_is_waited_for_as_long_as_for_a_server() -> None:
    rig, call = Rig(reconnect_first_pause_s=1.0, reconnect_longest_pause_s=1.0, server_wait_s=10.0), Call("a")
    full = "the pool is full: 8 calls on 2 running workers"
    call.answers = [PoolFullError(full) for _ in range(40)]
    rig.recovery.add(call)
    await rig.pass_by(9.5)
    assert call.given_up == []
    await rig.pass_by(3.0)
    [error] = call.given_up
    assert (type(error), str(error)) == (PoolFullError, full)
    assert call.tries > PoolConfig().reconnect_attempts, "attempts are another matter"


@asyncio_test
async def test_workers_that_die_of_a_call_again_and_again_end_it() -> None:
    rig, call = Rig(reconnect_attempts=3, reconnect_first_pause_s=0.1), Call("a")
    for _ in range(4):
        call.seeks_worker = True
        # It comes up, and its worker is lost before that is looked at.
        call.answers = []
        rig.recovery.add(call)
        if call.given_up:
            break
        effort = rig.recovery._efforts[call.call_id]
        await rig.pass_by(1.0)
        rig.recovery._efforts[call.call_id] = effort
    [error] = call.given_up
    assert isinstance(error, WorkerLostError)
    assert "reconnect_attempts" in str(error)


@asyncio_test
async def test_one_that_is_lost_while_it_is_taken_over_is_not_forgotten() -> None:
    rig = Rig(reconnect_first_pause_s=0.1)

    class Unlucky(Call):
        async def begin_again(self) -> None:
            self.tries += 1
            if self.tries == 1:
                # As a connection does that loses its worker meanwhile.
                rig.recovery.add(self)
            else:
                self.seeks_worker = False

    call = Unlucky("a")
    rig.recovery.add(call)
    await rig.pass_by(1.0)
    assert (call.tries, call.given_up, rig.recovery._efforts) == (2, [], {})


@asyncio_test
async def test_who_leaves_is_not_begun_again_and_a_closed_pool_ends_all() -> None:
    rig, gone, call = Rig(), Call("gone"), Call("a")
    rig.recovery.add(gone)
    rig.recovery.discard(gone.call_id)
    call.answers = [PoolClosedError("the pool is being closed")]
    rig.recovery.add(call)
    await rig.pass_by(0.2)
    assert (gone.tries, gone.given_up) == (0, [])
    assert [type(error) for error in call.given_up] == [PoolClosedError]
    assert not rig.tasks


@asyncio_test
async def test_another_rate_holds_from_now_on() -> None:
    rig = Rig(recovery_rate_hz=1.0)
    calls = [Call(str(number)) for number in range(10)]
    rig.recovery.configure(PoolConfig(recovery_rate_hz=1_000.0))
    for call in calls:
        rig.recovery.add(call)
    await rig.pass_by(0.5)
    assert [call.tries for call in calls] == [1] * 10


@asyncio_test
async def test_a_mistake_of_ours_ends_the_call_rather_than_leave_it_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig, call = Rig(), Call("a")
    call.answers = [KeyError("x")]
    rig.recovery.add(call)
    await rig.pass_by(0.1)
    [error] = call.given_up
    assert isinstance(error, InternalError)
    assert rig.recovery._efforts == {}
    assert "KeyError" in caplog.text


@asyncio_test
async def test_who_leaves_while_a_worker_is_looked_for_is_not_counted_as_lost() -> None:
    rig = Rig(reconnect_attempts=1)
    lost: list[bool] = []
    rig.recovery.on_given_up = lambda: lost.append(True)

    class Leaving(Call):
        async def begin_again(self) -> None:
            rig.recovery.discard(self.call_id)
            raise WorkerLostError("no worker is running")

    call = Leaving("a")
    rig.recovery.add(call)
    await rig.pass_by(0.1)
    assert (lost, call.given_up) == ([], [])
    assert not rig.tasks
