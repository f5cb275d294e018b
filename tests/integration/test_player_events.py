"""What a bot is told while it plays, and what it knows of it: events in order, titles, positions, moves."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import AMPLITUDE, FRAME_S, Hearing, News, tone_wav
from tests.integration.player_site import icy_answer
from tests.workers.audio.media_files import encode
from tests.workers.audio.raw_server import answering
from voicepool import (
    AudioFile,
    Closed,
    Connected,
    EndReason,
    QueueEmpty,
    TrackChanged,
    TrackEnded,
    TrackPosition,
    TrackStarted,
    TrackState,
)

HEARD_SOON_S = 0.1


@asyncio_test
async def test_the_events_of_plays_come_in_order() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        first = await voice.start(tone_wav(400, 20.0))
        await here.session().wait_for_packets(5)
        second = await voice.start(tone_wav(500, 0.3))
        assert await first.wait() is EndReason.REPLACED
        assert await second.wait() is EndReason.FINISHED
        third = await voice.start(tone_wav(600, 20.0))
        await news.wait_for(TrackStarted, 3)
        await voice.stop()
        voice.queue.add(tone_wav(700, 0.2))
        await news.wait_for(QueueEmpty)
        fourth = news.of(TrackEnded)[-1].track
        told = [
            (type(event), event.track, getattr(event, "reason", None))
            for event in news.all
            if isinstance(event, TrackStarted | TrackEnded)
        ]
        starts = [(TrackStarted, track, None) for track in (first, second, third, fourth)]
        reasons = (EndReason.REPLACED, EndReason.FINISHED, EndReason.STOPPED, EndReason.FINISHED)
        ends = [
            (TrackEnded, track, reason)
            for track, reason in zip((first, second, third, fourth), reasons, strict=True)
        ]
        assert sorted(told, key=told.index) == told
        assert [one for one in told if one[0] is TrackStarted] == starts
        assert [one for one in told if one[0] is TrackEnded] == ends
        for start, end in zip(starts, ends, strict=True):
            assert told.index(start) < told.index(end)
        assert isinstance(news.all[-1], QueueEmpty)
        assert third.state is TrackState.OVER
        await voice.disconnect()
        assert isinstance(news.all[-1], Closed)


@asyncio_test
async def test_the_position_is_what_was_heard() -> None:
    async with world(stats_interval_s=0.15) as here:
        voice = await here.join()
        session = here.session()
        news = News(voice)
        track = await voice.start(tone_wav(400, 20.0), start_s=3.0)
        off_s = []

        def compare(packets: int) -> None:
            off_s.append(track.position_s - 3.0 - packets * FRAME_S)

        for packets in (5, 20, 40):
            await session.wait_for_packets(packets)
            compare(session.media.frames)
        assert max(map(abs, off_s)) < HEARD_SOON_S
        ticks = [event.position_s for event in news.of(TrackPosition)]
        assert len(ticks) >= 3
        assert ticks == sorted(ticks)
        voice.pause()
        await session.wait_until(lambda it: it.report().silence_frames == 5)
        held_s, frames = track.position_s, session.media.frames
        assert held_s == pytest.approx(3.0 + frames * FRAME_S, abs=HEARD_SOON_S)
        await news.wait_for(TrackPosition, len(ticks) + 3)
        assert track.position_s == pytest.approx(held_s, abs=0.05)
        voice.resume()
        await session.wait_until(lambda it: it.media.frames >= frames + 12)
        assert track.position_s == pytest.approx(3.0 + session.media.frames * FRAME_S, abs=HEARD_SOON_S)
        # Twice as fast, twice as far.
        await track.set(speed=2.0)
        frames, before_s = session.media.frames, track.position_s
        await session.wait_until(lambda it: it.media.frames >= frames + 20)
        gone_s = track.position_s - before_s
        assert gone_s == pytest.approx(2 * (session.media.frames - frames) * FRAME_S, abs=2 * HEARD_SOON_S)
        await voice.stop()
        assert_nothing_lost(session)


@asyncio_test
async def test_the_titles_of_a_station_are_told_when_they_are_heard() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=2.0)
    titles = ["First - One", "Second - Two"]
    with answering(lambda _: icy_answer(song, titles, interval_bytes=len(song) // 2 - 500)) as script:
        async with world(stats_interval_s=0.1) as here:
            voice = await here.join()
            news = News(voice)
            track = await voice.start(AudioFile(script.url(), live=True))
            changed = await news.wait_for(TrackChanged, where=lambda event: event.title == "One")
            assert (changed.track, changed.artist) == (track, "First")
            assert (track.info.title, track.info.artist) == ("One", "First")
            heard_s = here.session().media.frames * FRAME_S
            changed = await news.wait_for(TrackChanged, where=lambda event: event.title == "Two")
            assert (changed.artist, track.info.title) == ("Second", "Two")
            # About half of 2 s later.
            assert here.session().media.frames * FRAME_S > heard_s + 0.5
            await voice.stop()
            assert script.requests[0].lower().count("icy-metadata: 1") == 1


@asyncio_test
async def test_what_plays_goes_on_after_a_move_to_another_server() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        before = here.session()
        track = await voice.start(tone_wav(400, 20.0), volume=0.5, filters="volume=0.5")
        voice.queue.add(tone_wav(500, 0.3))
        await before.wait_for_packets(30)
        await voice.connect(here.credentials(100))
        after = here.session()
        assert after is not before
        await after.wait_until(lambda it: it.media.frames >= 20)
        frames = before.media.frames + after.media.frames
        assert track.position_s == pytest.approx(frames * FRAME_S, abs=HEARD_SOON_S)
        assert (track.volume, track.filters, len(voice.queue)) == (0.5, "volume=0.5", 1)
        assert np.median(Hearing(after).levels(400)[5:]) == pytest.approx(AMPLITUDE / 4, rel=0.1)
        assert news.of(TrackEnded) == []
        assert len(news.of(Connected)) == 1
        # What the queue holds is still there, and comes when the track is over.
        await track.stop()
        await news.wait_for(QueueEmpty)
        assert Hearing(after).count(500) == pytest.approx(15, abs=1)
        assert_nothing_lost(after)


@asyncio_test
async def test_the_first_frames_on_another_server_are_as_loud_as_the_rest() -> None:
    quiet = 0.01
    async with world() as here:
        voice = await here.join()
        await voice.start(tone_wav(400, 20.0, amplitude=quiet))
        await here.session().wait_for_packets(20)
        await voice.connect(here.credentials(100))
        after = here.session()
        await after.wait_until(lambda it: it.media.frames >= 15)
        # A new stream is heard by a new decoder.
        assert max(Hearing(after).levels(400)) < 1.1 * quiet


@asyncio_test
async def test_all_that_waits_for_a_track_learns_of_its_end_once() -> None:
    async with world() as here:
        voice = await here.join()
        task = voice.play_no_wait(tone_wav(400, 20.0))
        await here.session().wait_for_packets(5)
        track = voice.track
        assert track is not None
        waiting = [asyncio.ensure_future(track.wait()) for _ in range(3)]
        stops = [asyncio.ensure_future(voice.stop()) for _ in range(3)]
        await asyncio.gather(task, *stops)
        assert await asyncio.gather(*waiting) == [EndReason.STOPPED] * 3
        await voice.wait_for_stopped()
        assert (voice.track, voice.tracks, voice.position_s) == (None, (), 0.0)
