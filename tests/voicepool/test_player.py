"""Playbacks as the bot sees them; with a worker behind them in ``test_connection.py``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from fractions import Fraction
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool._link import Link
from voicepool.config import PoolConfig
from voicepool.errors import CallGoneError, WorkerLostError
from voicepool.ipc.events import CallStats, EndReason, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId
from voicepool.player import Player, checked_gap, checked_volume
from voicepool.source import AudioFile

CALL = CallId("call")


class Sink:
    """A bot's end that takes everything."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def post(self, message: Any, attachments: Any = (), *, lossy: bool = False) -> None:
        self.posted.append(message)


def spawn(work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)


def make() -> tuple[Player, Link]:
    player = Player(CALL, PoolConfig(), place="guild 1", spawn=spawn)
    link = Link(Sink(), worker=WorkerId("w0.1"))  # type: ignore[arg-type]  # only what a link uses of it
    player.use(link)
    return player, link


@pytest.mark.parametrize("volume", [0, 0.0, 1, 0.5, 250.0])
def test_a_volume_becomes_a_float(volume: float) -> None:
    checked = checked_volume(volume)
    assert checked == volume
    assert type(checked) is float


@pytest.mark.parametrize("volume", [-1e-9, math.nan, math.inf, "0.5", None, False, Fraction(1, 2), 1j])
def test_what_is_no_volume_is_a_value_error(volume: object) -> None:
    with pytest.raises(ValueError, match="volume must be"):
        checked_volume(volume)


@pytest.mark.parametrize("on_gap", ["continue", "skip"])
def test_a_word_for_a_gap_is_kept(on_gap: str) -> None:
    assert checked_gap(on_gap) == on_gap


@pytest.mark.parametrize("on_gap", ["SKIP", "stop", "", None, True, ["skip"]])
def test_another_word_for_a_gap_is_a_value_error(on_gap: object) -> None:
    with pytest.raises(ValueError, match="on_gap must be 'continue' or 'skip'; it is "):
        checked_gap(on_gap)


@asyncio_test
async def test_the_newest_playback_is_the_current_one() -> None:
    player, _ = make()
    assert player.current is None
    first, second = player.begin(AudioFile("a.mp3")), player.begin(AudioFile("b.mp3"))
    assert player.current is second
    player.on_track_ended(_ended(second.ident))
    assert player.current is first
    player.on_track_ended(_ended(first.ident))
    assert player.current is None
    player.on_track_ended(_ended(first.ident))
    for playback in (first, second):
        await player.run(playback)


@asyncio_test
async def test_the_position_is_that_of_the_current_playback() -> None:
    player, _ = make()
    assert player.position_s == 0.0
    playback = player.begin(AudioFile("a.mp3"))
    player.on_stats(CallStats(call=CALL, playback=PlaybackId("older"), position_frames=500))
    assert player.position_s == 0.0
    player.on_stats(CallStats(call=CALL, playback=playback.ident, position_frames=150))
    assert player.position_s == 3.0
    player.end_all(None)
    assert player.position_s == 0.0
    await player.run(playback)


@asyncio_test
async def test_the_end_of_the_call_ends_all_with_an_error_each() -> None:
    player, _ = make()
    playbacks = [player.begin(AudioFile(name)) for name in ("a.mp3", "b.mp3")]
    player.end_all(WorkerLostError("gone"))
    errors = []
    for playback in playbacks:
        with pytest.raises(WorkerLostError, match="gone") as caught:
            await player.run(playback)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    await player.wait_for_stopped()
    with pytest.raises(CallGoneError, match="guild 1"):
        player.begin(AudioFile("c.mp3"))


@asyncio_test
async def test_without_a_link_nothing_can_begin() -> None:
    player = Player(CALL, PoolConfig(), place="guild 1", spawn=spawn)
    with pytest.raises(CallGoneError):
        player.begin(AudioFile("a.mp3"))
    assert player.current is None


@asyncio_test
async def test_a_stop_ends_well_if_the_call_ends_first() -> None:
    player, link = make()
    playback = player.begin(AudioFile("a.mp3"))
    stopping = asyncio.create_task(player.stop())
    await asyncio.sleep(0)
    error = WorkerLostError("gone")
    link.lose(error)
    player.end_all(error)
    await stopping
    with pytest.raises(WorkerLostError):
        await player.run(playback)


@asyncio_test
async def test_a_stop_that_failed_is_told_while_something_still_plays() -> None:
    player, link = make()
    playback = player.begin(AudioFile("a.mp3"))
    stopping = asyncio.create_task(player.stop())
    await asyncio.sleep(0)
    link.lose(WorkerLostError("gone"))
    with pytest.raises(WorkerLostError):
        await stopping
    assert player.current is playback
    player.end_all(None)
    await player.run(playback)


def _ended(ident: PlaybackId) -> TrackEnded:
    return TrackEnded(call=CALL, playback=ident, reason=EndReason.FINISHED, frames_sent=1)
