"""From a source to what a voice server hears, through a real pool, worker, TLS websocket and UDP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, heard, likeness, world
from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode, opus
from voicepool import AudioFile
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.media import open_media

FORMATS: dict[str, Callable[[], bytes]] = {
    "mp3": lambda: encode("libmp3lame", "mp3", bitrate_bps=192_000),
    "flac, 44.1 kHz": lambda: encode("flac", "flac", rate_hz=44_100),
    "wav, 8 kHz mono": lambda: encode("pcm_s16le", "wav", rate_hz=8_000, layout="mono"),
    "wav, 192 kHz": lambda: encode("pcm_s24le", "wav", rate_hz=192_000),
    "m4a": lambda: encode("aac", "ipod", bitrate_bps=192_000),
    "ogg vorbis": lambda: encode("vorbis", "ogg", codec_options=(("strict", "experimental"),)),
    "ogg opus": opus,
    "webm opus": lambda: opus("webm"),
    "opus of 60 ms": lambda: opus(frame_ms=60),
}


@asyncio_test
async def test_every_format_is_heard_as_it_is(tmp_path: Path) -> None:
    guilds = {name: 100 * number for number, name in enumerate(FORMATS, start=1)}
    for name, make in FORMATS.items():
        (tmp_path / name).write_bytes(make())
    async with world(workers=2) as here:
        voices = {name: await here.join(guild) for name, guild in guilds.items()}
        await asyncio.gather(*(voice.play(AudioFile(tmp_path / name)) for name, voice in voices.items()))
        sent = {call.guild_id: call for call in (await here.pool.refresh_stats()).calls}
        for name, guild in guilds.items():
            session, stats = here.session(guild), sent[guild]
            await session.wait_for_packets(stats.frames_sent + stats.silence_sent, timeout_s=30)
            assert session.report().frames == stats.frames_sent, name
            assert 99 <= stats.frames_sent <= 104, name
            assert likeness(session) > 0.98, name
            assert_nothing_lost(session)


@asyncio_test
async def test_opus_packets_arrive_untouched() -> None:
    async with world() as here:
        voice = await here.join()
        song = opus(seconds=1.0)
        await voice.play(song)
        session = here.session()
        await session.wait_for_packets(55, timeout_s=30)
        received = [payload for _, payload in session.media.kept if payload != SILENCE]
        reader = open_media(song, open_timeout_s=5, read_timeout_s=5)
        sent = list(iter(reader.read, None))
        reader.close()
        assert received == sent


@asyncio_test
async def test_a_url_is_heard() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.0)
    with serving(Site({"song.mp3": song})) as site:
        async with world() as here:
            voice = await here.join()
            await voice.play(site.url("/file/song.mp3"))
            assert likeness(here.session(), seconds=1.0) > 0.98
            assert_nothing_lost(here.session())


@asyncio_test
async def test_two_guilds_on_two_workers_play_their_own() -> None:
    async with world(workers=2) as here:
        first, second = await here.join(100), await here.join(200)
        await asyncio.gather(
            first.play(encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.0)),
            second.play(encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.0, loud_s=0.0)),
        )
        assert {worker.calls for worker in here.pool.workers} == {1}
        assert likeness(here.session(100), seconds=1.0) > 0.98
        assert float(np.abs(heard(here.session(200))).max()) < 0.05


@asyncio_test
async def test_pause_holds_and_resume_goes_on_with_every_frame() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        task = voice.play_no_wait(encode("flac", "flac", seconds=1.2))
        await session.wait_for_packets(20, timeout_s=30)
        voice.pause()
        assert (voice.playing, voice.paused) == (False, True)
        await session.wait_until(lambda heard: heard.report().silence_frames == 5, timeout_s=30)
        held = session.packets
        voice.resume()
        await session.wait_for_packets(held + 1, timeout_s=30)
        await task
        assert voice.stopped
        report = session.report()
        assert (report.frames, report.silence_frames) == (60, 10)
        assert_nothing_lost(session)


@asyncio_test
async def test_volume_is_heard() -> None:
    async with world() as here:
        voice = await here.join()
        song = encode("flac", "flac", seconds=1.0)
        voice.volume = 0.25
        await voice.play(song)
        quiet = np.sqrt(np.mean(np.square(heard(here.session())[9_600:38_400])))
        voice.volume = 1.0
        await voice.play(song)
        loud = np.sqrt(np.mean(np.square(heard(here.session())[-38_400:-9_600])))
        assert 0.23 < quiet / loud < 0.27


@asyncio_test
async def test_volume_reaches_passed_through_opus_too() -> None:
    async with world() as here:
        voice = await here.join()
        voice.volume = 0.25
        await voice.play(opus(seconds=1.0))
        session = here.session()
        assert float(np.abs(heard(session)[9_600:38_400]).max()) < 0.1
        assert likeness(session, seconds=1.0) > 0.98


@asyncio_test
async def test_stop_ends_play_and_the_next_one_is_heard() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        task = voice.play_no_wait(encode("flac", "flac"))
        await session.wait_for_packets(20, timeout_s=30)
        await voice.stop()
        await task
        assert voice.stopped
        assert voice.current_audio is None
        await voice.wait_for_stopped()
        stopped_after = session.report().frames
        assert stopped_after < 100
        await voice.play(encode("flac", "flac", seconds=0.6))
        assert session.report().frames == stopped_after + 30
        assert_nothing_lost(session)


@asyncio_test
async def test_another_play_takes_over() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        first = voice.play_no_wait(encode("flac", "flac", seconds=30.0))
        await session.wait_for_packets(20, timeout_s=30)
        await voice.play(encode("flac", "flac", seconds=0.6))
        await first
        report = session.report()
        assert 50 <= report.frames < 330
        assert_nothing_lost(session)


@asyncio_test
async def test_a_new_voice_server_in_the_middle_of_a_song() -> None:
    async with world() as here:
        voice = await here.join()
        before = here.session()
        task = voice.play_no_wait(encode("flac", "flac", seconds=1.2))
        await before.wait_for_packets(20, timeout_s=30)
        await voice.connect(here.credentials(100))
        await task
        after = here.session()
        assert after is not before
        assert before.report().frames + after.report().frames == 60
        assert_nothing_lost(after)
