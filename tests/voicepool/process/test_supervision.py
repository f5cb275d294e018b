"""What is seen in a worker that is up, and what is made of it, with a clock in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.voicepool.process.test_link import stats
from voicepool._process.memory import YOUNG_S
from voicepool._process.supervision import Supervision
from voicepool.errors import VoicePoolError, WorkerLostError, WorkerTimeoutError
from voicepool.pool_events import ExitReason


class FakeLink:
    """A link whose worker shows life when a test says so."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.lost: VoicePoolError | None = None
        self.heard_at = now()
        self.rtt_ms: float | None = 0.4
        self.calls = 12
        self.pings = 0
        self.is_stuck = False
        self.waiting: Callable[[], None] = lambda: None
        """What there is to read when somebody catches up."""

    def ping(self) -> None:
        if self.is_stuck:
            raise WorkerTimeoutError("4096 messages wait to be sent")
        self.pings += 1

    async def catch_up(self) -> None:
        self.waiting()


class Bench:
    """A supervision, its clock, and what it decided."""

    def __init__(
        self,
        *,
        is_stopped: bool = False,
        stopped_s: float | None = None,
        limit: int = 0,
        steps: list[float] | None = None,
    ) -> None:
        self.time = 1_000.0
        self.steps = steps if steps is not None else []
        """How far the clock goes from look to look; 0.5 s when there is nothing left."""
        self.sentences: list[tuple[ExitReason, str, bool, bool]] = []
        self.memory: list[tuple[int, bool]] = []
        self.complexities: list[int] = []
        self.link = FakeLink(lambda: self.time)
        self.care = Supervision(
            heartbeat_interval_s=0.5,
            hang_timeout_s=3.0,
            memory_limit_bytes=limit,
            complexity=10,
            condemn=self._condemn,
            is_stopped=lambda: is_stopped,
            stopped_s=lambda: stopped_s,
            on_memory=lambda used_bytes, replace: self.memory.append((used_bytes, replace)),
            on_complexity=self.complexities.append,
        )
        self.care._clock = lambda: self.time
        self.care._pulse._due_at = self.care._pulse._heard_at = self.care._pulse._counts_from = self.time
        self.care._memory._started_at = self.time - YOUNG_S

    def _condemn(
        self,
        reason: ExitReason,
        what: str,
        *,
        is_fault: bool = True,
        inquire: bool = False,
        silent_s: float = 0.0,
    ) -> None:
        self.silent_s = silent_s
        self.sentences.append((reason, what, is_fault, inquire))
        self.link.lost = WorkerLostError(what)

    async def run(self, monkeypatch: pytest.MonkeyPatch, *, at_look: Callable[[int], None]) -> None:
        looks = 0

        async def tick(_rest_s: float) -> None:
            nonlocal looks
            looks += 1
            self.time += self.steps.pop(0) if self.steps else 0.5
            at_look(looks)

        with monkeypatch.context() as patch:
            patch.setattr(self.care, "_rest", tick)
            await self.care.run(self.link)  # type: ignore[arg-type]  # only what it uses of it


def nothing(_look: int) -> None: ...


@asyncio_test
async def _silent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.run(monkeypatch, at_look=nothing)


def make(**more: Any) -> Bench:
    """A bench made on a loop, whose time is asked for once."""
    benches: list[Bench] = []

    async def run() -> None:
        benches.append(Bench(**more))

    asyncio.run(run())
    return benches[0]


def test_a_worker_that_says_nothing_is_given_up_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    _silent(bench, monkeypatch)
    ((reason, what, is_fault, inquire),) = bench.sentences
    assert (reason, is_fault, inquire) == (ExitReason.HUNG, True, True)
    # Its sound goes on while its control loop hangs.
    assert bench.silent_s == 0.0
    assert what == (
        "gave no sign of life for 3.0 s (hang_timeout_s = 3); it held 12 calls, "
        "and last answered within 0.4 ms"
    )
    assert bench.link.pings == 6


def test_a_stopped_one_is_said_to_be_and_its_sources_are_not_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = make(is_stopped=True)
    bench.link.rtt_ms = None
    _silent(bench, monkeypatch)
    ((_, what, is_fault, _),) = bench.sentences
    assert what.endswith("and never answered; its process was stopped, as by SIGSTOP")
    assert not is_fault
    # Nobody knows when between its last answer and the next that was.
    assert bench.silent_s == 3.0 - 0.5 / 2


def test_when_it_was_stopped_is_taken_from_who_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(is_stopped=True, stopped_s=2.97)
    _silent(bench, monkeypatch)
    assert bench.silent_s == 2.97


def test_one_that_goes_on_while_it_hangs_was_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stopped once, and let go.
    bench = make(is_stopped=False, stopped_s=1.0)
    _silent(bench, monkeypatch)
    assert bench.silent_s == 0.0


@asyncio_test
async def test_one_that_has_enough_to_say_is_not_asked_and_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    looks: list[float] = []
    monkeypatch.setattr(bench.care._pulse, "look", lambda now, _heard_at: looks.append(now))
    watching = asyncio.create_task(bench.care.run(bench.link))  # type: ignore[arg-type]  # what it uses of it
    await asyncio.sleep(0)
    assert bench.link.pings == 1
    alarm = bench.care._alarm
    for _ in range(12):
        bench.time += 0.4
        bench.link.heard_at = bench.time
        bench.care.on_stats(stats())
    assert alarm is not None
    assert alarm.cancelled()
    assert (looks, bench.link.pings) == ([], 1)
    # For the time that the answer takes.
    bench.time += 15.0
    bench.link.heard_at = bench.time
    bench.care.on_stats(stats())
    assert bench.link.pings == 2
    watching.cancel()
    await asyncio.wait({watching})
    assert bench.care._alarm is None
    bench.care.on_stats(stats())


@asyncio_test
async def test_one_that_has_nothing_to_say_is_looked_at_in_time() -> None:
    bench = Bench()
    bench.care.configure(heartbeat_interval_s=0.01, hang_timeout_s=600.0)
    watching = asyncio.create_task(bench.care.run(bench.link))  # type: ignore[arg-type]  # what it uses of it
    bench.time += 0.02
    await until(lambda: bench.link.pings >= 3)
    bench.link.lost = WorkerLostError("asked to leave")
    await watching


def test_one_that_takes_no_messages_is_found_by_its_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    bench.link.is_stuck = True
    _silent(bench, monkeypatch)
    assert bench.sentences[0][0] is ExitReason.HUNG


def test_what_waits_to_be_read_saves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    read: list[float] = []

    def waiting() -> None:
        read.append(bench.time)
        if len(read) == 1:
            bench.link.heard_at = bench.time - 0.1

    bench.link.waiting = waiting
    _silent(bench, monkeypatch)
    # Saved once, and silent from then on.
    assert read == [1_003.0, 1_006.0]
    assert len(bench.sentences) == 1


def test_a_stall_of_the_bot_costs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(steps=[0.5, 0.5, 60.0, 0.5, 3_600.0])
    alive_from = 8

    def at_look(look: int) -> None:
        if look >= alive_from:
            bench.link.heard_at = bench.time
        if look == 100:
            bench.link.lost = WorkerLostError("asked to leave")

    @asyncio_test
    async def run() -> None:
        await bench.run(monkeypatch, at_look=at_look)

    run()
    assert bench.sentences == []


def test_the_memory_is_weighed() -> None:
    bench = make(limit=1_000)
    bench.care.on_stats(stats(rss_bytes=5_000, uptime_s=1.0))
    assert (bench.memory, bench.sentences) == ([], [])
    bench.care.on_stats(stats(rss_bytes=5_000, pss_bytes=850, uptime_s=2.0))
    bench.care.on_stats(stats(rss_bytes=5_000, pss_bytes=860, uptime_s=3.0))
    bench.care.on_stats(stats(rss_bytes=5_200, pss_bytes=860, uptime_s=4.0))
    assert bench.memory == [(850, False), (1_060, True)]
    bench.care.on_stats(stats(rss_bytes=5_400, pss_bytes=860, uptime_s=4.5))
    ((reason, what, is_fault, inquire),) = bench.sentences
    assert (reason, is_fault, inquire) == (ExitReason.OVER_MEMORY, False, False)
    assert "far beyond memory_limit_mib" in what


def test_only_changes_of_the_complexity_by_the_worker_are_told() -> None:
    bench = make()
    for complexity, sheds in ((8, 0), (8, 0), (6, 1), (6, 1), (8, 1), (5, 2)):
        bench.care.on_stats(stats(complexity=complexity, sheds=sheds))
    assert bench.complexities == [6, 8, 5]


def test_a_flood_is_a_crash() -> None:
    bench = make()
    bench.care.on_flood()
    assert bench.sentences == [(ExitReason.CRASHED, "floods its bot with messages", True, False)]
