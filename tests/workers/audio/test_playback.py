"""What a playback puts into its ring: gain, bursts, the end, and what was sent."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.media_files import signal
from tests.workers.audio.playing import (
    CLOSING,
    END,
    NOW_NS,
    Bench,
    Step,
    marked,
    packets,
    pcm,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import FRAME_NS, SILENCE, Mark
from voicepool.workers.audio.opus_decoder import Decoder, OpusPacketDecoder
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.warming import SETTLING_FRAMES, WARM_UP_FRAMES
from voicepool.workers.errors import SourceError

# Gain.


def test_opus_passes_untouched_at_gain_1() -> None:
    bench = Bench(packets(20))
    assert bench.play_to_the_end() == packets(20) + CLOSING
    assert not bench.decoders
    assert not bench.encoder.frames


def test_pcm_reaches_the_encoder_as_it_is_at_gain_1() -> None:
    frames = [signal(seconds=0.02), signal(seconds=0.04)[960:]]
    bench = Bench(frames)
    heard = bench.play_to_the_end()
    assert heard == [b"encoded 1", b"encoded 2", *CLOSING]
    assert all(np.array_equal(*pair) for pair in zip(bench.encoder.frames, frames, strict=True))


def test_a_constant_gain_scales_every_sample_and_leaves_the_source_alone() -> None:
    frame = signal(seconds=0.02)
    before = frame.copy()
    bench = Bench([frame, frame], gain=0.25)
    bench.play_to_the_end()
    assert all(np.array_equal(encoded, before * np.float32(0.25)) for encoded in bench.encoder.frames)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.2), (0.2, 1.0), (0.0, 2.0), (1.5, 0.0)])
def test_a_new_gain_is_reached_in_one_frame_without_a_step(before: float, after: float) -> None:
    bench = Bench([pcm(0.25)] * 3, gain=before, capacity=4)
    bench.fill()
    bench.playback.set_gain(after)
    bench.play_to_the_end()
    heard = np.concatenate(bench.encoder.frames)[:, 0] * 4
    assert np.all(heard[:960] == np.float32(before))
    assert np.all(heard[1920:] == np.float32(after))
    assert heard[960] == np.float32(before)
    assert np.abs(np.diff(heard)).max() <= abs(after - before) / 960 * 1.01, "nor between two frames"
    assert np.array_equal(*np.concatenate(bench.encoder.frames).T), "both channels alike"


def test_opus_with_a_gain_is_decoded_scaled_and_encoded_anew() -> None:
    bench = Bench(packets(3), gain=0.5)
    assert bench.play_to_the_end() == [b"encoded 1", b"encoded 2", b"encoded 3", *CLOSING]
    [decoder] = bench.decoders
    assert decoder.packets == packets(3)
    assert all(np.all(frame[:, 0] == 0.25) for frame in bench.encoder.frames)
    assert bench.numbers_of([b"encoded 1", b"encoded 2", b"encoded 3"]) == [0, 1, 2]


def test_opus_passes_again_once_the_gain_is_back_at_1() -> None:
    bench = Bench(packets(10), capacity=3)
    bench.fill()
    bench.playback.set_gain(0.5)
    bench.fill()
    heard = bench.take(1)
    bench.playback.set_gain(1.0)
    heard += bench.play_to_the_end()
    assert heard[0] == b"packet 0"
    assert heard[3 + SETTLING_FRAMES :] == [*packets(10)[3 + SETTLING_FRAMES :], *CLOSING]
    assert bench.numbers_of(heard) == list(range(10))
    down, up = (bench.pcm_of(item)[:, 0] for item in heard[1:3])
    assert (down[0], down[-1]) == (0.5, pytest.approx(0.25, abs=0.001))
    assert (up[0], up[-1]) == (0.25, pytest.approx(0.5, abs=0.001)), "the way back is a ramp as well"


def test_a_decoder_that_starts_late_first_gets_the_80_ms_before() -> None:
    bench = Bench(packets(20), capacity=3)
    for _ in range(10):
        bench.fill()
        bench.take(1)
    bench.playback.set_gain(0.5)
    bench.fill()
    # Those that the encoder is warmed up with, the one that is heard, and the one after it for the seam.
    first = 10 - WARM_UP_FRAMES - PREROLL_PACKETS
    assert bench.decoders[0].packets == packets(12)[first:], "four unheard before them"
    bench.take(1)
    bench.fill()
    assert bench.decoders[0].packets == packets(13)[first:], "and once only"


def test_a_volume_change_in_mid_song_has_no_dip() -> None:
    encoder = Encoder()
    song = [encoder.encode_float(signal()[at : at + 960]) for at in range(0, 96_000, 960)]
    encoder.close()
    reference, expected = Decoder(), np.zeros((960, 2), np.float32)
    for packet in song[:50]:
        reference.decode_float(packet, expected)
    reference.decode_float(song[50], expected)
    reference.close()
    bench = Bench(song, make_decoder=OpusPacketDecoder, capacity=3)
    for _ in range(50):
        bench.fill()
        bench.take(1)
    bench.playback.set_gain(0.999_999)
    bench.fill()
    error = np.sqrt(np.mean((bench.encoder.frames[-1] - expected) ** 2) / np.mean(expected**2))
    assert error < 0.25, "a decoder that begins here without history is off by more than 0.8"
    bench.playback.close()


def test_a_damaged_packet_is_concealed_and_counted() -> None:
    encoder = Encoder()
    good = [encoder.encode_float(pcm(0.1)) for _ in range(4)]
    encoder.close()
    # Code 3 with no frame count byte: libopus refuses it.
    bench = Bench([*good, b"\xff", *good], gain=0.5, make_decoder=OpusPacketDecoder)
    heard = bench.play_to_the_end()
    assert len(heard) == 9 + len(CLOSING)
    assert bench.playback.error is None
    assert bench.feed.skipped_packets == 1


def test_what_the_source_skipped_is_known_while_it_plays() -> None:
    bench = Bench(packets(4))
    bench.source.skipped_packets = 3
    bench.fill()
    assert bench.feed.skipped_packets == 3


# Filling.


@pytest.mark.parametrize("capacity", [2, 3, 4, 7, 8, 50])
def test_the_ring_is_filled_in_bursts_up_to_its_capacity(capacity: int) -> None:
    bench = Bench(packets(200), capacity=capacity)
    burst = max(1, capacity // 2)
    bench.fill()
    assert len(bench.ring) == burst
    for _ in range(100):
        bench.fill()
    assert len(bench.ring) == capacity
    assert bench.ring == packets(capacity)
    assert bench.source.polls == capacity, "a full ring asks for nothing"


def test_packets_that_pass_through_come_half_a_ring_at_once() -> None:
    bench = Bench(packets(50))
    bench.fill()
    bench.fill()
    assert bench.ring == packets(8), "four at a time"
    bench.take(1)
    assert bench.playback.due_again_ns() == NOW_NS + 3 * FRAME_NS, "when there is room for four more"


def test_it_wants_to_be_called_again_when_there_is_room_for_a_burst() -> None:
    bench = Bench([pcm(0.1)] * 50)
    assert [bench.fill() for _ in range(4)] == [
        NOW_NS - 4 * FRAME_NS,
        NOW_NS - 2 * FRAME_NS,
        NOW_NS,
        NOW_NS + 2 * FRAME_NS,
    ], "overdue while there is room, then when two more will have been sent"
    bench.outlet.due_ns += FRAME_NS
    bench.take(1)
    assert bench.playback.due_again_ns() == NOW_NS + 2 * FRAME_NS, "sending on time does not move it"


def test_a_source_with_nothing_ready_is_asked_again_in_10_ms() -> None:
    bench = Bench([b"a", NOT_YET, NOT_YET, b"b", b"c"], capacity=16)
    assert bench.fill() == NOW_NS + 10_000_000
    assert bench.ring == [b"a"]
    assert bench.playback.fill(NOW_NS + 1) == NOW_NS + 10_000_001
    bench.fill()
    assert bench.ring == [b"a", b"b", b"c", *CLOSING]
    assert bench.playback.may_park


def test_it_is_primed_once_when_two_frames_are_there() -> None:
    bench = Bench([pcm(0.1), NOT_YET, *[pcm(0.1)] * 3], capacity=4, arrives=True)
    assert bench.fill() == 0, "until then it goes before all others"
    assert bench.fill() == NOW_NS + 10_000_000
    assert bench.primings == []
    assert bench.fill() != 0
    bench.fill()
    bench.fill()
    assert bench.primings == [2]


@pytest.mark.parametrize("count", [0, 1])
def test_a_source_too_short_to_prime_is_primed_by_its_end(count: int) -> None:
    bench = Bench(packets(count), arrives=True)
    bench.fill()
    assert bench.playback.may_park
    assert bench.ring == packets(count) + CLOSING
    assert bench.primings == [count + 6]
    assert (bench.frames_made, bench.frames_sent) == (count, 0)
    assert bench.playback.error is None


# The end.


def test_the_end_brings_silence_and_mark_once_and_what_is_dismissed_then_is_closed() -> None:
    bench = Bench(packets(3), gain=0.5)
    heard = bench.play_to_the_end()
    assert heard[3:] == CLOSING
    for _ in range(3):
        bench.fill()
    assert (bench.ends, bench.ring) == (1, [])
    assert (bench.playback.may_park, bench.playback.closed) == (True, False)
    bench.dismiss()
    assert bench.playback.closed
    assert (bench.source.closes, bench.encoder.closes, bench.decoders[0].closes) == (1, 1, 1)
    bench.playback.close()
    assert bench.source.closes == 1


def test_a_source_that_breaks_is_played_up_to_there() -> None:
    bench = Bench([*packets(3), SourceError(ErrorCode.SOURCE_TRUNCATED, "cut", played_s=0.06)])
    assert bench.play_to_the_end() == packets(3) + CLOSING
    [error] = bench.endings
    assert error is not None
    assert (error.code, error.text, error.data) == (ErrorCode.SOURCE_TRUNCATED, "cut", {"played_s": 0.06})
    bench.dismiss()
    assert (bench.source.closes, bench.encoder.closes, bench.ends) == (1, 1, 1)


def test_a_source_that_breaks_at_once_is_refused_with_its_error() -> None:
    bench = Bench([SourceError(ErrorCode.SOURCE_FAILED, "no")], arrives=True)
    bench.fill()
    assert bench.primings == []
    [error] = bench.refusals
    assert error.code is ErrorCode.SOURCE_FAILED
    assert bench.source.closes == 1
    assert bench.frames_made == 0


def test_a_defect_of_ours_ends_one_playback_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([b"packet 0", ZeroDivisionError("gain")])
    with caplog.at_level(logging.ERROR):
        assert bench.play_to_the_end() == [b"packet 0", *CLOSING]
    assert not bench.decoders, "a failure is no reason to decode"
    [error] = bench.endings
    assert error is not None
    assert error.code is ErrorCode.INTERNAL
    assert "ZeroDivisionError" in error.text
    assert "ZeroDivisionError" in caplog.text
    assert bench.playback.may_park
    bench.dismiss()
    assert (bench.source.closes, bench.encoder.closes, bench.ends) == (1, 1, 1)


def test_cancelled_it_closes_at_the_next_turn_and_reads_no_more() -> None:
    bench = Bench(packets(20))
    bench.fill()
    polls = bench.source.polls
    bench.playback.cancelled = True
    assert not bench.playback.closed, "closing is the encoder thread's, not the one's that cancels"
    assert bench.fill() is None
    assert bench.playback.closed
    assert bench.source.polls == polls
    assert bench.ends == 0, "nobody hears its end"
    assert bench.fill() is None
    assert bench.source.closes == 1


def test_a_part_that_fails_to_close_keeps_neither_the_others_nor_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(packets(1), gain=0.5, breaks_on_close=True)
    bench.fill()
    assert bench.ring == [b"encoded 1", *CLOSING]
    bench.dismiss()
    assert (bench.encoder.closes, bench.decoders[0].closes) == (1, 1)
    assert bench.playback.error is None
    assert "could not be closed" in caplog.text
    assert "the disk is gone" in caplog.text


# What was sent.


def test_frames_sent_counts_what_left_and_never_the_closing_silence() -> None:
    bench = Bench(packets(5), capacity=4)
    assert bench.frames_sent == 0
    bench.fill_up()
    assert (bench.frames_made, bench.frames_sent) == (4, 0)
    bench.take(1)
    assert bench.frames_sent == 1
    bench.fill()
    bench.take(1)
    bench.fill()
    assert bench.ended
    assert bench.frames_sent == 2
    counts = []
    while bench.ring:
        bench.take(1)
        counts.append(bench.frames_sent)
    assert counts == [3, 4, 5, 5, 5, 5, 5, 5, 5]


def test_frames_sent_is_never_negative_while_a_frame_is_being_added() -> None:
    bench = Bench(packets(5))
    bench.playback.ring.append(b"appended, and not counted yet")
    assert bench.frames_sent == 0


@pytest.mark.parametrize("kind", [packets, marked])
@given(
    length=st.integers(0, 40),
    capacity=st.integers(1, 12),
    actions=st.lists(
        st.one_of(st.just("fill"), st.integers(0, 6), st.sampled_from([0.5, 0.7, 1.0])), max_size=60
    ),
)
def test_whatever_happens_in_between_every_frame_leaves_once_and_in_order(
    kind: Callable[[int], list[Step]], length: int, capacity: int, actions: list[str | int | float]
) -> None:
    bench = Bench(kind(length), capacity=capacity)
    heard: list[bytes | Mark] = []
    for action in actions:
        if isinstance(action, float):
            bench.playback.set_gain(action)
        elif isinstance(action, int):
            heard += bench.take(action)
        else:
            bench.fill()
        audio = [item for item in heard if item not in (SILENCE, END)]
        assert bench.frames_sent == len(audio)
        assert len(bench.ring) <= capacity + len(CLOSING)
    heard += bench.play_to_the_end()
    assert heard[length:] == CLOSING
    assert bench.numbers_of(heard) == list(range(length))
    assert bench.endings == [None]
    bench.dismiss()
    assert (bench.source.closes, bench.encoder.closes) == (1, 1)


def test_the_outlet_is_told_whether_the_source_has_nothing_ready() -> None:
    bench = Bench([pcm(0.1), NOT_YET, *[pcm(0.1)] * 3], capacity=4)
    bench.fill()
    assert not bench.outlet.dry, "the burst was made"
    bench.fill()
    assert bench.outlet.dry
    bench.fill()
    assert not bench.outlet.dry


def test_whatever_thread_fills_it_does_so_in_the_context_of_who_made_it() -> None:
    call = contextvars.ContextVar("call", default="none")
    bench = contextvars.copy_context().run(_bench_of, call, "c1")
    seen: list[str] = []
    bench.source.at_poll = lambda: seen.append(call.get())
    bench.fill()
    assert set(seen) == {"c1"}, "its lines of the log name the call"


def _bench_of(variable: contextvars.ContextVar[str], call: str) -> Bench:
    variable.set(call)
    return Bench(packets(2))
