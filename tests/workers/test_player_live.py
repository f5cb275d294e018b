"""A player with real threads, codec and reader."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import numpy as np

from tests.fakes.jumping_clock import JumpingClock
from tests.fakes.running import asyncio_test
from tests.workers.audio.media_files import delay_and_correlation, signal, wav
from tests.workers.hand_studio import (
    CALL,
    play_command,
)
from tests.workers.live_studio import Reports, live_studio
from voicepool.ipc.events import EndReason, TrackEnded, TrackStarted
from voicepool.ipc.sources import BytesSource
from voicepool.workers.audio.frame import FRAME_NS, SILENCE
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.player import Player

# With real threads, codec and reader.


@asyncio_test
async def test_a_real_song_arrives_as_it_was() -> None:
    samples = signal(seconds=1.0)
    song = wav((samples * 32_767).astype(np.int16))
    reports = Reports()
    packets: list[bytes] = []
    failures: list[Exception] = []
    with live_studio(complexity=10) as studio:
        player = Player(CALL, studio, report=reports, on_failure=failures.append)
        player.bind(lambda header, frame: header + frame, packets.append, 1)
        info = await player.play(play_command("p", source=BytesSource(len(song))), [song])
        [ended] = await reports.wait_for(TrackEnded)
        player.close()
    assert not failures
    assert (info.codec, info.passthrough) == ("pcm_s16le", False)
    assert [type(event) for event in reports.all] == [TrackStarted, TrackEnded]
    assert (ended.reason, ended.frames_sent) == (EndReason.FINISHED, 50)
    decoder, heard = Decoder(), []
    for sent in packets:
        out = np.zeros((960, 2), np.float32)
        decoder.decode_float(sent[12:], out)
        heard.append(out)
    decoder.close()
    _, correlation = delay_and_correlation(np.concatenate(heard)[:, 0], samples[:, 0])
    assert correlation > 0.98
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voicepool")]


@asyncio_test
async def test_a_real_song_is_left_out_up_to_where_it_would_be() -> None:
    samples = signal(seconds=13.0)
    samples[: 12 * 48_000] *= 0.01
    song = wav((samples * 32_767).astype(np.int16))
    clock = JumpingClock()
    loop = asyncio.get_running_loop()
    reports = Reports()
    failures: list[Exception] = []
    heard = asyncio.Event()
    before: list[bytes] = []
    after: list[bytes] = []

    def send(sent: bytes) -> None:
        before.append(sent)
        loop.call_soon_threadsafe(heard.set)

    with live_studio() as studio:
        player = Player(CALL, studio, report=reports, on_failure=failures.append, now_ns=clock.now_ns)
        player.bind(lambda header, frame: header + frame, send, 1)
        await player.play(play_command("p", source=BytesSource(len(song)), on_gap="skip"), [song])
        await heard.wait()
        player.unbind()
        clock.time_ns += 600 * FRAME_NS
        player.bind(lambda header, frame: header + frame, after.append, 2)
        [ended] = await reports.wait_for(TrackEnded)
        player.close()
    assert not failures
    assert (ended.reason, ended.frames_sent) == (EndReason.FINISHED, 50)
    decoder, out, levels = Decoder(), np.zeros((960, 2), np.float32), []
    # Not those at the end, nor those that cover for an encoder which the machine held up.
    for sent in (sent for sent in after if sent[12:] != SILENCE):
        decoder.decode_float(sent[12:], out)
        levels.append(float(np.abs(out).max()))
    decoder.close()
    assert len(before) + len(levels) == 50
    # The first frame of a fresh decoder holds little of it yet.
    assert min(levels[1:]) > 10 * float(np.abs(samples[: 12 * 48_000]).max())


@asyncio_test
async def test_what_follows_from_a_failure_to_send_is_in_the_context_of_the_call() -> None:
    call = contextvars.ContextVar("call", default="none")
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def exhausted(header: bytes, frame: bytes) -> bytes:
        raise RuntimeError("nonces are used up")

    def make() -> Player:
        call.set("c1")
        return Player(CALL, studio, report=Reports(), on_failure=lambda _: told.set_result(call.get()))

    with live_studio(complexity=10) as studio:
        player = contextvars.copy_context().run(make)
        player.bind(exhausted, lambda _packet: None, 1)
        song = wav((signal(seconds=0.2) * 32_767).astype(np.int16))
        await player.play(play_command("p", source=BytesSource(len(song))), [song])
        assert await told == "c1", "the pacing thread, which saw it, is in no call's"
        player.close()
