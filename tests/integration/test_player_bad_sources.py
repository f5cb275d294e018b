"""Broken, odd and enormous sources through a real worker: what can be heard of them is, the rest is told."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import numpy as np
import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import AMPLITUDE, RATE_HZ, Hearing, News, middle, tone, tone_wav
from tests.integration.player_site import stalling
from tests.workers.audio.media_files import encode, opus, wav
from tests.workers.audio.raw_server import answering
from voicepool import EndReason, TrackEnded, TrackStuck, TrackUnstuck


def spoilt(media: bytes, *, at: float = 0.5, size_bytes: int = 600) -> bytes:
    """Return media with some bytes of it turned into their opposite."""
    start = int(len(media) * at)
    inverted = bytes(byte ^ 0xFF for byte in media[start : start + size_bytes])
    return media[:start] + inverted + media[start + size_bytes :]


@asyncio_test
async def test_a_damaged_middle_is_left_out_and_the_rest_is_heard() -> None:
    whole = {
        "flac": encode("flac", "flac", seconds=1.6),
        "mp3": encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.6),
        "aac": encode("aac", "adts", bitrate_bps=192_000, seconds=1.6),
        "opus": opus(seconds=1.6),
    }
    async with world() as here:
        guilds = {name: 100 * number for number, name in enumerate(whole, start=1)}
        voices = {name: await here.join(guild) for name, guild in guilds.items()}
        tracks = {name: await voices[name].start(spoilt(media)) for name, media in whole.items()}
        await asyncio.gather(*(track.wait() for track in tracks.values()))
        # FFmpeg resynchronises Ogg and ADTS by itself, without a word of what it left out.
        assert tracks["mp3"].skipped_packets + tracks["flac"].skipped_packets > 0
        for name, guild in guilds.items():
            session = here.session(guild)
            # Of 80 frames; a page of Ogg holds a second, and goes as a whole.
            assert 28 <= session.report().frames <= 84, name
            assert_nothing_lost(session)


@asyncio_test
async def test_a_file_that_shrinks_while_it_plays_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.flac"
    path.write_bytes(encode("flac", "flac", seconds=3.0))
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        track = await voice.start(path)
        await here.session().wait_for_packets(10)
        os.truncate(path, path.stat().st_size // 4)
        with pytest.raises(voicepool.SourceTruncatedError):
            await track.wait()
        ended = await news.wait_for(TrackEnded)
        assert ended.reason is EndReason.FAILED
        # A second is left; what was read before the file shrank may be more.
        assert 35 <= here.session().report().frames <= 120
        await voice.play(tone_wav(600, 0.4))
        assert Hearing(here.session()).count(600) > 10
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_stall_is_bridged_or_fails_the_track_after_the_timeout() -> None:
    await asyncio.gather(_stall_shorter_than_the_timeout(), _stall_longer_than_the_timeout())


async def _stall_shorter_than_the_timeout() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=320_000)
    # FFmpeg wants up to 50 kB before it gives the first sample; these are 1.4 s.
    with stalling(song, 56_000) as site:
        async with world(source_read_timeout_s=30.0) as here:
            voice = await here.join()
            news = News(voice)
            track = await voice.start(site.url)
            stuck = await news.wait_for(TrackStuck)
            assert (stuck.track, stuck.part) == (track, "source")
            assert stuck.waited_ms >= 500
            where_s = track.position_s
            assert 1.0 < where_s < 1.5
            site.go_on()
            await news.wait_for(TrackUnstuck)
            assert await track.wait() is EndReason.FINISHED
            report = here.session().report()
            assert 99 <= report.frames <= 104
            assert_nothing_lost(here.session())


async def _stall_longer_than_the_timeout() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=320_000)
    # FFmpeg wants up to 50 kB before it gives the first sample; these are 1.4 s.
    with stalling(song, 56_000) as site:
        async with world(source_read_timeout_s=0.3) as here:
            voice = await here.join()
            news = News(voice)
            track = await voice.start(site.url)
            # It is asked for once more before it is given up, after a while: by then it is gone.
            site.vanish()
            requests = len(site.requests)
            with pytest.raises(voicepool.SourceTimeoutError):
                await track.wait()
            assert len(site.requests) == requests + 1
            assert (await news.wait_for(TrackEnded)).reason is EndReason.FAILED
            # What had come was heard first.
            assert 60 <= here.session().report().frames <= 75
            assert voice.connected


@asyncio_test
async def test_half_a_header_of_the_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Le"
    with answering(lambda _: half) as left, answering(lambda _: half, hang_up=False) as silent:
        async with world(source_open_timeout_s=0.5) as here:
            voice = await here.join()
            with pytest.raises(voicepool.SourceError) as caught:
                await voice.play(left.url())
            assert not isinstance(caught.value, voicepool.SourceTimeoutError)
            with pytest.raises(voicepool.SourceTimeoutError):
                await voice.play(silent.url())
            assert voice.connected
            assert voice.stopped


@asyncio_test
async def test_files_of_nothing_and_of_half_a_header(tmp_path: Path) -> None:
    whole = {
        "flac": encode("flac", "flac"),
        "wav": tone_wav(400, 0.2),
        "ogg": opus(),
        "m4a": encode("aac", "ipod", bitrate_bps=192_000),
    }
    async with world() as here:
        voice = await here.join()
        empty = tmp_path / "empty.flac"
        empty.touch()
        with pytest.raises(voicepool.SourceUnreadableError):
            await voice.play(empty)
        with pytest.raises(ValueError, match="no bytes"):
            await voice.play(b"")
        with pytest.raises(ValueError, match="no bytes"):
            await voice.play(io.BytesIO())
        for name, media in whole.items():
            with pytest.raises(voicepool.SourceError) as caught:
                await voice.play(media[:20])
            assert "\n" not in str(caught.value), name
        assert here.session().report().frames == 0


@asyncio_test
async def test_ten_hours_are_sought_in_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ten hours.wav"
    hour_bytes = 3_600 * 8_000 * 2
    head = wav(np.zeros((0, 1), np.int16), rate_hz=8_000, data_bytes=10 * hour_bytes)
    mark = (tone(500, 2.0, rate_hz=8_000) * 32_767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(head)
        # All but this is a hole, which takes no place on the disk.
        file.seek(len(head) + 9 * hour_bytes)
        file.write(mark)
        file.truncate(len(head) + 10 * hour_bytes)
    async with world() as here:
        voice, other = await here.join(100), await here.join(200)
        track = await voice.start(path)
        assert track.duration_s == pytest.approx(36_000)
        await track.seek(32_400)
        assert track.position_s == pytest.approx(32_400, abs=0.2)
        begun = await other.start(path, position_s=32_400)
        for guild, each in ((100, track), (200, begun)):
            session = here.session(guild)
            await session.wait_until(lambda it: Hearing(it).count(500) >= 20)
            levels = [level for level in Hearing(session).levels(500) if level > AMPLITUDE / 2]
            assert middle(levels) == pytest.approx(AMPLITUDE, rel=0.05)
            await each.seek(35_999.9)
            assert await each.wait() is EndReason.FINISHED
            assert_nothing_lost(session)
        worker = (await here.pool.refresh_stats()).workers[0]
        assert worker.rss_bytes < 400 << 20


@asyncio_test
async def test_seek_past_the_end_is_the_end() -> None:
    async with world() as here:
        voice = await here.join()
        for source in (tone_wav(400, 5.0), opus(seconds=5.0), encode("flac", "flac", seconds=5.0)):
            track = await voice.start(source)
            await track.seek(1e9)
            assert await track.wait() is EndReason.FINISHED
        assert here.session().report().frames < 150
        assert_nothing_lost(here.session())


@asyncio_test
async def test_surround_narrow_and_wide_sources_sound_right(tmp_path: Path) -> None:
    # In 5.1 only the centre sounds: it is to come out of both sides alike.
    surround = np.zeros((RATE_HZ * 3 // 5, 6), np.int16)
    surround[:, 2] = (tone(400, 0.6) * 32_767).astype(np.int16)
    sources = {
        "5.1": wav(surround),
        "8 kHz": tone_wav(400, 0.6, rate_hz=8_000),
        "192 kHz": tone_wav(400, 0.6, rate_hz=192_000),
        "11.025 kHz": tone_wav(400, 0.6, rate_hz=11_025),
    }
    async with world() as here:
        voices = [await here.join(100 * number) for number in range(1, len(sources) + 1)]
        for name, media in sources.items():
            (tmp_path / name).write_bytes(media)
        await asyncio.gather(
            *(voice.play(tmp_path / name) for voice, name in zip(voices, sources, strict=True))
        )
        for voice, name in zip(voices, sources, strict=True):
            heard = Hearing(here.session(voice.guild_id))
            left, right = (middle(heard.levels(400, channel=channel)) for channel in (0, 1))
            assert left == pytest.approx(right, rel=0.02), name
            if name == "5.1":
                # Mixed down, the centre is 3 dB lower, and all is brought below full scale.
                assert AMPLITUDE / 4 < left < AMPLITUDE, name
            else:
                assert left == pytest.approx(AMPLITUDE, rel=0.05), name
            assert 29 <= len(heard.audio) <= 32, name
            assert_nothing_lost(here.session(voice.guild_id))


@asyncio_test
async def test_a_signal_that_is_no_number_is_silence() -> None:
    async with world() as here:
        voice = await here.join()
        samples = np.repeat(tone(400, 0.6)[:, np.newaxis], 2, axis=1)
        samples[9_600:19_200] = np.nan
        samples[19_200:20_160] = np.inf
        stream = voicepool.PcmStream(dtype="float32")
        await stream.write(samples)
        await stream.close()
        await voice.play(stream)
        levels = Hearing(here.session()).levels(400)
        assert max(levels) < 1.2 * AMPLITUDE
        assert max(levels[12:19]) < 0.02
        assert middle(levels[:9], 3) == pytest.approx(AMPLITUDE, rel=0.05)
        assert middle(levels[22:29], 2) == pytest.approx(AMPLITUDE, rel=0.05)
