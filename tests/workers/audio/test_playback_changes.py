"""What is changed while a playback plays is soon heard, and loses nothing."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import numpy as np
import pytest

from tests.workers.audio.media_files import signal
from tests.workers.audio.playing import (
    CLOSING,
    NOW_NS,
    Bench,
    Outlet,
    Step,
    loudness,
    marked,
    packets,
    pcm,
)
from voicepool.workers.audio.frame import FRAME_NS, Mark
from voicepool.workers.audio.opus_decoder import Decoder, OpusPacketDecoder
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.warming import WARM_UP_FRAMES

# A change is soon heard.


@pytest.mark.parametrize("kind", [packets, marked])
@pytest.mark.parametrize("capacity", [1, 2, 3, 8, 50])
def test_a_volume_is_heard_after_two_frames_however_long_the_ring(
    kind: Callable[[int], list[Step]], capacity: int
) -> None:
    bench = Bench(kind(200), capacity=capacity)
    heard: list[bytes | Mark] = []
    for _ in range(60):
        bench.fill_up()
        heard += bench.take(1)
    bench.fill_up()
    assert bench.playback.set_gain(0.5)
    bench.fill()
    heard += bench.play_to_the_end()
    before = 60 + min(capacity, 2)
    assert loudness(bench, heard) == [1.0] * before + [0.5] * (200 - before)
    assert bench.numbers_of(heard) == list(range(200))


def test_changes_in_quick_succession_are_heard_after_three_frames_and_cost_one_going_back_each() -> None:
    bench = Bench(marked(400), gain=0.4)
    bench.fill_up()
    wanted, heard, asked = 0.4, list[bytes | Mark](), list[float]()
    for _ in range(300):
        began_ns = bench.now_ns
        for step in range(20):
            wanted += 0.0001
            bench.playback.set_gain(wanted)
            bench.now_ns = began_ns + step * FRAME_NS // 20
            bench.fill()
        bench.now_ns = began_ns
        asked.append(wanted)
        heard += bench.take(1)
    assert bench.numbers_of(heard) == list(range(300))
    arrived = [float(bench.pcm_of(item)[-1, 0] / 0.5) for item in heard]
    assert all(late > early for early, late in itertools.pairwise(arrived[2:]))
    assert all(arrived[at + 3] > asked[at] - 0.000_1 for at in range(297))
    # Of the eight in the ring one is sent, two stay, five are made again, one is new; and those to warm up.
    # The first time, when the next frame is to be sent in 20 ms, only one stays.
    assert len(bench.encoder.frames) <= 8 + 1 + 300 * (5 + 1 + WARM_UP_FRAMES)
    assert bench.encoder.resets == 300


def test_a_change_that_comes_too_soon_waits_for_its_time_and_is_not_asked_for_in_vain() -> None:
    bench = Bench(marked(50))
    bench.fill_up()
    assert bench.playback.set_gain(0.5)
    bench.fill()
    assert bench.playback.set_gain(0.6)
    encoded = len(bench.encoder.frames)
    assert bench.fill() == NOW_NS - FRAME_NS, "when there will be room for the next burst"
    assert bench.fill() == NOW_NS + FRAME_NS, "before there will be room"
    assert len(bench.encoder.frames) == encoded + 4
    assert not bench.playback.may_park
    assert not bench.playback.set_gain(0.7), "who carries out the one before takes this"
    bench.now_ns += FRAME_NS
    bench.fill()
    assert loudness(bench, bench.ring)[2:] == [0.7, 0.7]


def test_a_volume_that_is_set_already_is_no_change() -> None:
    bench = Bench(marked(50), gain=0.5)
    bench.fill_up()
    assert not bench.playback.set_gain(0.5)
    encoded = len(bench.encoder.frames)
    bench.fill()
    assert len(bench.encoder.frames) == encoded


def test_a_change_while_paused_is_heard_from_the_first_frame_on() -> None:
    bench = Bench(marked(50), outlet=Outlet(active=False))
    bench.fill_up()
    assert bench.playback.may_park
    bench.playback.set_gain(0.5)
    assert not bench.playback.may_park
    bench.fill()
    assert loudness(bench, bench.ring) == [0.5, 0.5]
    bench.fill_up()
    assert bench.playback.may_park
    bench.playback.set_gain(0.8)
    bench.fill()
    assert not bench.playback.program.has_changes, "nothing is sent, so nothing has to wait"
    bench.fill_up()
    assert loudness(bench, bench.ring) == [0.8] * 8


@pytest.mark.parametrize("kind", [packets, marked])
@pytest.mark.parametrize("left", range(7))
def test_a_change_at_the_end_is_heard_and_the_end_comes_once(
    kind: Callable[[int], list[Step]], left: int
) -> None:
    bench = Bench(kind(20))
    heard: list[bytes | Mark] = []
    while len(heard) < 20 - left or not bench.ended:
        bench.fill()
        heard += bench.take(1)
    assert bench.playback.may_park
    bench.playback.set_gain(0.5)
    while not bench.playback.may_park:
        bench.fill()
    heard += bench.play_to_the_end()
    before = len(heard) - len(CLOSING) - max(0, left - 2)
    assert loudness(bench, heard) == [1.0] * before + [0.5] * max(0, left - 2)
    assert heard[20:] == CLOSING
    assert bench.numbers_of(heard) == list(range(20))
    assert bench.frames_sent == 20


@pytest.mark.parametrize("gone", range(len(CLOSING) + 1))
def test_a_change_amid_the_closing_silence_leaves_it_as_it_is(gone: int) -> None:
    bench = Bench(packets(5))
    bench.fill_up()
    bench.take(5 + gone)
    bench.playback.set_gain(0.5)
    bench.fill()
    assert bench.ring == CLOSING[gone:]
    assert bench.ends == 1
    assert bench.playback.may_park


def test_a_change_while_the_source_has_nothing_ready_loses_nothing() -> None:
    bench = Bench([*marked(9), *[NOT_YET] * 5, *marked(40)[9:]], capacity=12)
    while bench.fill() != NOW_NS + 10_000_000:
        pass
    assert len(bench.ring) == 9
    bench.playback.set_gain(0.5)
    for _ in range(3):
        bench.fill()
    assert loudness(bench, bench.ring) == [1.0] + [0.5] * 8
    heard = bench.play_to_the_end()
    assert bench.numbers_of(heard) == list(range(40))


@pytest.mark.parametrize("kind", [packets, marked])
@pytest.mark.parametrize("frames", [1, 7, 8, 9, 300])
def test_a_change_amid_a_skip_is_heard_with_what_comes_next(
    kind: Callable[[int], list[Step]], frames: int
) -> None:
    bench = Bench(kind(400))
    bench.fill_up()
    bench.skip(frames)
    bench.fill()
    bench.playback.set_gain(0.5)
    bench.now_ns += FRAME_NS
    bench.fill_until_told()
    bench.fill()
    kept = loudness(bench, bench.ring)
    assert kept == [1.0] * kept.count(1.0) + [0.5] * kept.count(0.5)
    assert kept.count(1.0) <= 2
    assert bench.numbers_of(bench.ring) == list(range(frames, frames + len(kept)))
    bench.now_ns += FRAME_NS
    bench.playback.set_gain(0.8)
    bench.fill()
    assert bench.numbers_of(bench.ring) == list(range(frames, frames + len(bench.ring)))
    assert bench.position_frames == frames


def test_a_change_after_a_failure_of_ours_brings_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(marked(30))
    bench.fill_up()
    bench.take(4)
    with caplog.at_level(logging.CRITICAL):
        bench.encoder.frames = None  # type: ignore[assignment]  # what it does next is a defect
        bench.fill()
    assert bench.playback.error is not None
    ring = bench.ring
    bench.playback.set_gain(0.5)
    assert bench.playback.may_park
    bench.fill()
    assert bench.ring == ring
    assert bench.ends == 1


def test_packets_and_what_is_decoded_of_them_join_without_a_jump() -> None:
    encoder = Encoder()
    song = [encoder.encode_float(signal()[at : at + 960]) for at in range(0, 96_000, 960)]
    encoder.close()
    reference, whole = Decoder(), np.zeros((len(song) * 960, 2), np.float32)
    for number, packet in enumerate(song):
        reference.decode_float(packet, whole[number * 960 : (number + 1) * 960])
    reference.close()
    bench = Bench(song, make_decoder=OpusPacketDecoder, early_samples=312)
    for _ in range(40):
        bench.fill()
        bench.take(1)
    bench.playback.set_gain(0.999_999)
    bench.fill()
    made = bench.pcm_of(bench.ring[2])

    def error(begin: int) -> float:
        expected = whole[begin : begin + 960]
        return float(np.sqrt(np.mean((made - expected) ** 2) / np.mean(expected**2)))

    assert error(42 * 960 + 312) < 0.25
    assert error(42 * 960) > 0.5, "it is earlier by what the encoder delays"
    bench.playback.close()


# Parking.


def test_it_may_park_only_when_nothing_is_sent_and_no_burst_fits() -> None:
    bench = Bench([pcm(0.1)] * 50, outlet=Outlet(active=False))
    parks = []
    for _ in range(5):
        parks.append((len(bench.ring), bench.playback.may_park))
        bench.fill()
    assert parks == [(0, False), (2, False), (4, False), (6, False), (8, True)]
    bench.outlet.active = True
    assert not bench.playback.may_park
    bench.outlet.active = False
    bench.take(1)
    assert bench.playback.may_park, "room for one is no room for a burst"
    bench.take(1)
    assert not bench.playback.may_park


@pytest.mark.parametrize(
    ("active", "leaves_in_ms", "kept"),
    [(True, 20, 1), (True, 11, 1), (True, 10, 2), (True, 1, 2), (False, 11, 0)],
)
def test_a_change_leaves_what_may_be_sent_before_the_others_are_made_again(
    leaves_in_ms: int, kept: int, *, active: bool
) -> None:
    """One frame if the next leaves in more than 10 ms, else two; none while nobody takes any."""
    due_ns = NOW_NS + leaves_in_ms * 1_000_000 - FRAME_NS
    bench = Bench(marked(50), outlet=Outlet(active=active, due_ns=due_ns))
    bench.fill_up()
    bench.playback.set_gain(0.5)
    bench.fill_up()
    assert loudness(bench, bench.ring) == [1.0] * kept + [0.5] * (8 - kept)
