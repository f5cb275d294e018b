"""Playbacks as the bot sees them, over a model of the worker; with a real wire in ``test_playing.py``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import CALL, StageOfOne
from voicepool._playing.identity import identify
from voicepool._playing.playback import EndReason
from voicepool._playing.waiting import until_over, until_ready
from voicepool._process.link import Link
from voicepool.errors import (
    CallGoneError,
    ConnectError,
    ResolverError,
    SupersededError,
    WorkerLostError,
)
from voicepool.events import TrackEnded
from voicepool.ipc import events as wire
from voicepool.ipc.commands import Encoding, Resume, SetEncoding, Stop, TrackRole
from voicepool.ipc.ids import PlaybackId, WorkerId
from voicepool.resolver import Resolved
from voicepool.source import AudioFile, Silence
from voicepool.station import Station

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


# What is found out only when it is played.


@asyncio_test
async def test_what_a_resolver_finds_is_played() -> None:
    stage = StageOfOne()
    found = asyncio.Event()

    async def resolver(query: str) -> str:
        await found.wait()
        return f"/music/{query}.flac"

    playback = stage.player.begin(Resolved("a", resolver))
    await stage.turn()
    assert not stage.worker.inbox
    found.set()
    await stage.settle()
    assert playback.source == SONG
    assert stage.worker.main is not None
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_resolver_that_fails_ends_the_track() -> None:
    stage = StageOfOne()

    async def resolver(query: str) -> None:
        return None

    playback = stage.player.begin(Resolved("a", resolver))
    with pytest.raises(ResolverError):
        await until_ready(stage.player, playback)
    assert playback.reason is EndReason.FAILED
    assert not stage.worker.inbox


@pytest.mark.parametrize("how", ["stop", "stop_one", "cancel", "another"])
def test_what_is_still_being_found_out_can_be_ended(how: str) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        cancelled = asyncio.Event()

        async def resolver(query: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        playback = stage.player.begin(Resolved("a", resolver))
        waiting = asyncio.create_task(until_ready(stage.player, playback))
        await stage.turn()
        if how == "stop":
            await stage.player.stop()
        elif how == "stop_one":
            await stage.player.stop_one(playback)
        elif how == "cancel":
            stage.player.cancel(playback)
        else:
            stage.player.begin(OTHER)
        await cancelled.wait()
        with pytest.raises(SupersededError):
            await waiting
        await stage.settle()
        assert (stage.worker.main is not None) == (how == "another")
        assert Stop not in {type(command) for command in stage.worker.read}
        stage.player.end_all(None)
        await stage.turn()

    run()


# The end.


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerLostError("gone"), EndReason.WORKER_LOST),
        (ConnectError("kicked"), EndReason.FAILED),
        (None, EndReason.STOPPED),
    ],
)
def test_the_end_of_the_call_ends_all(error: Any, reason: EndReason) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        playbacks = [stage.player.begin(SONG), stage.player.begin(Silence(), role=TrackRole.OVERLAY)]
        stage.player.end_all(error)
        errors = []
        for playback in playbacks:
            assert playback.reason is reason
            if error is None:
                await until_over(stage.player, playback)
                continue
            with pytest.raises(type(error), match=str(error)) as caught:
                await until_over(stage.player, playback)
            errors.append(caught.value)
        assert len(set(map(id, errors))) == len(errors), "one object each, for one traceback each"
        assert [event.reason for event in stage.told_of(TrackEnded)] == [reason, reason]
        assert stage.player.roster.silent.is_set()
        with pytest.raises(CallGoneError):
            stage.player.begin(SONG)
        await stage.turn()
        assert stage.tasks == set()

    run()


@asyncio_test
async def test_a_stop_ends_well_if_the_call_ends_first() -> None:
    stage = StageOfOne(command_timeout_s=0.01)
    playback = stage.player.begin(SONG)
    stopping = asyncio.create_task(stage.player.stop())
    await asyncio.sleep(0)
    stage.player.end_all(WorkerLostError("gone"))
    await stopping
    with pytest.raises(WorkerLostError):
        await until_over(stage.player, playback)


@asyncio_test
async def test_a_stop_that_fades_returns_when_all_is_silent() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.settle()
    stopping = asyncio.create_task(stage.player.stop(2.0))
    await stage.turn()
    stop = stage.worker.inbox.popleft()
    assert isinstance(stop, Stop)
    assert (stop.fade_out_s, stop.playback) == (2.0, None)
    stage.worker.say(wire.Done(request=stop.request))
    await stage.settle()
    assert not stopping.done()
    stage.worker.end_main(wire.EndReason.STOPPED)
    await stage.settle()
    await stopping
    assert playback.reason is EndReason.STOPPED


@asyncio_test
async def test_the_encoding_goes_to_the_worker_there_is() -> None:
    stage = StageOfOne()
    stage.player.set_encoding(Encoding(mono=True))
    assert list(stage.worker.inbox) == [SetEncoding(call=CALL, encoding=Encoding(mono=True))]
    stage.player.end_all(None)
    stage.player.set_encoding(Encoding())
    assert len(stage.worker.inbox) == 1


@asyncio_test
async def test_resuming_what_is_not_there_says_nothing() -> None:
    stage = StageOfOne()
    stage.player.resume()
    stage.player.pause()
    assert not stage.worker.inbox
    assert Resume not in {type(command) for command in stage.worker.inbox}


# What is told to those who find out what workers die of.


@pytest.mark.parametrize(
    ("how", "acquitted"),
    [("heard long", True), ("heard for a while", False), ("finished", True), ("stopped", False)],
)
def test_what_has_gone_well_is_known(how: str, *, acquitted: bool) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        suspicion = stage.player._suspicion
        song = identify(*SONG.to_wire())
        for worker in (WorkerId("w8.1"), WorkerId("w9.1")):
            suspicion.on_sent(
                PlaybackId("elsewhere"), song, worker=worker, label="", is_shared=False, now=stage.clock()
            )
            if worker == "w9.1":
                playback = stage.player.begin(SONG)
                await stage.settle()
                stage.report((playback.ident, 1.0), heard_s=1.0)
                stage.report((playback.ident, 62.0), heard_s=62.0 if how == "heard long" else 60.0)
                if how == "finished":
                    stage.worker.end_main()
                    await stage.settle()
                else:
                    await asyncio.gather(stage.player.stop(), stage.settle())
            suspicion.on_death(worker, stage.clock())
        assert (song not in suspicion.convicted) == acquitted
        await stage.turn()

    run()


@asyncio_test
async def test_a_station_is_told_from_what_each_call_opens_for_itself() -> None:
    stage = StageOfOne()
    for source in (Station("radio", SONG), SONG, Silence(), AudioFile(b"RIFF")):
        stage.player.begin(source, role=TrackRole.OVERLAY)
    known = stage.player._suspicion._held.values()
    assert [(held.label, held.is_shared, held.worker) for held in known] == [
        ("station 'radio' (/music/a.flac)", True, "w0.1"),
        ("/music/a.flac", False, "w0.1"),
        ("4 bytes", False, "w0.1"),
    ]
    stage.player.end_all(None)
    assert not known
    await stage.turn()


@asyncio_test
async def test_what_waits_for_its_turn_is_not_being_opened_any_more() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    stage.player.begin(OTHER, role=TrackRole.NEXT)
    held = stage.player._suspicion._held
    assert [each.opening for each in held.values()] == [False, True]
    await stage.settle()
    assert [each.opening for each in held.values()] == [False, False]
    stage.player.end_all(None)
    await stage.turn()


@pytest.mark.parametrize("seeks", [True, False])
def test_what_is_sought_is_known(*, seeks: bool) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        for number in range(2):
            stage.link = Link(stage.worker, worker=WorkerId(f"w0.{number}"))  # type: ignore[arg-type]
            stage.link.listen(CALL, stage.player)  # type: ignore[arg-type]
            stage.player.use(stage.link)
            playback = stage.player.begin(SONG)
            await stage.settle()
            stage.clock.advance(60)
            stage.player.begin(OTHER, role=TrackRole.OVERLAY)
            await stage.settle()
            stage.clock.advance(4)
            if seeks:
                track = stage.player.roster.track_of(playback)
                await asyncio.gather(track.seek(10), stage.settle())
            stage.player._suspicion.on_death(WorkerId(f"w0.{number}"), stage.clock())
            await asyncio.gather(stage.player.stop(), stage.settle())
        labels = set(stage.player._suspicion.convicted.values())
        assert labels == ({SONG.label, OTHER.label} if seeks else {OTHER.label})
        await stage.turn()

    run()
