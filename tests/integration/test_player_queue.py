"""Queues through a real worker: joined without a gap or faded over, bounded, and flat in memory."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest

import voicepool
from tests.fakes.pool import connected
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import AMPLITUDE, Hearing, News, middle, tone, tone_wav
from tests.workers.audio.media_files import opus, wav
from tests.workers.hand_studio import HandPlayer, play_command
from voicepool import EndReason, QueueEmpty, QueueFullError, TrackEnded, TrackStarted
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import TrackEnded as WireTrackEnded
from voicepool.ipc.events import TrackStarted as WireTrackStarted

SHORT_SOUNDS = 10_000


@asyncio_test
async def test_three_tracks_of_a_queue_are_one_sound() -> None:
    # Cut where no frame ends.
    whole = np.round(tone(450, 1.2) * 32_767).astype(np.int16)
    parts = np.split(np.repeat(whole[:, np.newaxis], 2, axis=1), [17_321, 40_007])
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        voice.queue.add(*(wav(part) for part in parts))
        await news.wait_for(QueueEmpty)
        heard = Hearing(here.session())
        heard.assert_no_gap()
        assert len(heard.audio) in {60, 61}
        assert min(heard.levels(450)[2:58]) > 0.95 * AMPLITUDE
        assert [event.reason for event in news.of(TrackEnded)] == [EndReason.FINISHED] * 3
        assert_nothing_lost(here.session())


@asyncio_test
async def test_opus_files_of_a_queue_pass_through_without_a_frame_between() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        songs = [opus(seconds=0.3, layout="mono"), opus(seconds=0.4), opus(seconds=0.3, layout="mono")]
        voice.queue.add(*songs)
        await news.wait_for(QueueEmpty)
        heard = Hearing(here.session())
        heard.assert_no_gap()
        assert len(heard.audio) == sum(round(seconds * 50) + 1 for seconds in (0.3, 0.4, 0.3))
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_crossfade_has_both_and_is_as_long() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        voice.queue.crossfade_s = 0.6
        voice.queue.add(tone_wav(400, 1.0), tone_wav(1_000, 1.0))
        await news.wait_for(QueueEmpty)
        heard = Hearing(here.session())
        heard.assert_no_gap()
        assert len(heard.audio) == pytest.approx(70, abs=1)
        old, new = heard.levels(400), heard.levels(1_000)
        both = [min(pair) for pair in zip(old, new, strict=True)]
        assert sum(level > 0.02 for level in both) == pytest.approx(30, abs=5)
        assert middle(old[:20]) == pytest.approx(AMPLITUDE, rel=0.05)
        assert middle(new[-25:-5]) == pytest.approx(AMPLITUDE, rel=0.05)
        # In the middle of an equal-power crossfade both are 3 dB down.
        assert 0.45 * AMPLITUDE < max(both) < 0.75 * AMPLITUDE
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_hundred_short_sounds_are_all_heard() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        voice.queue.add(*(tone_wav(400, 0.02) for _ in range(100)))
        await news.wait_for(QueueEmpty)
        assert len(news.of(TrackStarted)) == 100
        assert [event.reason for event in news.of(TrackEnded)] == [EndReason.FINISHED] * 100
        report = here.session().report()
        assert report.frames == 100
        worker = (await here.pool.refresh_stats()).workers[0]
        assert worker.rss_bytes < 300 << 20
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_full_queue_says_so_and_takes_nothing_of_what_is_too_much() -> None:
    async with world() as here:
        voice = await here.join()
        voice.queue.add(voicepool.Silence())
        song = voicepool.AudioFile("/music/song.opus")
        voice.queue.add(*[song] * 10_000)
        for too_many in (1, 1_000):
            with pytest.raises(QueueFullError, match="10000"):
                voice.queue.add(*[song] * too_many)
            with pytest.raises(QueueFullError, match="10000"):
                voice.queue.insert(0, song)
        assert len(voice.queue) == 10_000
        voice.queue.shuffle()
        voice.queue.clear()
        assert len(voice.queue) == 0
        assert voice.playing
        await voice.stop()


@asyncio_test
async def test_a_million_are_refused_before_any_is_looked_at() -> None:
    async with connected() as (voice, _, _):
        song = voicepool.AudioFile("/music/song.opus")
        looked_at = 0

        def count(*_: object) -> None:
            nonlocal looked_at
            looked_at += 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(voicepool.QueuedTrack, "__init__", count)
            with pytest.raises(QueueFullError):
                voice.queue.add(*[song] * 1_000_000)
        assert looked_at <= 10_001
        assert len(voice.queue) == 0


@asyncio_test
async def test_a_follower_that_comes_right_after_a_joint_does_not_replace_what_is_heard() -> None:
    bench = HandPlayer()
    await bench.play("a", 2)
    await bench.follow("b", 2)
    await bench.tick(2)
    # The first frame of b is the next to leave.
    await bench.follow("c", 2)
    sent = await bench.tick(12)
    assert sent[:4] == ["b 0", "b 1", "c 0", "c 1"]
    await bench.close()
    assert bench.started == ["a", "b", "c"]
    assert bench.ended == [("a", "finished", 2), ("b", "finished", 2), ("c", "finished", 2)]


@asyncio_test
async def test_ten_thousand_short_sounds_leave_nothing_in_the_worker() -> None:
    bench = HandPlayer()
    await bench.play("0", 1)
    sizes: list[int] = []
    ends: list[str] = []
    for number in range(1, SHORT_SOUNDS + 1):
        before, name = str(number - 1), str(number)
        while bench.started[-1:] != [before]:
            bench.hand.clock.woken = False
            bench.hand.pacer.turn_once()
            await bench.hand.settle(2)
        bench.source(name, 1)
        following = asyncio.create_task(bench.player.play(play_command(name, role=TrackRole.NEXT), []))
        while not following.done():
            await bench.hand.settle(1)
        ends += [event.reason.value for event in bench.of(WireTrackEnded)]
        assert all(source.closes for source in bench.hand.opener.opened[:-3])
        # What the bench itself remembers is not the player's.
        del bench.hand.opener.opened[:-3]
        bench.hand.events[:] = bench.of(WireTrackStarted)[-1:]
        memories: list[list[Any]] = [bench.sent, bench.ssrcs, bench.tasks, bench.hand.opener.places]
        for memory in memories:
            memory.clear()
        del bench.sources[before], bench.hand.opener.sources[before]
        if number % (SHORT_SOUNDS // 4) == 0:
            gc.collect()
            sizes.append(len(gc.get_objects()))
    assert max(sizes) - sizes[0] < 100, sizes
    assert set(ends) == {"finished"}
    assert len(ends) >= SHORT_SOUNDS - 2
    await bench.close()
