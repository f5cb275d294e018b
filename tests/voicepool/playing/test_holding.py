"""What is held, and what releases it: the bot and the worker agree, whatever crosses on the way."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from tests.fakes.model_worker import INFO, NOT_FOUND, ModelWorker
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.playback import EndReason, Playback, TrackState
from voicepool._process.link import Link, Request
from voicepool.ipc.commands import Pause, Play, Resume, TrackRole
from voicepool.ipc.events import TrackReady
from voicepool.player import Adopted
from voicepool.source import AudioFile, Silence

SONG, OTHER = AudioFile("/music/a.flac"), AudioFile("/music/b.flac")
EFFECT = AudioFile("/music/effect.flac")


async def holding() -> tuple[StageOfOne, Playback, Playback]:
    """A main track and an overlay, both held."""
    stage = StageOfOne()
    song = stage.player.begin(SONG)
    effect = stage.player.begin(EFFECT, role=TrackRole.OVERLAY)
    await stage.settle()
    stage.player.pause()
    await stage.settle()
    return stage, song, effect


async def end(stage: StageOfOne) -> None:
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_new_main_track_releases_what_is_held_once_it_is_ready() -> None:
    stage, _, effect = await holding()
    newer = stage.player.begin(OTHER)
    assert not stage.player.roster.held, "what is to be heard next is not held"
    assert effect.state is TrackState.PAUSED, "but what plays is, until then"
    await stage.settle()
    assert not stage.player.roster.holds
    assert not stage.worker.paused
    assert {effect.state, newer.state} == {TrackState.PLAYING}
    await end(stage)


@asyncio_test
async def test_all_stays_held_if_nothing_comes_of_the_new_main_track() -> None:
    stage, song, effect = await holding()
    newer = stage.player.begin(OTHER)
    await stage.settle(opens=False)
    stage.worker.open_one(newer.ident, error=NOT_FOUND)
    await stage.settle()
    assert newer.reason is EndReason.FAILED
    assert stage.worker.paused
    assert stage.player.roster.held
    assert {song.state, effect.state} == {TrackState.PAUSED}
    stage.player.resume()
    await stage.settle()
    assert not stage.worker.paused
    assert {song.state, effect.state} == {TrackState.PLAYING}
    await end(stage)


@asyncio_test
async def test_all_stays_held_if_the_new_main_track_is_cancelled_just_as_it_is_ready() -> None:
    stage, _, effect = await holding()
    newer = stage.player.begin(OTHER)
    await stage.settle(opens=False)
    stage.worker.open_one(newer.ident)
    assert not stage.worker.paused
    stage.player.cancel(newer)
    await stage.settle()
    assert stage.worker.there == {effect.ident}
    assert stage.player.roster.held
    assert stage.worker.paused
    assert effect.state is TrackState.PAUSED
    await end(stage)


@asyncio_test
async def test_a_cancelled_track_that_was_alone_leaves_nothing_to_hold() -> None:
    stage = StageOfOne()
    song = stage.player.begin(SONG)
    await stage.settle()
    stage.player.pause()
    stage.player.cancel(song)
    await stage.settle()
    assert not stage.player.roster.held
    assert sum(isinstance(command, Pause) for command in stage.worker.read) == 1
    stage.player.begin(OTHER, role=TrackRole.OVERLAY)
    await stage.settle()
    assert not stage.player.roster.held
    await end(stage)


@asyncio_test
async def test_an_overlay_that_begins_while_a_main_track_opens_is_held_until_that_is_ready() -> None:
    stage, _, _ = await holding()
    newer = stage.player.begin(OTHER)
    late = stage.player.begin(Silence(), role=TrackRole.OVERLAY)
    assert late.paused
    await stage.settle(opens=False)
    stage.worker.open_one(newer.ident, error=NOT_FOUND)
    await stage.settle()
    assert stage.player.roster.held
    assert late.paused
    await end(stage)


@asyncio_test
async def test_a_pause_that_crosses_the_start_of_a_main_track_counts() -> None:
    stage, _, _ = await holding()
    newer = stage.player.begin(OTHER)
    await stage.settle(opens=False)
    stage.worker.open_one(newer.ident)
    stage.player.pause()
    assert stage.player.roster.held
    await stage.settle()
    assert stage.worker.paused
    assert stage.player.roster.held
    assert newer.state is TrackState.PAUSED
    await end(stage)


@asyncio_test
async def test_a_start_from_before_a_pause_releases_nothing_for_a_newer_main_track() -> None:
    stage = StageOfOne()
    song = stage.player.begin(SONG)
    while stage.worker.inbox:
        stage.worker.read_one()
    stage.worker.open_one(song.ident)
    stage.player.pause()
    newer = stage.player.begin(OTHER)
    await stage.settle(opens=False)
    assert stage.worker.paused
    assert song.state is TrackState.PAUSED
    stage.worker.open_one(newer.ident, error=NOT_FOUND)
    await stage.settle()
    assert stage.player.roster.held
    assert stage.worker.paused
    await end(stage)


@asyncio_test
async def test_another_worker_holds_what_was_held_though_a_main_track_was_about_to_release_it() -> None:
    stage, song, effect = await holding()
    newer = stage.player.begin(OTHER)
    stage.lose()
    stage.player.cancel(newer)
    stage.go_on()
    await stage.settle()
    assert stage.worker.there == {song.ident, effect.ident}
    assert stage.worker.paused
    assert stage.player.roster.held
    await end(stage)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_whatever_crosses_both_sides_hold_the_same_in_the_end(first: int) -> None:
    for seed in range(first, first + 20):
        asyncio_test(_chaos)(seed)


async def _chaos(seed: int) -> None:  # noqa: C901, PLR0912 - one wish each
    chance = random.Random(seed)
    stage = StageOfOne()
    player = stage.player
    stopping: list[asyncio.Task[None]] = []
    away = False
    for _ in range(60):
        playbacks = player.roster.playbacks
        match chance.randrange(10):
            case 0 | 1:
                player.begin(SONG)
            case 2 | 3:
                player.begin(EFFECT, role=TrackRole.OVERLAY)
            case 4 | 5:
                player.pause()
            case 6:
                player.resume()
            case 7 if playbacks:
                player.cancel(chance.choice(playbacks))
            case 8 if playbacks:
                stopping.append(asyncio.create_task(player.stop_one(chance.choice(playbacks))))
            case 9 if chance.random() < 0.3:
                stage.go_on() if away else stage.lose()
                away = not away
            case _:
                pass
        for _ in range(chance.randrange(5)):
            await (asyncio.sleep(0) if away else _step(stage, chance))
    if away:
        stage.go_on()
    await stage.settle()
    await asyncio.gather(*stopping)
    await stage.settle()
    roster = player.roster
    assert stage.worker.there == {each.ident for each in roster.playbacks}, seed
    if roster.playbacks:
        assert (roster.held, roster.holds) == (stage.worker.paused,) * 2, seed
        assert {each.paused for each in roster.playbacks} == {stage.worker.paused}, seed
    else:
        assert not roster.held
    await end(stage)


async def _step(stage: StageOfOne, chance: random.Random) -> None:
    worker: Any = stage.worker
    match chance.randrange(4):
        case 0 if worker.openings:
            ident = chance.choice(sorted(worker.openings))
            worker.open_one(ident, error=NOT_FOUND if chance.random() < 0.2 else None)
        case 1 if worker.main is not None and not worker.paused:
            worker.end_main()
        case 2 if worker.outbox:
            await stage.hand_over()
        case _ if worker.inbox:
            worker.read_one()
        case _:
            await asyncio.sleep(0)


@asyncio_test
async def test_a_worker_that_had_the_new_main_track_ready_before_it_took_over_holds_nothing() -> None:
    stage = StageOfOne()
    effect = stage.player.begin(EFFECT, role=TrackRole.OVERLAY)
    await stage.settle()
    stage.player.pause()
    newer = stage.player.begin(OTHER)
    plays = {each.playback.ident: each.command for each in stage.player.snapshot().plays}
    stage.player.depart()
    worker = stage.worker = ModelWorker()
    link = stage._link_to(worker)
    adopted = {
        ident: Adopted(_request(link, command), INFO, command)
        for ident, command in plays.items()
        if ident in {effect.ident, newer.ident}
    }
    worker.inbox.clear()
    stage.player.go_on(link, adopted)
    held = [type(command) for command in worker.inbox if isinstance(command, Pause | Resume)]
    assert held == [Resume]
    assert not stage.player.roster.holds
    assert not effect.paused
    await end(stage)


def _request(link: Link, command: Play) -> Request[TrackReady]:
    return link.request(
        lambda number: msgspec.structs.replace(command, request=number), TrackReady, timeout_s=None
    )
