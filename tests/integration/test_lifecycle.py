"""Calls that stay up: what a listener hears when the voice server hangs up, crashes or forgets us."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import World, assert_nothing_lost, world
from tests.workers.audio.media_files import encode
from voicepool import ClosedByServerError, Interrupted, Restored, ServerWanted

SONG_S = 2.0
FRAMES = 100


@asyncio_test
async def test_a_lost_websocket_is_resumed_without_a_frame_lost() -> None:
    async with world() as here:
        await asyncio.gather(
            *(lose_websocket(here, guild, code) for guild, code in ((100, None), (200, 1001), (300, 4015)))
        )


async def lose_websocket(here: World, guild: int, code: int | None) -> None:
    voice = await here.join(guild)
    heard: list[Any] = []
    voice.listen(heard.append, Interrupted, Restored)
    session = here.session(guild)
    playing = voice.play_no_wait(encode("flac", "flac", seconds=SONG_S))
    await session.wait_for_packets(20)
    if code is None:
        session.abort()
    else:
        await session.close(code)
    await playing
    assert here.session(guild) is session
    report = session.report()
    assert (report.frames, report.resumes, report.dave_failures) == (FRAMES, 1, 0), code
    assert_nothing_lost(session)
    interrupted, restored = heard
    assert isinstance(interrupted, Interrupted)
    assert restored == Restored(gap_ms=0.0, resumed=True)
    assert (voice.connected, voice.interrupted) == (True, False)


@asyncio_test
async def test_a_session_that_is_void_goes_on_with_new_credentials() -> None:
    async with world() as here:
        voice = await here.join()
        rejoined: list[asyncio.Task[None]] = []

        def rejoin(event: object) -> None:
            if isinstance(event, ServerWanted) and event.rejoin:
                rejoined.append(asyncio.create_task(voice.connect(here.credentials(100))))

        voice.listen(rejoin)
        before = here.session()
        playing = voice.play_no_wait(encode("flac", "flac", seconds=SONG_S))
        await before.wait_for_packets(20)
        await before.close(4006)
        await playing
        after = here.session()
        assert after is not before
        assert len(rejoined) == 1
        await rejoined[0]
        assert before.report().frames + after.report().frames == FRAMES
        assert_nothing_lost(after)


@asyncio_test
async def test_a_server_that_does_not_have_us_back_gets_a_new_session() -> None:
    async with world(connect_timeout_s=1.0) as here:
        voice = await here.join()
        heard: list[Any] = []
        voice.listen(heard.append)
        before = here.session()
        playing = voice.play_no_wait(encode("flac", "flac", seconds=SONG_S))
        await before.wait_for_packets(20)
        here.server.mute_step("resumed")
        before.abort()
        await playing
        after = here.session()
        assert after is not before
        assert before.report().frames + after.report().frames == FRAMES
        (restored,) = (event for event in heard if isinstance(event, Restored))
        assert not restored.resumed
        assert_nothing_lost(after)


@asyncio_test
async def test_nobody_answers_a_void_session() -> None:
    async with world(removal_grace_s=0.5) as here:
        voice = await here.join()
        playing = voice.play_no_wait(encode("flac", "flac", seconds=60.0))
        await here.session().wait_for_packets(5)
        await here.session().close(4014)
        with pytest.raises(ClosedByServerError, match="4014"):
            await playing
        assert not voice.connected
