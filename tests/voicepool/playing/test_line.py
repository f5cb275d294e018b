"""What the worker is told; streams that the bot writes are let go where they cannot be played."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import CALL, StageOfOne
from voicepool._playing.options import checked_options
from voicepool._playing.playback import EndReason
from voicepool.config import PoolConfig
from voicepool.errors import (
    CallGoneError,
)
from voicepool.ipc.commands import StreamAudio, TrackRole
from voicepool.ipc.events import StreamCredit
from voicepool.player import Player
from voicepool.resolver import WorkerResolver
from voicepool.source import AudioFile, AudioSource
from voicepool.streams import PcmStream, StreamClosedError

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


@asyncio_test
async def test_the_command_says_how() -> None:
    stage = StageOfOne()
    stage.player.set_volume(0.25)
    settings = checked_options({"volume": 0.5, "crossfade_s": 2, "on_gap": "skip"})
    stage.player.begin(SONG, settings, role=TrackRole.OVERLAY, duck_db=-9.0)
    [play] = stage.worker.inbox
    assert (
        play.volume,
        play.options,
        play.crossfade_s,
        play.on_gap,
        play.duck_db,
        play.role,
        play.paused,
    ) == (
        0.25,
        settings.track,
        2.0,
        "skip",
        -9.0,
        TrackRole.OVERLAY,
        False,
    )
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_pushed_stream_is_sent_against_credit_and_let_go_at_the_end() -> None:
    stage = StageOfOne()
    stream = PcmStream()
    playback = stage.player.begin(stream)
    await stage.settle()
    writing = asyncio.create_task(stream.write(bytes(960 * 4)))
    await stage.turn()
    assert not stage.worker.inbox
    ident = stream.to_wire()[0].stream
    stage.worker.say(StreamCredit(call=CALL, stream=ident, credit_ms=1_000))
    await stage.settle()
    await writing
    audio = [command for command in stage.worker.read if isinstance(command, StreamAudio)]
    assert {(each.call, each.stream) for each in audio} == {(CALL, ident)}
    stage.worker.end_main()
    await stage.settle()
    assert playback.reason is EndReason.FINISHED
    with pytest.raises(StreamClosedError):
        await stream.write(bytes(960 * 4))


@asyncio_test
async def test_a_stream_that_was_played_is_refused_and_the_first_goes_on() -> None:
    stage = StageOfOne()
    stream = PcmStream()
    first = stage.player.begin(stream)
    with pytest.raises(StreamClosedError, match="played before"):
        stage.player.begin(stream)
    await stage.settle()
    assert stage.player.roster.playbacks == (first,)
    again = stage.player.begin(stream, queued=True)
    await stage.settle()
    assert again.reason is EndReason.FAILED
    assert not stream.closed
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_without_a_link_nothing_can_begin() -> None:
    stage = StageOfOne()
    player = Player(CALL, PoolConfig(), place="guild 1", spawn=stage.spawn)
    with pytest.raises(CallGoneError, match="guild 1"):
        player.begin(SONG)
    assert player.roster.main is None


@pytest.mark.parametrize(
    ("source", "limit_s"),
    [
        (SONG, 10.0 + 10.0 + 5.0),
        (WorkerResolver("bot.library:find")("song"), 10.0 + 10.0 + 10.0 + 5.0),
        (PcmStream, None),
    ],
)
def test_a_worker_has_as_long_as_its_own_limits_allow(
    source: AudioSource | type[PcmStream], limit_s: float | None
) -> None:
    @asyncio_test
    async def scenario() -> None:
        stage = StageOfOne()
        playback = stage.player.begin(source if isinstance(source, AudioSource) else source())
        assert playback.request is not None
        assert playback.request.timeout_s == limit_s
        stage.player.end_all(None)
        await stage.turn()

    scenario()
