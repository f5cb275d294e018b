"""What the bot pushes, what resolvers find, and stations: through real workers to the stand-in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration import player_resolvers
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import AMPLITUDE, FRAME_S, Hearing, News, middle, tone, tone_wav
from tests.workers.audio.media_files import opus
from voicepool import (
    EndReason,
    OpusStream,
    PcmStream,
    Resolved,
    Station,
    TrackEnded,
    TrackStuck,
    TrackUnstuck,
    WorkerResolver,
)
from voicepool.testing import VoiceSession
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.media import open_media


@asyncio_test
async def test_a_writer_of_24_khz_mono_is_held_to_the_speed_of_hearing() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        stream = PcmStream(sample_rate_hz=24_000, channels=1, buffer_ms=200)
        samples = np.round(tone(400, 0.8, rate_hz=24_000) * 32_767).astype(np.int16)
        playing = voice.play_no_wait(stream)
        ahead_s = []
        for piece in np.split(samples, 40):
            await stream.write(piece)
            ahead_s.append(stream.written_s - session.media.frames * FRAME_S)
        await stream.close()
        await playing
        # What the stream may hold, what the ring and the two encoders do, and one write.
        assert max(ahead_s) < 0.2 + 0.3
        assert ahead_s[-1] > 0.1
        heard = Hearing(session)
        assert middle(heard.levels(400)) == pytest.approx(AMPLITUDE, rel=0.05)
        assert heard.count(400) == pytest.approx(40, abs=2)
        heard.assert_no_gap()
        assert_nothing_lost(session)


@asyncio_test
async def test_pushed_opus_packets_arrive_as_they_are() -> None:
    reader = open_media(opus(seconds=0.5), open_timeout_s=5, read_timeout_s=5)
    packets = [packet for packet in iter(reader.read, None) if isinstance(packet, bytes)]
    reader.close()
    async with world() as here:
        voice = await here.join()
        async with OpusStream(buffer_ms=300) as stream:
            playing = voice.play_no_wait(stream)
            for packet in packets:
                await stream.write(packet)
        await playing
        assert Hearing(here.session()).audio == packets
        Hearing(here.session()).assert_no_gap()
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_stream_that_starves_is_told_and_goes_on() -> None:
    async with world() as here:
        voice = await here.join()
        news = News(voice)
        stream = PcmStream(channels=1)
        written = np.round(tone(400, 0.4) * 32_767).astype(np.int16)
        await stream.write(written)
        track = await voice.start(stream)
        stuck = await news.wait_for(TrackStuck)
        assert (stuck.track, stuck.part) == (track, "source")
        assert 500 <= stuck.waited_ms < 5_000
        assert track.position_s == pytest.approx(0.4, abs=0.15)
        await stream.write(written)
        await news.wait_for(TrackUnstuck)
        await stream.close()
        assert await track.wait() is EndReason.FINISHED
        assert here.session().report().frames == pytest.approx(40, abs=2)
        kinds = (TrackStuck, TrackUnstuck, TrackEnded)
        assert [type(event) for event in news.all if isinstance(event, kinds)] == list(kinds)
        assert_nothing_lost(here.session())


@asyncio_test
async def test_resolvers_are_asked_in_the_bot_and_in_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "found.wav"
    path.write_bytes(tone_wav(400, 0.3))
    asked: list[int] = []

    async def in_bot(query: str) -> str:
        asked.append(os.getpid())
        return query

    async with world() as here:
        first, second = await here.join(100), await here.join(200)
        track = await second.start(WorkerResolver(player_resolvers.find)(str(path)))
        await asyncio.gather(first.play(Resolved(str(path), in_bot)), track.wait())
        assert asked == [os.getpid()]
        assert track.info.title == f"found by {here.pool.workers[0].pid}"
        for guild in (100, 200):
            assert Hearing(here.session(guild)).count(400) == pytest.approx(15, abs=1)
        with pytest.raises(voicepool.ResolverError, match="LookupError"):
            await first.play(Resolved("gone", _find_nothing))
        with pytest.raises(voicepool.ResolverError, match="nowhere"):
            await first.play(WorkerResolver("tests.integration.player_resolvers:nowhere")("query"))
        assert first.connected


def _find_nothing(query: str) -> str:
    raise LookupError(query)


@asyncio_test
async def test_four_guilds_hear_a_station_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "station.ogg"
    path.write_bytes(opus(seconds=6.0))
    guilds = (100, 200, 300, 400)
    async with world() as here:
        voices = [await here.join(guild) for guild in guilds]
        station = Station("lofi", path, repeats=True)
        tracks = [await voice.start(station) for voice in voices]
        last = here.session(guilds[-1])
        await last.wait_until(lambda it: it.media.frames >= 40, timeout_s=30)
        # At one moment: nothing runs between these lines but this.
        sounds = [_audio(here.session(guild)) for guild in guilds]
        latest = sounds[-1]
        assert len(set(latest)) == len(latest), "each packet of this station is another"
        for guild, sound in zip(guilds, sounds, strict=True):
            # All but the last joined earlier, and one may have got a packet or two that it has not yet.
            begin = sound.index(latest[0])
            assert abs(len(sound) - begin - len(latest)) <= 2, f"guild {guild} is ahead or behind"
            common = min(len(sound) - begin, len(latest))
            assert sound[begin : begin + common] == latest[:common], f"guild {guild} heard something else"
        await voices[0].stop()
        assert [track.reason for track in tracks] == [EndReason.STOPPED, None, None, None]
        frames = last.media.frames
        await last.wait_until(lambda it: it.media.frames >= frames + 5, timeout_s=30)
        await asyncio.gather(*(voice.stop() for voice in voices))
        for guild in guilds:
            assert_nothing_lost(here.session(guild))


def _audio(session: VoiceSession) -> list[bytes]:
    return [payload for _, payload in session.media.kept if payload != SILENCE]
