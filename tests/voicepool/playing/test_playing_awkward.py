"""What bots do that nobody means them to: nothing hangs, nothing is lost, and each error is a sentence."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, settled, until
from tests.fakes.running import asyncio_test
from voicepool.connection import BaseVoiceConnection
from voicepool.encoding import Encoding
from voicepool.errors import CallGoneError, TrackGoneError
from voicepool.events import ConnectionEvent, TrackEnded, TrackStarted
from voicepool.ipc.commands import Pause, Play, Resume, Stop
from voicepool.source import AudioFile
from voicepool.streams import PcmStream, StreamClosedError

Wish = Callable[[BaseVoiceConnection], Any]


def set_volume(voice: BaseVoiceConnection) -> None:
    voice.volume = 0.5


def set_encoding(voice: BaseVoiceConnection) -> None:
    voice.encoding = Encoding(bitrate_bps=64_000)


async def carry_out(wish: Wish, voice: BaseVoiceConnection) -> Any:
    result = wish(voice)
    return await result if asyncio.iscoroutine(result) else result


# A connection that has closed.


@pytest.mark.parametrize(
    "wish",
    [
        lambda voice: voice.play("a.mp3"),
        lambda voice: voice.play_no_wait("a.mp3"),
        lambda voice: voice.start("a.mp3"),
        lambda voice: voice.overlay("a.mp3"),
        lambda voice: voice.connect(),
        lambda voice: voice.verification_code(1),
    ],
)
def test_on_a_closed_connection_nothing_is_begun(wish: Wish) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, _, _):
            await voice.disconnect()
            with pytest.raises(CallGoneError, match="has ended; connect again"):
                await carry_out(wish, voice)

    run()


@pytest.mark.parametrize(
    "wish",
    [
        lambda voice: voice.disconnect(),
        lambda voice: voice.stop(),
        lambda voice: voice.stop(fade_out_s=1.0),
        lambda voice: voice.pause(),
        lambda voice: voice.resume(),
        lambda voice: voice.wait_for_stopped(),
        lambda voice: voice.queue.add("a.mp3"),
        lambda voice: voice.queue.skip(),
        lambda voice: voice.queue.back(),
        lambda voice: voice.queue.clear(),
        set_volume,
        set_encoding,
    ],
)
def test_on_a_closed_connection_what_ends_or_prepares_something_is_quiet(wish: Wish) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, _, _):
            task = voice.play_no_wait("song.mp3")
            await voice.disconnect()
            await task
            await carry_out(wish, voice)
            assert (voice.playing, voice.paused, voice.stopped) == (False, False, True)

    run()


# Holding.


@asyncio_test
async def test_pausing_twice_is_pausing_once_and_silence_cannot_be_held() -> None:
    async with connected() as (voice, worker, _):
        voice.resume()
        voice.pause()
        assert (voice.playing, voice.paused, voice.stopped) == (False, False, True)
        task = voice.play_no_wait("song.mp3")
        await until(lambda: voice.track is not None and voice.track.state.value == "playing")
        voice.pause()
        voice.pause()
        assert voice.paused
        voice.resume()
        voice.resume()
        assert voice.playing
        await worker.hear(Resume)
        assert worker.heard(Pause)
        await voice.stop()
        await task


# Sources that were used already.


@asyncio_test
async def test_one_description_or_buffer_plays_in_two_guilds_at_once_and_a_stream_in_one() -> None:
    pool, fakes = pool_of(1)
    async with pool:
        voices = [await pool.connect(credentials(guild)) for guild in (1, 2)]
        worker = fakes.workers[0]
        song, content = AudioFile("song.mp3"), AudioFile(io.BytesIO(b"RIFF...."))
        for source in (song, content):
            tasks = [voice.play_no_wait(source) for voice in voices]
            await worker.hear(Play, 2)
            await until(lambda: len(worker.playing) == 2)
            for voice in voices:
                worker.finish(voice.call_id)
            await asyncio.gather(*tasks)
        stream = PcmStream()
        task = voices[0].play_no_wait(stream)
        with pytest.raises(StreamClosedError, match="make a new stream for each play"):
            await voices[1].play(stream)
        await voices[0].stop()
        await task
        assert all(voice.stopped for voice in voices)


# Cancelling.


@pytest.mark.parametrize(
    ("way", "opens"), [("play", True), ("play", False), ("start", False), ("overlay", False)]
)
def test_a_time_limit_around_it_stops_it_and_the_connection_stays(way: str, *, opens: bool) -> None:
    @asyncio_test
    async def run() -> None:
        async with connected() as (voice, worker, _):
            if not opens:
                worker.silent_about.add(Play)

            async def play() -> None:
                async with asyncio.timeout(None) as limit:
                    waiting = asyncio.ensure_future(getattr(voice, way)("song.mp3"))
                    await worker.hear(Play)
                    limit.reschedule(0.0)
                    await waiting

            with pytest.raises(TimeoutError):
                await play()
            assert voice.stopped
            await worker.hear(Stop)
            worker.silent_about.clear()
            task = voice.play_no_wait("other.mp3")
            await worker.hear(Play, 2)
            await until(lambda: worker.playing)
            worker.finish(voice.call_id)
            await task

    run()


# From within a listener.


@asyncio_test
async def test_a_listener_may_disconnect_stop_play_and_wait() -> None:
    async with connected() as (voice, worker, _):
        done: list[str] = []

        async def stops(_: ConnectionEvent) -> None:
            await voice.stop()
            await voice.wait_for_stopped()
            done.append("stopped")

        end = voice.listen(stops, TrackStarted)
        await voice.play("song.mp3")
        await until(lambda: bool(done))
        end()

        async def plays_on(_: ConnectionEvent) -> None:
            done.append("again")
            await voice.play("jingle.mp3")
            done.append("over")
            await voice.disconnect()

        end = voice.listen(plays_on, TrackEnded)
        task = voice.play_no_wait("song.mp3")
        await until(lambda: worker.playing)
        worker.finish(voice.call_id)
        await task
        await until(lambda: "again" in done and bool(worker.playing))
        worker.finish(voice.call_id)
        await voice.wait_closed()
        assert done[:3] == ["stopped", "again", "over"]
        assert voice.error is None


@asyncio_test
async def test_listeners_that_fail_are_named_and_the_queue_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (voice, worker, _):

        def is_wrong(_: ConnectionEvent) -> None:
            raise ValueError("a bot's mistake")

        async def is_wrong_later(_: ConnectionEvent) -> None:
            raise ValueError("a bot's mistake")

        voice.listen(is_wrong, TrackEnded)
        voice.listen(is_wrong_later, TrackEnded)
        voice.queue.add("a.mp3", "b.mp3")
        for number in (1, 2):
            await until(lambda: bool(worker.playing))
            worker.finish(voice.call_id)
            await until(lambda number=number: caplog.text.count("is_wrong_later failed") == number)  # type: ignore[misc]
        await voice.wait_for_stopped()
        assert caplog.text.count("is_wrong failed") == 2
        assert "never retrieved" not in caplog.text


@asyncio_test
async def test_a_listener_may_change_the_queue_that_is_moving_on() -> None:
    async with connected() as (voice, worker, _):
        ends = 0

        def edits(_: ConnectionEvent) -> None:
            nonlocal ends
            ends += 1
            voice.queue.clear()
            if ends < 4:
                voice.queue.add(f"{ends}.mp3", "never.mp3")
                voice.queue.shuffle()
                voice.queue.move(0, 1)

        voice.listen(edits, TrackEnded)
        voice.queue.add("0.mp3")
        for count in range(1, 5):
            await until(lambda: bool(worker.playing))
            worker.finish(voice.call_id)
            await until(lambda count=count: ends == count)  # type: ignore[misc]
            await settled(voice)
        await voice.wait_for_stopped()
        assert len(voice.queue) == 0


# Opening when the end comes.


@asyncio_test
async def test_a_disconnect_while_something_opens_ends_all_that_wait_for_it() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(Play)
        playing = asyncio.create_task(voice.play("a.mp3"))
        task = voice.play_no_wait("b.mp3")
        starting = asyncio.create_task(voice.start("c.mp3"))
        waiting = asyncio.create_task(voice.wait_for_stopped())
        await worker.hear(Play, 3)
        track = voice.track
        assert track is not None
        changing = asyncio.create_task(track.set(speed=2.0))
        await asyncio.sleep(0)
        await voice.disconnect()
        await asyncio.gather(playing, task, waiting)
        with pytest.raises(CallGoneError, match=r"ended before .*c\.mp3 was ready"):
            await starting
        with pytest.raises(TrackGoneError):
            await changing
