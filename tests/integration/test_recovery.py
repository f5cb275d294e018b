"""Workers that are killed, and workers that are drained: their calls go on elsewhere, where they were."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import World, assert_nothing_lost, world
from tests.integration.player_hearing import FRAME_SAMPLES, RATE_HZ, Hearing, News, tone
from tests.workers.audio.media_files import wav
from voicepool import CallMoved, Closed, Interrupted, MoveReason, Restored, TrackEnded, TrackStarted
from voicepool.connection import BaseVoiceConnection
from voicepool.queued import QueuedTrack
from voicepool.source import AudioFile
from voicepool.streams import PcmStream
from voicepool.testing import VoiceSession

STEP_S: Final = 0.1
STEP_FRAMES: Final = 5
STEPS: Final = 100
GUILDS: Final = (100, 200, 300, 400)


def stairs() -> bytes:
    """A tone that climbs by 50 Hz each 100 ms, so that any 100 ms of it say where they are from."""
    samples = np.concatenate([tone(500 + 50 * step, STEP_S) for step in range(STEPS)])
    return wav(np.repeat(np.round(samples * 32_767).astype(np.int16)[:, np.newaxis], 2, axis=1))


def steps_of(session: VoiceSession) -> list[int]:
    """The step of each frame that was heard, silence left out."""
    samples = Hearing(session).samples[:, 0]
    whole = len(samples) // FRAME_SAMPLES
    steps = []
    for frame in samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES):
        spectrum = np.abs(np.fft.rfft(frame))
        loudest = int(np.argmax(spectrum))
        if spectrum[loudest] > FRAME_SAMPLES / 20:
            steps.append(round((loudest * RATE_HZ / FRAME_SAMPLES - 500) / 50))
    return steps


def misplaced_frames(before: VoiceSession, after: VoiceSession) -> int:
    """How many frames are missing or heard twice, where one session goes on for another."""
    counts = np.bincount([step for step in steps_of(before) + steps_of(after) if 0 <= step < STEPS])
    # The last one is still being heard.
    return int(sum(abs(count - STEP_FRAMES) for count in counts[:-1]))


async def playing(here: World, guild: int) -> tuple[BaseVoiceConnection, News, asyncio.Task[None]]:
    voice = await here.join(guild)
    news = News(voice)
    task = voice.play_no_wait(stairs())
    await news.wait_for(TrackStarted)
    return voice, news, task


def name_of(voice: BaseVoiceConnection) -> str:
    assert voice.link is not None
    return voice.link.worker


@asyncio_test
async def test_the_calls_of_a_killed_worker_go_on_elsewhere() -> None:
    async with world(workers=2) as here:
        moved: list[CallMoved] = []
        here.pool.listen(moved.append, CallMoved)
        calls = {guild: await playing(here, guild) for guild in GUILDS}
        sessions = {guild: here.session(guild) for guild in GUILDS}
        for session in sessions.values():
            await session.wait_for_packets(80)
        first, second = here.pool.workers
        assert (first.calls, second.calls) == (2, 2)
        lost = [guild for guild, (voice, _, _) in calls.items() if name_of(voice) == first.name]
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        for guild in lost:
            voice, news, task = calls[guild]
            restored = await news.wait_for(Restored)
            assert (restored.resumed, voice.playing, task.done()) == (False, True, False)
            after = here.session(guild)
            assert after is not sessions[guild]
            await after.wait_for_packets(60)
            assert misplaced_frames(sessions[guild], after) <= STEP_FRAMES + 2
            assert voice.position_s == pytest.approx(steps_of(after)[-1] * STEP_S, abs=0.3)
            assert len(news.of(TrackStarted)) == 1
            assert not news.of(TrackEnded)
            assert not news.of(Closed)
            assert restored.gap_ms < 5_000.0
        for guild in set(GUILDS) - set(lost):
            Hearing(sessions[guild]).assert_no_gap()
            assert_nothing_lost(sessions[guild])
        assert {event.guild_id for event in moved} == set(lost)
        assert {(event.old, event.reason) for event in moved} == {(first.name, MoveReason.LOST)}
        for voice, _, task in calls.values():
            await voice.stop()
            await task


@asyncio_test
async def test_a_drained_worker_leaves_no_frame_out_and_repeats_none() -> None:
    async with world(workers=2) as here:
        moved: list[CallMoved] = []
        here.pool.listen(moved.append, CallMoved)
        calls = {guild: await playing(here, guild) for guild in GUILDS}
        sessions = {guild: here.session(guild) for guild in GUILDS}
        for session in sessions.values():
            await session.wait_for_packets(80)
        host = calls[100][0]._host
        link = calls[100][0].link
        assert link is not None
        leaving = [guild for guild in GUILDS if calls[guild][0].link is link]
        # The other one takes no part in what the pool decides; only the calls are moved here.
        await host.move_calls(link)  # type: ignore[attr-defined]  # the switchboard
        for guild in leaving:
            voice, news, task = calls[guild]
            after = here.session(guild)
            assert after is not sessions[guild]
            await after.wait_for_packets(60)
            assert misplaced_frames(sessions[guild], after) <= 2
            assert voice.playing
            assert not news.of(Interrupted)
            assert not news.of(TrackEnded)
            assert len(news.of(TrackStarted)) == 1
            assert not task.done()
        assert {(event.guild_id, event.reason) for event in moved} == {
            (guild, MoveReason.DRAINED) for guild in leaving
        }
        assert all(event.gap_ms < 1_000 for event in moved)
        for voice, _, task in calls.values():
            await voice.stop()
            await task


@asyncio_test
async def test_a_queue_drives_on_over_the_loss_of_its_worker() -> None:
    async with world(workers=2) as here:
        voice = await here.join()
        news = News(voice)
        voice.queue.add(*(QueuedTrack(AudioFile(stairs()), end_s=1.0) for _ in range(3)))
        await news.wait_for(TrackStarted)
        await here.session().wait_for_packets(20)
        [pid] = [worker.pid for worker in here.pool.workers if worker.calls]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await news.wait_for(TrackEnded, 3)
        assert [event.reason.value for event in news.of(TrackEnded)] == ["finished"] * 3
        assert len(news.of(TrackStarted)) == 3


@asyncio_test
async def test_a_pushed_stream_goes_on_where_its_writer_is() -> None:
    async with world(workers=2) as here:
        voice = await here.join()
        news = News(voice)
        stream = PcmStream(channels=1, dtype="float32", buffer_ms=200)
        task = voice.play_no_wait(stream)

        async def write() -> None:
            async with stream:
                while not news.of(Restored):
                    await stream.write(tone(500, STEP_S))
                await stream.write(tone(700, 1.0))

        writing = asyncio.create_task(write())
        await here.session().wait_for_packets(20)
        [pid] = [worker.pid for worker in here.pool.workers if worker.calls]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await writing
        await task
        assert 0.0 < stream.lost_s <= 0.4
        assert Hearing(here.session()).count(700) == pytest.approx(50, abs=2)
