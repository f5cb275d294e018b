"""However a track or a player ends, nothing is left open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.hand_studio import (
    CALL,
    TAIL,
    HandPlayer,
    Step,
    packet,
    play_command,
    tone,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import EndReason, Event, TrackEnded
from voicepool.ipc.ids import PlaybackId
from voicepool.workers import sound as sound_module
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.clock import MonotonicClock
from voicepool.workers.errors import SourceError
from voicepool.workers.player import Player

# Nothing is left open.


class CountedEncoder(Encoder):
    """Counts how many there are and how often they are closed."""

    made: ClassVar[list[CountedEncoder]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.closes = 0
        self.made.append(self)

    def close(self) -> None:
        self.closes += 1
        super().close()


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[CountedEncoder]:
    monkeypatch.setattr(CountedEncoder, "made", [])
    monkeypatch.setattr(sound_module, "Encoder", CountedEncoder)
    return CountedEncoder.made


WAYS = [
    "finished",
    "stopped",
    "replaced",
    "fails at once",
    "fails later",
    "superseded",
    "closed",
    "stopped late",
]


@pytest.mark.parametrize("way", WAYS)
def test_however_a_track_ends_its_source_and_encoder_are_closed_once(
    way: str, encoders: list[CountedEncoder]
) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        broken = SourceError(ErrorCode.SOURCE_FAILED, "no")
        steps: dict[str, list[Step]] = {
            "fails at once": [broken],
            "fails later": [packet("0"), packet("1"), packet("2"), broken],
            "superseded": [packet("0"), *[NOT_YET] * 1_000],
        }
        source = bench.source("a", 6, steps.get(way))
        task = await bench.start("a")
        if way in ("finished", "fails later", "stopped late"):
            await bench.tick(7 if way == "stopped late" else 20)
        if way == "finished":
            bench.player.set_volume(0.5)
            bench.player.set_volume(1.0)
        elif way.startswith("stopped"):
            bench.player.set_volume(0.5)
            bench.player.stop()
        elif way in ("replaced", "superseded"):
            bench.player.set_volume(0.5)
            await bench.play("b", 3)
            await bench.tick(20)
        elif way == "closed":
            bench.player.pause()
            bench.player.set_volume(0.5)
            bench.player.close()
        bench.pass_frames(1)
        await bench.hand.settle()
        assert task.done()
        assert source.closes == 1
        await bench.close()
        assert [source.closes for source in bench.sources.values()] == [1] * len(bench.sources)
        assert [encoder.closes for encoder in encoders] == [1], "one serves the call as long as it lives"

    scenario()


@pytest.mark.parametrize("way", ["playing", "paused", "ended", "opening"])
def test_a_worker_that_shuts_down_closes_what_its_players_hold(
    way: str, encoders: list[CountedEncoder]
) -> None:
    @asyncio_test
    async def scenario() -> None:
        encoding = EncoderThreads(make_clock=MonotonicClock, lower_priority=lambda: "normal", role="normal")
        encoding.start()
        hand = HandPlayer(bound=False)
        studio = replace(hand.hand.studio, encoders=encoding)
        reports: list[Event] = []
        player = Player(CALL, studio, report=reports.append, on_failure=reports.append)  # type: ignore[arg-type]
        steps: list[Step] = (
            [packet("0"), *[NOT_YET] * 100_000]
            if way == "opening"
            else [packet("0")] * (4 if way == "ended" else 500)
        )
        source = hand.source("a", steps=steps)
        play = asyncio.create_task(player.play(play_command("a", paused=way == "paused"), []))
        if way != "opening":
            await asyncio.wait_for(play, SAFETY_S)
        else:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        # The threads stop first, as in a worker that is killed off: whoever dismisses later finds it closed.
        encoding.stop()
        player.close()
        await asyncio.gather(play, return_exceptions=True)
        assert source.closes == 1
        assert [encoder.closes for encoder in encoders] == [1]

    scenario()


class FailingEncoder(CountedEncoder):
    """Fails when it has encoded so many frames."""

    left = 30

    def encode_bound(self) -> bytes:
        if not FailingEncoder.left:
            raise ZeroDivisionError("a defect")
        FailingEncoder.left -= 1
        return super().encode_bound()


@asyncio_test
async def test_a_defect_of_the_engine_fails_every_track_once_and_the_next_play_works() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountedEncoder, "made", [])
        patch.setattr(FailingEncoder, "left", 30)
        patch.setattr(sound_module, "Encoder", FailingEncoder)
        bench = HandPlayer()
        await bench.play("a", steps=tone(500, 50))
        await bench.overlay("b", steps=tone(1_500, 50))
        await bench.follow("c", 10)
        await bench.tick(40)
        ended = bench.of(TrackEnded)
        assert sorted(event.playback for event in ended) == ["a", "b", "c"]
        assert {event.reason for event in ended} == {EndReason.FAILED}
        assert {event.error.code for event in ended if event.error is not None} == {ErrorCode.INTERNAL}
        assert [source.closes for source in bench.sources.values()] == [1, 1, 1]
        patch.setattr(sound_module, "Encoder", CountedEncoder)
        again = await bench.play("d", 5)
        assert (await bench.tick(20))[-10:] == [*again.names(5), *TAIL]
        await bench.close()
        assert [encoder.closes for encoder in CountedEncoder.made] == [1, 1]


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("how", ["cancelled", "closed", "superseded", "stopped"])
def test_whenever_a_play_is_called_off_nothing_is_left_open(turns: int, how: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("old", 300)
        await bench.tick(3)
        bench.source("a", 50)
        task = asyncio.create_task(bench.player.play(play_command("a"), []))
        bench.tasks.append(task)
        for _ in range(turns):
            await asyncio.sleep(0)
            bench.hand.encoders.work()
        if how == "cancelled":
            task.cancel()
        elif how == "closed":
            bench.player.close()
        elif how == "stopped":
            bench.player.stop()
        else:
            await bench.play("b", 50)
        await bench.tick(150)
        await asyncio.gather(task, return_exceptions=True)
        await bench.close()
        assert {source.closes for source in bench.sources.values()} <= {0, 1}
        for name, source in bench.sources.items():
            opened = [path for path, _ in bench.hand.opener.places if path == name]
            assert source.closes == len(opened)
        ends = [end[0] for end in bench.ended]
        assert len(ends) == len(set(ends))
        assert "old" in ends

    scenario()


@pytest.mark.parametrize("turns", range(10))
def test_whenever_a_play_is_called_off_the_old_track_plays_on_or_its_end_is_told(turns: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("old", 300)
        await bench.tick(3)
        bench.source("new", 300)
        task = asyncio.create_task(bench.player.play(play_command("new"), []))
        bench.tasks.append(task)
        for _ in range(turns):
            await asyncio.sleep(0)
            bench.hand.encoders.work()
        bench.player.stop(PlaybackId("new"))
        heard = await bench.tick(100)
        plays_on = heard[-1].startswith("old")
        assert plays_on == (not bench.ended)
        assert plays_on == (list(bench.figures) == ["old"])
        await bench.close()
        assert {source.closes for source in bench.sources.values() if source.given} == {1}

    scenario()
