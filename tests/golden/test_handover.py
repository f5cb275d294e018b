"""A call that goes on at another worker: what both have sent, one behind the other, is the source itself.

Each stage stands for a worker. What goes into the encoder is compared to the sample, packets to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import Stage
from tests.golden.reference import FRAME, worst_frame_db
from tests.golden.sounds import RATE_HZ, Sound, decoded, encoded, music, opus_packets, wav
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import EndReason, TrackEnded, TrackPlace, TrackStarted

LENGTH_S = 4.0
HEARD = 73
"""Frames that the first worker sends."""
HEARD_S = HEARD * FRAME / RATE_HZ
UNDER_S = 0.02
"""An overlay begins behind the frame that is on its way."""
MADE_DB = {"wav": -110.0, "flac": -110.0, "mp3": -100.0}


@cache
def file(kind: str) -> tuple[bytes, Sound]:
    """Return a file of 4 s and all that FFmpeg decodes of it."""
    song = music(LENGTH_S)
    if kind == "wav":
        return wav(song), song
    codec, container, bitrate_bps = {
        "flac": ("flac", "flac", 0),
        "mp3": ("libmp3lame", "mp3", 192_000),
        "opus": ("libopus", "ogg", 192_000),
    }[kind]
    data = encoded(song, codec, container, bitrate_bps=bitrate_bps)
    return data, decoded(data)


def starts(stage: Stage) -> list[float]:
    return [event.position_s for event in stage.events if isinstance(event, TrackStarted)]


async def hand_over(old: Stage, new: Stage) -> list[TrackPlace]:
    places = await old.release()
    await new.align(places)
    new.open()
    await new.settle()
    return places


def sent_audio(*stages: Stage) -> list[bytes]:
    """Return the packets sent, without the silence behind the end."""
    return [packet for stage in stages for packet in stage.sent if packet != b"\xf8\xff\xfe"]


PREPARED_S = [
    pytest.param(HEARD_S - 0.4, id="a whole number of frames before"),
    pytest.param(HEARD_S - 0.4321, id="some frames and a bit before"),
    pytest.param(HEARD_S - 0.0003, id="a few samples before"),
    pytest.param(HEARD_S, id="there"),
    pytest.param(HEARD_S + 0.1234, id="too far"),
]


@pytest.mark.parametrize("prepared_s", PREPARED_S)
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_what_two_workers_encode_is_the_source_to_the_sample(kind: str, prepared_s: float) -> None:
    @asyncio_test
    async def run() -> None:
        data, song = file(kind)
        async with Stage() as old, Stage(bound=False) as new:
            await old.play(data)
            await old.listen(HEARD - 10)
            await new.play(data, position_s=prepared_s)
            await old.listen(10)
            [place] = await hand_over(old, new)
            assert place.position_s == pytest.approx(HEARD_S)
            assert len(old.sent) == HEARD
            await new.listen_to_end()
            made = np.concatenate([old.made(), new.made()])
            assert starts(old) == [0.0]
            assert starts(new) == [pytest.approx(HEARD_S)]
            assert [
                (event.playback, event.reason) for event in new.events if isinstance(event, TrackEnded)
            ] == [("song", EndReason.FINISHED)]
            assert not [event for event in old.events if isinstance(event, TrackEnded)]
        assert len(made) - len(song) < FRAME
        wanted = np.zeros_like(made)
        wanted[: len(song)] = song
        assert worst_frame_db(made, wanted) < MADE_DB[kind]

    run()


@pytest.mark.parametrize("prepared_s", PREPARED_S)
def test_packets_that_pass_are_the_files_bit_by_bit(prepared_s: float) -> None:
    @asyncio_test
    async def run() -> None:
        data, _ = file("opus")
        async with Stage() as old, Stage(bound=False) as new:
            await old.play(data)
            await old.listen(HEARD - 10)
            await new.play(data, position_s=prepared_s)
            await old.listen(10)
            await hand_over(old, new)
            await new.listen_to_end()
            assert sent_audio(old, new) == opus_packets(data)
            assert starts(new) == [pytest.approx(HEARD_S)]

    run()


@asyncio_test
async def test_a_call_moves_again_and_again() -> None:
    """Every tenth frame, to a worker that has prepared it for a place of its own each time."""
    data, song = file("flac")
    made: list[Sound] = []
    stages = [Stage(), *(Stage(bound=False) for _ in range(8))]
    async with stages[0] as old:
        await old.play(data)
        await go_on(old, stages[1:], data, made)
    joined = np.concatenate(made)
    assert worst_frame_db(joined, song[: len(joined)]) < MADE_DB["flac"]
    assert len(joined) == 9 * 10 * FRAME


async def go_on(old: Stage, others: Sequence[Stage], data: bytes, made: list[Sound]) -> None:
    await old.listen(10)
    made.append(old.made())
    if others:
        async with others[0] as new:
            # About where a bot thinks that it is.
            await new.play(data, position_s=max(0.0, len(made) * 0.2 - 0.0137 * len(made)))
            await hand_over(old, new)
            await go_on(new, others[1:], data, made)


@pytest.mark.parametrize("heard", [20, 70, 130])
def test_of_what_is_repeated_no_sample_and_no_round_is_lost(heard: int) -> None:
    """A part of 0.7123 s three times, and the call moves in each of them."""

    @asyncio_test
    async def run() -> None:
        data, song = file("wav")
        part = song[round(0.5 * RATE_HZ) : round(1.2123 * RATE_HZ)]
        wanted = np.concatenate([part] * 4)
        async with Stage() as old, Stage(bound=False) as new:
            await old.play(data, start_s=0.5, end_s=1.2123, repeats=3)
            await old.listen(heard)
            at_s, repeats = 0.5 + heard * 0.02 % 0.7123, 3 - int(heard * 0.02 / 0.7123)
            await new.play(data, start_s=0.5, end_s=1.2123, repeats=repeats, position_s=at_s - 0.05)
            [place] = await hand_over(old, new)
            assert place.repeats == repeats
            assert place.position_s == pytest.approx(at_s, abs=1e-4)
            await new.listen_to_end()
            made = np.concatenate([old.made(), new.made()])
        assert 0 <= len(made) - len(wanted) < FRAME
        assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB["wav"]

    run()


@asyncio_test
async def test_a_round_that_began_meanwhile_is_the_one_that_goes_on() -> None:
    data, song = file("wav")
    part = song[:RATE_HZ]
    async with Stage() as old, Stage(bound=False) as new:
        await old.play(data, end_s=1.0, repeats=2)
        await old.listen(45)
        await new.play(data, end_s=1.0, repeats=2, position_s=0.9)
        await old.listen(10)
        [place] = await hand_over(old, new)
        assert place.repeats == 1
        assert place.position_s == pytest.approx(0.1)
        await new.listen_to_end()
        made = np.concatenate([old.made(), new.made()])
    wanted = np.concatenate([part] * 3)
    assert len(made) == len(wanted)
    assert worst_frame_db(made, wanted) < MADE_DB["wav"]


@asyncio_test
async def test_overlays_and_who_waits_go_on_as_well() -> None:
    main, under, after = music(2.0, 1), music(1.9, 2), music(0.5, 3)
    songs = {"main": wav(main), "under": wav(under), "after": wav(after)}
    async with Stage() as old, Stage(bound=False) as new:
        await old.play(songs["main"], "main", track_volume=0.5)
        await old.play(songs["under"], "under", role=TrackRole.OVERLAY, track_volume=0.25)
        await old.follow(songs["after"], "after")
        await old.listen(40)
        await new.play(songs["main"], "main", track_volume=0.5, position_s=0.77)
        await new.play(songs["under"], "under", role=TrackRole.OVERLAY, track_volume=0.25, position_s=0.75)
        await new.follow(songs["after"], "after")
        places = await hand_over(old, new)
        assert {place.playback: place.position_s for place in places} == {
            "main": pytest.approx(0.8),
            "under": pytest.approx(0.8 - UNDER_S),
            "after": 0.0,
        }
        await new.listen_to_end()
        made = np.concatenate([old.made(), new.made()])
    wanted = np.zeros((round(2.5 * RATE_HZ), 2), np.float32)
    wanted[: len(main)] += 0.5 * main
    begins = round(UNDER_S * RATE_HZ)
    wanted[begins : begins + len(under)] += 0.25 * under
    wanted[len(main) :] += after
    assert len(made) == len(wanted)
    # Inputs of a mixer are added in an order of their own.
    assert worst_frame_db(made, wanted) < -100.0


@pytest.mark.parametrize("shape", [{"filters": "volume=0.5"}, {"speed": 1.25}])
def test_what_is_shaped_goes_on_within_20_ms(shape: dict[str, Any]) -> None:
    @asyncio_test
    async def run() -> None:
        data, _ = file("wav")
        async with Stage() as old, Stage(bound=False) as new:
            await old.play(data, **shape)
            await old.listen(50)
            [before] = old.player.stats().tracks
            await new.play(data, **shape, position_s=before.position_s - 0.3333)
            [place] = await hand_over(old, new)
            [after] = new.player.stats().tracks
            assert place.position_s == pytest.approx(before.position_s, abs=0.02)
            assert after.position_s == pytest.approx(place.position_s, abs=0.02)

    run()
