"""Stations of a worker: who opens, who joins, who is told what, and when one ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.fakes.hand_time import HandTime
from tests.workers.audio.station_bench import (
    START_NS,
    HandEncoders,
    NumberingEncoder,
    Opened,
    ScriptedReader,
    numbers,
    packets,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import FileSource, StationSource, UrlSource
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.station import Station
from voicepool.workers.audio.station_sharing import LINGER_S, EncoderItems, Stations
from voicepool.workers.audio.station_tap import StationTap
from voicepool.workers.errors import SourceError, WorkerSideError

SAFETY_S = 30.0
JAZZ = StationSource("jazz", FileSource("/music/jazz.opus"))
ENDLESS = StationSource("jazz", FileSource("/music/jazz.opus"), repeats=True)
OTHER = StationSource("jazz", UrlSource("https://radio.example/blues?token=s3cr3t"))


@dataclass(eq=False)
class Timer:
    delay_s: float
    then: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class HandTimers:
    """The loop's timers, which go off when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay_s: float, then: Callable[[], object]) -> Timer:
        self.timers.append(Timer(delay_s, then))
        return self.timers[-1]

    @property
    def waiting(self) -> list[float]:
        return [timer.delay_s for timer in self.timers if not timer.cancelled]

    def go_off(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.cancelled:
                timer.then()


@dataclass
class Source:
    """What opens a station's source: at once, or when the test says so."""

    waits: bool = False
    outcomes: list[Opened | Exception] = field(default_factory=list)
    calls: int = 0
    cancellations: int = 0
    may_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> Opened:
        self.calls += 1
        if self.waits:
            try:
                await self.may_open.wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                raise
        outcome = self.outcomes.pop(0) if self.outcomes else Opened(ScriptedReader(packets(500)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Bench:
    def __init__(self) -> None:
        self.encoders = HandEncoders()
        self.timers = HandTimers()
        self.now_ns = START_NS
        self.stations = Stations(
            self.encoders,
            make_encoder=NumberingEncoder,
            now_ns=lambda: self.now_ns,
            call_later=self.timers.call_later,
        )

    @property
    def items(self) -> list[Station]:
        return [item for item in self.encoders.items if isinstance(item, Station)]

    def fill(self) -> None:
        """Work as the encoder threads would."""
        for station in self.items:
            while station.fill(self.now_ns) is not None and not station.may_park:
                if not station.log.room(self.now_ns):
                    break


def on_loop(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on an event loop, on which nothing may be left behind or go wrong unseen."""

    def run() -> None:
        complaints: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(SAFETY_S):
                bench = Bench()
                await test(bench)
                bench.stations.close()
                await settle()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())
        assert complaints == []

    return run


async def settle() -> None:
    """Let the loop do all that it has to do now."""
    for _ in range(10):
        await asyncio.sleep(0)


@on_loop
async def test_the_first_opens_and_the_others_join(bench: Bench) -> None:
    source = Source()
    first = await bench.stations.tap(JAZZ, source)
    second = await bench.stations.tap(JAZZ, Source(outcomes=[AssertionError("opened twice")]))
    bench.fill()

    assert source.calls == 1
    assert len(bench.items) == 1
    assert bench.stations.names == ("jazz",)
    assert first.poll() == second.poll() == b"packet 0"


@on_loop
async def test_those_who_come_while_it_opens_wait_for_the_same(bench: Bench) -> None:
    source = Source(waits=True)
    taps = [asyncio.create_task(bench.stations.tap(JAZZ, source)) for _ in range(3)]
    await settle()
    assert not any(tap.done() for tap in taps)

    source.may_open.set()

    assert all(isinstance(tap, StationTap) for tap in await asyncio.gather(*taps))
    assert source.calls == 1


@on_loop
async def test_stations_of_other_names_are_others(bench: Bench) -> None:
    await bench.stations.tap(JAZZ, Source())
    await bench.stations.tap(StationSource("blues", JAZZ.source), Source())

    assert bench.stations.names == ("jazz", "blues")
    assert len(bench.items) == 2


@on_loop
async def test_a_failure_reaches_all_who_wait_and_the_next_tries_again(bench: Bench) -> None:
    failure = SourceError(ErrorCode.SOURCE_NOT_FOUND, "no /music/jazz.opus", path="/music/jazz.opus")
    source = Source(waits=True, outcomes=[failure])
    taps = [asyncio.create_task(bench.stations.tap(JAZZ, source)) for _ in range(3)]
    await settle()
    source.may_open.set()

    errors = await asyncio.gather(*taps, return_exceptions=True)

    assert [str(error) for error in errors] == ["no /music/jazz.opus"] * 3
    assert all(isinstance(error, SourceError) and error.data == failure.data for error in errors)
    assert len({id(error) for error in [*errors, failure]}) == 4
    assert bench.stations.names == ()
    assert bench.timers.waiting == []
    await bench.stations.tap(JAZZ, source)
    assert source.calls == 2


@on_loop
async def test_a_missing_library_keeps_its_code(bench: Bench) -> None:
    failure = WorkerSideError(ErrorCode.LIBOPUS_MISSING, "no libopus")

    with pytest.raises(SourceError) as raised:
        await bench.stations.tap(JAZZ, Source(outcomes=[failure]))

    assert raised.value.code is ErrorCode.LIBOPUS_MISSING


def test_a_defect_in_opening_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @on_loop
    async def test(bench: Bench) -> None:
        with pytest.raises(SourceError, match=r"'jazz'.*oops") as raised:
            await bench.stations.tap(JAZZ, Source(outcomes=[KeyError("oops")]))
        assert raised.value.code is ErrorCode.INTERNAL

    with caplog.at_level(logging.ERROR):
        test()
    assert len(caplog.records) == 1


@on_loop
async def test_one_who_gives_up_leaves_the_others_waiting(bench: Bench) -> None:
    source = Source(waits=True)
    impatient = asyncio.create_task(bench.stations.tap(JAZZ, source))
    patient = asyncio.create_task(bench.stations.tap(JAZZ, source))
    await settle()

    impatient.cancel()
    await settle()
    source.may_open.set()

    assert isinstance(await patient, StationTap)
    assert impatient.cancelled()
    assert source.cancellations == 0


@on_loop
async def test_with_the_last_who_gives_up_the_opening_ends(bench: Bench) -> None:
    source = Source(waits=True)
    taps = [asyncio.create_task(bench.stations.tap(JAZZ, source)) for _ in range(2)]
    await settle()

    for tap in taps:
        tap.cancel()
    await settle()

    assert source.cancellations == 1
    assert bench.stations.names == ()
    assert bench.items == []


@on_loop
async def test_another_source_under_the_name_is_refused(bench: Bench) -> None:
    await bench.stations.tap(JAZZ, Source())

    for other in (OTHER, ENDLESS):
        with pytest.raises(SourceError, match="station 'jazz' plays another source") as raised:
            await bench.stations.tap(other, Source())
        assert raised.value.code is ErrorCode.SOURCE_REFUSED
        assert "s3cr3t" not in str(raised.value)
    assert len(bench.items) == 1


@on_loop
async def test_another_source_is_refused_already_while_the_first_opens(bench: Bench) -> None:
    source = Source(waits=True)
    first = asyncio.create_task(bench.stations.tap(JAZZ, source))
    await settle()

    with pytest.raises(SourceError, match="plays another source"):
        await bench.stations.tap(OTHER, Source())

    source.may_open.set()
    await first


@on_loop
async def test_with_nobody_there_the_name_is_free_for_another_source(bench: Bench) -> None:
    tap = await bench.stations.tap(JAZZ, Source())
    tap.close()
    await settle()

    await bench.stations.tap(OTHER, Source())

    assert [station.cancelled for station in bench.items] == [True, False]
    assert bench.encoders.nudged == [bench.items[0]]
    assert bench.timers.waiting == []


@on_loop
async def test_it_ends_some_time_after_the_last_has_gone(bench: Bench) -> None:
    taps = [await bench.stations.tap(JAZZ, Source()) for _ in range(2)]
    bench.fill()
    taps[0].close()
    await settle()
    assert bench.timers.waiting == []

    taps[1].close()
    taps[1].close()
    await settle()
    assert bench.timers.waiting == [LINGER_S]
    assert not bench.items[0].cancelled

    bench.timers.go_off()
    assert bench.items[0].cancelled
    assert bench.encoders.nudged == bench.items
    assert bench.stations.names == ()


@on_loop
async def test_who_comes_back_in_time_finds_it_going_on(bench: Bench) -> None:
    tap = await bench.stations.tap(JAZZ, Source())
    bench.fill()
    tap.take_packets(8)
    tap.close()
    await settle()
    bench.now_ns += 60 * FRAME_NS

    tap = await bench.stations.tap(JAZZ, Source())

    assert bench.timers.waiting == []
    assert numbers(tap.take_packets(1)) == [60]


@on_loop
async def test_taps_are_closed_from_any_thread(bench: Bench) -> None:
    tap = await bench.stations.tap(JAZZ, Source())

    thread = threading.Thread(target=tap.close)
    thread.start()
    await asyncio.to_thread(thread.join)
    await settle()

    assert bench.timers.waiting == [LINGER_S]


@on_loop
async def test_one_that_is_over_is_opened_anew_and_those_who_hear_its_end_keep_it(bench: Bench) -> None:
    source = Source(outcomes=[Opened(ScriptedReader(packets(3)))])
    tap = await bench.stations.tap(JAZZ, source)
    bench.fill()
    assert tap.poll() == b"packet 0"

    another = await bench.stations.tap(JAZZ, source)

    assert source.calls == 2
    bench.fill()
    assert numbers(tap.take_packets(24)) == [1, 2]
    assert tap.poll() is None
    tap.close()
    await settle()
    assert [station.cancelled for station in bench.items] == [True, False]
    assert bench.timers.waiting == [], "there is nothing to come back to"
    assert another.poll() == b"packet 0"


@on_loop
async def test_the_first_to_take_wakes_the_station(bench: Bench) -> None:
    tap = await bench.stations.tap(JAZZ, Source())
    bench.fill()
    assert bench.items[0].may_park

    tap.poll()

    assert bench.encoders.nudged == bench.items
    assert not bench.items[0].may_park


@on_loop
async def test_one_that_repeats_is_opened_anew(bench: Bench) -> None:
    source = Source(outcomes=[Opened(ScriptedReader(packets(40))) for _ in range(2)])
    tap = await bench.stations.tap(ENDLESS, source)
    bench.fill()
    await settle()
    assert source.calls == 2
    assert bench.encoders.nudged == bench.items
    bench.fill()

    assert numbers(tap.take_packets(75)) == [*range(40), *range(35)]


@on_loop
async def test_one_that_cannot_be_opened_anew_fails_for_all(bench: Bench) -> None:
    failure = SourceError(ErrorCode.SOURCE_NOT_FOUND, "it is gone")
    source = Source(outcomes=[Opened(ScriptedReader(packets(1))), failure])
    taps = [await bench.stations.tap(ENDLESS, source) for _ in range(2)]
    bench.fill()
    await settle()
    bench.fill()

    for tap in taps:
        assert tap.poll() == b"packet 0"
        with pytest.raises(SourceError, match="it is gone"):
            tap.poll()


@on_loop
async def test_opening_anew_ends_with_the_station(bench: Bench) -> None:
    source = Source(outcomes=[Opened(ScriptedReader(packets(1)))])
    tap = await bench.stations.tap(ENDLESS, source)
    source.waits = True
    bench.fill()
    await settle()
    assert source.calls == 2

    tap.close()
    await settle()
    bench.timers.go_off()
    await settle()

    assert source.cancellations == 1
    bench.items[0]._reopen()  # type: ignore[misc]  # it repeats, so there is one
    await settle()
    assert source.calls == 2, "nobody wants it any more"


@on_loop
async def test_closing_ends_all(bench: Bench) -> None:
    tap = await bench.stations.tap(JAZZ, Source())
    slow = Source(waits=True)
    waiting = asyncio.create_task(bench.stations.tap(StationSource("blues", JAZZ.source), slow))
    bench.fill()
    await settle()

    bench.stations.close()

    with pytest.raises(SourceError, match="worker closed before the station 'blues' was open") as raised:
        await waiting
    assert raised.value.code is ErrorCode.SUPERSEDED
    assert slow.cancellations == 1
    assert bench.items[0].cancelled
    bench.fill()
    assert len(tap.take_packets(100)) == 75
    assert tap.poll() is None
    tap.close()
    await settle()
    assert bench.timers.waiting == []
    with pytest.raises(SourceError, match="worker closed"):
        await bench.stations.tap(JAZZ, Source())


def test_a_tap_may_outlive_the_loop() -> None:
    async def main() -> StationTap:
        return await Bench().stations.tap(JAZZ, Source())

    tap = asyncio.run(main())
    tap.close()

    assert tap.poll() is None


def test_encoder_threads_run_it() -> None:
    """With the real threads, on a time moved by hand."""
    time, timers = HandTime(START_NS), HandTimers()
    threads = EncoderThreads(make_clock=time.make_clock, lower_priority=lambda: "normal", role="normal")

    async def main() -> None:
        reader = ScriptedReader(packets(500))
        stations = Stations(
            cast("EncoderItems", threads),
            make_encoder=NumberingEncoder,
            now_ns=lambda: time.now_ns,
            call_later=timers.call_later,
        )
        tap = await stations.tap(JAZZ, Source(outcomes=[Opened(reader)]))
        await asyncio.to_thread(time.settle)
        taken = numbers(tap.take_packets(50))
        while len(taken) < 200:
            time.advance(25 * FRAME_NS)
            await asyncio.to_thread(time.settle)
            taken += numbers(tap.take_packets(25))
        assert taken == list(range(200))
        tap.close()
        await settle()
        timers.go_off()
        time.advance(100 * FRAME_NS)
        await asyncio.to_thread(time.settle)
        assert reader.closes == 1

    threads.start()
    try:
        asyncio.run(asyncio.wait_for(main(), SAFETY_S))
    finally:
        threads.stop()
