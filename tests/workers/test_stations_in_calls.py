"""Stations in several calls: all hear the same moment, whatever each of them has been through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.audio.station_bench import NumberingEncoder
from tests.workers.hand_studio import HandSource, HandStudio, Step, name_of, play_command
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import MediaInfo, TrackEnded, TrackFigures, TrackStarted
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.ipc.sources import FileSource, StationSource
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.station_sharing import Stations
from voicepool.workers.player import Player
from voicepool.workers.sound import Studio
from voicepool.workers.sourcing import Sourcing

JAZZ = StationSource("jazz", FileSource("jazz"))
LIVE = MediaInfo(
    codec="opus", container="ogg", sample_rate_hz=48_000, channels=2, passthrough=True, live=True
)
APART = 2
"""Frames: how far calls may be from each other."""


class Broadcast(HandSource):
    """Gives a packet each 20 ms and keeps the last second of them, as a live read-ahead does."""

    info = LIVE

    def __init__(self, name: str, hand: HandStudio) -> None:
        super().__init__(name, 5_000)
        self._hand = hand
        self._since_ns = hand.clock.now_ns()

    def poll(self) -> Any:
        sent = (self._hand.clock.now_ns() - self._since_ns) // FRAME_NS + 10
        while self.given < sent - 50:
            super().poll()
        return super().poll() if self.given < sent else NOT_YET


class Studios:
    """One worker with several calls in virtual time."""

    def __init__(self) -> None:
        self.hand = HandStudio()
        self.hand.opener.sources["jazz"] = HandSource("jazz", 5_000)
        self.stations = Stations(
            self.hand.encoders, make_encoder=NumberingEncoder, now_ns=self.hand.clock.now_ns
        )
        settings = self.hand.settings
        sourcing = Sourcing(
            self.hand.opener, self.stations, ring_frames=settings.ring_frames, early_samples=312
        )
        self.studio = Studio(settings, sourcing, self.hand.encoders, self.hand.pacer)
        self.calls: list[Call] = []

    def call(self) -> Call:
        self.calls.append(Call(self, CallId(f"call {len(self.calls)}")))
        return self.calls[-1]

    def source(self, name: str, count: int = 0, steps: Sequence[Step] | None = None) -> None:
        self.hand.opener.sources[name] = HandSource(name, count, steps)

    async def settle(self) -> None:
        await self.hand.settle(12)

    async def go(self, frames: float) -> None:
        """Let the time of so many frames go by, and all be done that falls into it."""
        until_ns = self.hand.clock.time_ns + round(frames * FRAME_NS)
        while self.hand.clock.time_ns < until_ns:
            self.hand.clock.woken = False
            before_ns = self.hand.clock.time_ns
            self.hand.pacer.turn_once()
            if self.hand.clock.time_ns == before_ns and not any(self.hand.pacer._wheel):
                self.hand.clock.time_ns += FRAME_NS
            await self.settle()

    async def close(self) -> None:
        for call in self.calls:
            call.player.close()
        await self.settle()
        self.stations.close()
        await self.settle()
        assert not self.hand.encoders.held
        assert not self.hand.failures


class Call:
    """One call of them, and what it has sent when."""

    def __init__(self, studios: Studios, ident: CallId) -> None:
        self.studios = studios
        self.ident = ident
        self.sent: list[tuple[int, str]] = []
        self.player = Player(
            ident,
            studios.studio,
            report=studios.hand.events.append,
            on_failure=studios.hand.failures.append,
            now_ns=studios.hand.clock.now_ns,
        )
        self.bind()

    def bind(self) -> None:
        def send(packet: bytes) -> None:
            self.sent.append((self.studios.hand.clock.now_ns(), name_of(packet[12:])))

        self.player.bind(lambda header, frame: header + frame, send, 1)

    async def play(self, name: str = "jazz", **options: Any) -> None:
        source = JAZZ if name == "jazz" else FileSource(name)
        playing = asyncio.create_task(self.player.play(play_command(name, source=source, **options), []))
        await self.studios.settle()
        assert playing.done()
        await playing

    @property
    def figures(self) -> TrackFigures:
        (figures,) = self.player.stats().tracks
        return figures

    def heard_at_ns(self) -> dict[int, int]:
        """When each packet of the station was sent."""
        return {int(name.split()[1]): at_ns for at_ns, name in self.sent if name.startswith("jazz ")}

    @property
    def last(self) -> int:
        """The packet of the station that was sent last."""
        return max(self.heard_at_ns(), key=self.heard_at_ns().__getitem__)


def assert_together(calls: Sequence[Call], since_ns: int, at_least: int = 100) -> None:
    """Check that the calls have sent the same packets at the same time, from some moment on."""
    heard = [
        {number: at_ns for number, at_ns in call.heard_at_ns().items() if at_ns >= since_ns} for call in calls
    ]
    common = set.intersection(*(set(each) for each in heard))
    assert len(common) >= at_least
    for number in common:
        times = [each[number] for each in heard]
        assert max(times) - min(times) <= APART * FRAME_NS


def assert_without_a_gap(call: Call, since_ns: int) -> None:
    numbers = [number for number, at_ns in call.heard_at_ns().items() if at_ns >= since_ns]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@asyncio_test
async def test_who_joins_later_hears_what_the_others_hear() -> None:
    bench = Studios()
    first, second = bench.call(), bench.call()
    await first.play()
    await bench.go(333)
    joined_ns = bench.hand.clock.now_ns()
    await second.play()
    await bench.go(200)

    assert first.heard_at_ns().keys() >= set(range(300)), "a file is heard from its start"
    assert_together([first, second], joined_ns)
    assert_without_a_gap(second, joined_ns)
    await bench.close()


@pytest.mark.parametrize("pause_frames", [20, 60, 150, 700])
@asyncio_test
async def test_after_a_pause_a_call_hears_what_the_others_hear(pause_frames: int) -> None:
    bench = Studios()
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play()
    await bench.go(100)
    second.player.pause()
    await bench.go(pause_frames)
    paused_at = second.figures.position_s
    assert paused_at == pytest.approx((second.last + 1) / 50, abs=0.03)

    resumed_ns = bench.hand.clock.now_ns()
    second.player.resume()
    await bench.go(300)

    assert_together([first, second], resumed_ns, at_least=250)
    assert_without_a_gap(second, resumed_ns)
    assert_without_a_gap(first, 0)
    assert second.figures.position_s == pytest.approx((second.last + 1) / 50, abs=0.03)
    assert second.figures.frames_sent == len(second.heard_at_ns())
    await bench.close()


@pytest.mark.parametrize("on_gap", ["continue", "skip"])
@asyncio_test
async def test_after_a_gap_a_call_hears_what_the_others_hear(on_gap: str) -> None:
    bench = Studios()
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play(on_gap=on_gap)
    await bench.go(100)
    second.player.unbind()
    await bench.go(150)

    bound_ns = bench.hand.clock.now_ns()
    second.bind()
    await bench.go(300)

    assert_together([first, second], bound_ns, at_least=250)
    assert_without_a_gap(second, bound_ns)
    assert second.figures.position_s == pytest.approx((second.last + 1) / 50, abs=0.03)
    await bench.close()


@asyncio_test
async def test_a_call_that_was_paused_in_a_gap_comes_back_when_it_may_send() -> None:
    bench = Studios()
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play()
    await bench.go(100)
    second.player.pause()
    second.player.unbind()
    await bench.go(50)
    second.player.resume()
    await bench.go(50)
    bound_ns = bench.hand.clock.now_ns()
    second.bind()
    await bench.go(200)

    assert_together([first, second], bound_ns, at_least=150)
    await bench.close()


@pytest.mark.parametrize(("count", "crossfade_s"), [(30, 0.0), (400, 0.0), (400, 0.5)])
@asyncio_test
async def test_a_station_that_follows_begins_with_what_the_others_hear(
    count: int, crossfade_s: float
) -> None:
    bench = Studios()
    bench.source("song", count)
    first, second = bench.call(), bench.call()
    await first.play()
    await bench.go(50)
    await second.play("song")
    await second.play(role=TrackRole.NEXT, crossfade_s=crossfade_s)
    await bench.go(count + 300)

    assert_together([first, second], 0, at_least=250)
    assert_without_a_gap(second, 0)
    assert second.figures.position_s == pytest.approx((second.last + 1) / 50, abs=0.03)
    await bench.close()


@asyncio_test
async def test_a_station_that_waits_does_not_run_until_it_is_heard() -> None:
    bench = Studios()
    bench.source("song", 400)
    call = bench.call()
    await call.play("song")
    await call.play(role=TrackRole.NEXT)
    await bench.go(700)

    assert min(call.heard_at_ns()) == 0
    assert_without_a_gap(call, 0)
    names = [name for _, name in call.sent]
    assert names.index("jazz 0") == names.index("song 399") + 1, "without a gap between the two"
    await bench.close()


@asyncio_test
async def test_a_station_that_had_begun_behind_a_pause_begins_anew() -> None:
    bench = Studios()
    bench.source("song", 100)
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play("song")
    await second.play(role=TrackRole.NEXT)
    await bench.go(80)
    second.player.pause()
    await bench.go(150)
    second.player.resume()
    await bench.go(250)

    assert_together([first, second], 0, at_least=150)
    assert_without_a_gap(second, 0)
    names = [name for _, name in second.sent if name.startswith("song")]
    assert names == [f"song {number}" for number in range(100)]
    await bench.close()


@asyncio_test
async def test_a_station_that_is_skipped_to_begins_with_what_the_others_hear() -> None:
    bench = Studios()
    bench.source("song", 400)
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play("song")
    await second.play(role=TrackRole.NEXT)
    await bench.go(200)
    second.player.skip(PlaybackId("song"))
    await bench.go(200)

    assert_together([first, second], 0, at_least=150)
    await bench.close()


@asyncio_test
async def test_a_broadcast_is_joined_at_its_edge_after_a_pause() -> None:
    bench = Studios()
    bench.hand.opener.sources["jazz"] = Broadcast("jazz", bench.hand)
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play()
    await bench.go(100)
    second.player.pause()
    await bench.go(150)
    resumed_ns = bench.hand.clock.now_ns()
    second.player.resume()
    await bench.go(200)

    assert_together([first, second], resumed_ns, at_least=150)
    await bench.close()


@asyncio_test
async def test_filters_do_not_hold_what_is_over() -> None:
    bench = Studios()
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play(filters="volume=0.5")
    await bench.go(100)
    assert second.figures.position_s == pytest.approx(first.figures.position_s, abs=0.06)
    second.player.pause()
    await bench.go(150)
    second.player.resume()
    await bench.go(100)

    assert second.figures.position_s == pytest.approx(first.figures.position_s, abs=0.06)
    await bench.close()


@pytest.mark.parametrize("broadcast", [False, True])
@asyncio_test
async def test_with_all_calls_paused_nobody_wakes_up(*, broadcast: bool) -> None:
    bench = Studios()
    if broadcast:
        bench.hand.opener.sources["jazz"] = Broadcast("jazz", bench.hand)
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play()
    await bench.go(100)
    first.player.pause()
    second.player.pause()
    await bench.go(200)
    assert not bench.hand.encoders.held, "none wants to be looked at again"

    await bench.go(1_000)
    before = first.last
    first.player.resume()
    second.player.resume()
    resumed_ns = bench.hand.clock.now_ns()
    await bench.go(200)

    assert_together([first, second], resumed_ns, at_least=150)
    (began, *_) = (number for number, at_ns in first.heard_at_ns().items() if at_ns >= resumed_ns)
    if broadcast:
        # Until then it had sent some 1,310 packets, of which its read-ahead keeps a second.
        assert began == pytest.approx(1_310 - 50, abs=10)
    else:
        assert before < began < before + 150, "it went on for two seconds, and then stood"
    await bench.close()


@asyncio_test
async def test_a_station_that_ends_in_a_pause_has_ended() -> None:
    bench = Studios()
    bench.source("jazz", 200)
    first, second = bench.call(), bench.call()
    await first.play()
    await second.play()
    await bench.go(100)
    second.player.pause()
    await bench.go(300)
    second.player.resume()
    await bench.go(20)

    ended = [event for event in bench.hand.events if isinstance(event, TrackEnded)]
    assert [(event.call, event.reason.value) for event in ended] == [
        ("call 0", "finished"),
        ("call 1", "finished"),
    ]
    started = [event.call for event in bench.hand.events if isinstance(event, TrackStarted)]
    assert started == ["call 0", "call 1"]
    await bench.close()
