"""A playback filled by hand: no thread, no clock, codecs that write down what they are given."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.media_files import signal
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import FRAME_NS, SILENCE, Mark
from voicepool.workers.audio.opus import Decoder, Encoder, OpusPacketDecoder
from voicepool.workers.audio.playback import PacketDecoder, Playback
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.errors import SourceError

Pcm = npt.NDArray[np.float32]
Step = bytes | Pcm | NotYet | Exception

NOW_NS = 7_000_000_000
END = Mark()
CLOSING = [SILENCE] * 5 + [END]


def pcm(value: float = 0.5) -> Pcm:
    return np.full((960, 2), value, np.float32)


def packets(count: int) -> list[Step]:
    return [b"packet %d" % number for number in range(count)]


class ScriptedSource:
    """Hands out its steps in order; raises those that are errors; ends after the last."""

    def __init__(self, steps: Sequence[Step], *, breaks_on_close: bool = False) -> None:
        self.steps = list(steps)
        self.skipped_packets = 0
        self.polls = 0
        self.closes = 0
        self._breaks_on_close = breaks_on_close

    def poll(self) -> bytes | Pcm | NotYet | None:
        self.polls += 1
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closes += 1
        if self._breaks_on_close:
            raise OSError("the disk is gone")


class RecordingEncoder:
    """Keeps a copy of every frame it would have encoded."""

    def __init__(self, buffer: Pcm) -> None:
        self.buffer = buffer
        self.frames: list[Pcm] = []
        self.closes = 0

    def encode_bound(self) -> bytes:
        self.frames.append(self.buffer.copy())
        return b"encoded %d" % len(self.frames)

    def close(self) -> None:
        self.closes += 1


class RecordingDecoder:
    """Decodes every packet to a constant."""

    concealed = 0

    def __init__(self, value: float = 0.5) -> None:
        self.value = value
        self.packets: list[bytes | None] = []
        self.closes = 0

    def decode_float(self, packet: bytes | None, out: Pcm) -> int:
        self.packets.append(packet)
        out.fill(self.value)
        return 960

    def close(self) -> None:
        self.closes += 1


@dataclass
class Outlet:
    active: bool = True
    due_ns: int = NOW_NS


@dataclass
class Bench:
    """A playback and all that is around it."""

    steps: Sequence[Step]
    gain: float = 1.0
    capacity: int = 8
    breaks_on_close: bool = False
    make_decoder: Callable[[], PacketDecoder] | None = None
    outlet: Outlet = field(default_factory=Outlet)
    decoders: list[RecordingDecoder] = field(default_factory=list)
    primings: list[int] = field(default_factory=list)
    ends: int = 0

    def __post_init__(self) -> None:
        buffer = np.zeros((960, 2), np.float32)
        self.source = ScriptedSource(self.steps, breaks_on_close=self.breaks_on_close)
        self.encoder = RecordingEncoder(buffer)
        self.playback = Playback(
            source=self.source,
            encoder=self.encoder,
            buffer=buffer,
            make_decoder=self.make_decoder or self._decoder,
            outlet=self.outlet,
            capacity_frames=self.capacity,
            gain=self.gain,
            end=self._end,
            primed=lambda: self.primings.append(len(self.playback.ring)),
        )

    def _decoder(self) -> RecordingDecoder:
        self.decoders.append(RecordingDecoder())
        return self.decoders[-1]

    def _end(self) -> list[bytes | Mark]:
        self.ends += 1
        return list(CLOSING)

    @property
    def ring(self) -> list[bytes | Mark]:
        return list(self.playback.ring)

    def fill(self) -> int | None:
        return self.playback.fill(NOW_NS)

    def fill_up(self) -> None:
        """Fill until there is no room for another burst, or nothing more to come."""
        while not self.playback.ended and len(self.playback.ring) <= self.capacity - max(
            1, self.capacity // 4
        ):
            self.fill()

    def take(self, count: int) -> list[bytes | Mark]:
        return [self.playback.ring.popleft() for _ in range(min(count, len(self.playback.ring)))]

    def play_to_the_end(self) -> list[bytes | Mark]:
        heard: list[bytes | Mark] = []
        while not self.playback.ended or self.playback.ring:
            if not self.playback.ended:
                self.fill()
            heard += self.take(1)
        return heard


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
    bench = Bench([pcm(1.0)] * 3, gain=before, capacity=4)
    bench.fill()
    bench.playback.gain = after
    bench.play_to_the_end()
    heard = np.concatenate(bench.encoder.frames)[:, 0]
    assert np.all(heard[:960] == np.float32(before))
    assert np.all(heard[1920:] == np.float32(after))
    assert heard[960] == np.float32(before)
    assert heard[1919] == np.float32(after)
    assert np.abs(np.diff(heard)).max() <= abs(after - before) / 959 * 1.01
    assert np.array_equal(*np.concatenate(bench.encoder.frames).T), "both channels alike"


def test_opus_with_a_gain_is_decoded_scaled_and_encoded_anew() -> None:
    bench = Bench(packets(3), gain=0.5)
    assert bench.play_to_the_end() == [b"encoded 1", b"encoded 2", b"encoded 3", *CLOSING]
    [decoder] = bench.decoders
    assert decoder.packets == packets(3)
    assert all(np.all(frame == 0.25) for frame in bench.encoder.frames)


def test_opus_passes_again_once_the_gain_is_back_at_1() -> None:
    bench = Bench(packets(6), capacity=3)
    bench.fill()
    bench.playback.gain = 0.5
    bench.fill()
    bench.playback.gain = 1.0
    heard = bench.ring + bench.take(2)[2:] + bench.play_to_the_end()
    assert heard == [b"packet 0", b"encoded 1", b"encoded 2", *packets(6)[3:], *CLOSING]
    ramp = bench.encoder.frames[1][:, 0]
    assert (ramp[0], ramp[-1]) == (0.25, 0.5), "the way back is a ramp as well"


def test_a_decoder_that_starts_late_first_gets_the_80_ms_before() -> None:
    bench = Bench(packets(20), capacity=3)
    for _ in range(10):
        bench.fill()
        bench.take(1)
    bench.playback.gain = 0.5
    bench.fill()
    assert bench.decoders[0].packets == packets(11)[6:], "four unheard, then the one that is heard"
    bench.take(1)
    bench.fill()
    assert bench.decoders[0].packets == packets(12)[6:], "and once only"


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
    bench.playback.gain = 0.999_999
    bench.fill()
    error = np.sqrt(np.mean((bench.encoder.frames[0] - expected) ** 2) / np.mean(expected**2))
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
    assert bench.playback.skipped_packets == 1


def test_what_the_source_skipped_is_known_while_it_plays() -> None:
    bench = Bench(packets(4))
    bench.source.skipped_packets = 3
    bench.fill()
    assert bench.playback.skipped_packets == 3


# Filling.


@pytest.mark.parametrize("capacity", [2, 3, 4, 7, 8, 50])
def test_the_ring_is_filled_in_bursts_up_to_its_capacity(capacity: int) -> None:
    bench = Bench(packets(200), capacity=capacity)
    burst = max(1, capacity // 4)
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
    assert bench.ring == packets(6), "two to begin with, then four"
    bench.take(1)
    assert bench.playback.due_again_ns() == NOW_NS + FRAME_NS, "when there is room for four more"


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
    assert bench.fill() is None
    assert bench.ring == [b"a", b"b", b"c", *CLOSING]


def test_it_is_primed_once_when_two_frames_are_there() -> None:
    bench = Bench([pcm(0.1), NOT_YET, *[pcm(0.1)] * 3], capacity=4)
    assert bench.fill() == 0, "until then it goes before all others"
    assert bench.fill() == NOW_NS + 10_000_000
    assert bench.primings == []
    assert bench.fill() != 0
    bench.fill()
    bench.fill()
    assert bench.primings == [2]


@pytest.mark.parametrize("count", [0, 1])
def test_a_source_too_short_to_prime_is_primed_by_its_end(count: int) -> None:
    bench = Bench(packets(count))
    assert bench.fill() is None
    assert bench.ring == packets(count) + CLOSING
    assert bench.primings == [count + 6]
    assert (bench.playback.frames_encoded, bench.playback.frames_sent) == (count, 0)
    assert bench.playback.error is None


# The end.


def test_the_end_brings_silence_and_mark_once_and_closes_everything() -> None:
    bench = Bench(packets(3), gain=0.5)
    heard = bench.play_to_the_end()
    assert heard[3:] == CLOSING
    assert bench.ends == 1
    assert bench.playback.closed
    assert (bench.source.closes, bench.encoder.closes, bench.decoders[0].closes) == (1, 1, 1)
    bench.playback.close()
    assert bench.source.closes == 1


def test_a_source_that_breaks_is_played_up_to_there() -> None:
    bench = Bench([*packets(3), SourceError(ErrorCode.SOURCE_TRUNCATED, "cut", played_s=0.06)])
    assert bench.play_to_the_end() == packets(3) + CLOSING
    error = bench.playback.error
    assert error is not None
    assert (error.code, error.text, error.data) == (ErrorCode.SOURCE_TRUNCATED, "cut", {"played_s": 0.06})
    assert (bench.source.closes, bench.encoder.closes, bench.ends) == (1, 1, 1)


def test_a_source_that_breaks_at_once_is_primed_with_its_error() -> None:
    bench = Bench([SourceError(ErrorCode.SOURCE_FAILED, "no")])
    assert bench.fill() is None
    assert bench.primings == [6]
    assert bench.playback.error is not None
    assert bench.playback.frames_encoded == 0


def test_a_defect_of_ours_ends_one_playback_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([b"a", ZeroDivisionError("gain")])
    with caplog.at_level(logging.ERROR):
        assert bench.play_to_the_end() == [b"a", *CLOSING]
    error = bench.playback.error
    assert error is not None
    assert error.code is ErrorCode.INTERNAL
    assert "ZeroDivisionError" in error.text
    assert "ZeroDivisionError" in caplog.text
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
    bench = Bench(packets(1), breaks_on_close=True)
    assert bench.fill() is None
    assert bench.ring == [b"packet 0", *CLOSING]
    assert bench.encoder.closes == 1
    assert bench.playback.error is None
    assert "ScriptedSource could not be closed" in caplog.text


# What was sent.


def test_frames_sent_counts_what_left_and_never_the_closing_silence() -> None:
    bench = Bench(packets(5), capacity=4)
    playback = bench.playback
    assert playback.frames_sent == 0
    bench.fill_up()
    assert (playback.frames_encoded, playback.frames_sent) == (4, 0)
    bench.take(1)
    assert playback.frames_sent == 1
    bench.fill()
    bench.take(1)
    assert bench.fill() is None
    assert playback.frames_sent == 2
    counts = []
    while bench.ring:
        bench.take(1)
        counts.append(playback.frames_sent)
    assert counts == [3, 4, 5, 5, 5, 5, 5, 5, 5]


def test_frames_sent_is_never_negative_while_a_frame_is_being_added() -> None:
    bench = Bench(packets(5))
    bench.playback.ring.append(b"appended, and not counted yet")
    assert bench.playback.frames_sent == 0


@given(
    length=st.integers(0, 40),
    capacity=st.integers(2, 12),
    actions=st.lists(st.one_of(st.just("fill"), st.integers(0, 6), st.sampled_from([0.5, 1.0])), max_size=60),
)
def test_whatever_happens_in_between_every_frame_leaves_once_and_in_order(
    length: int, capacity: int, actions: list[str | int | float]
) -> None:
    bench = Bench(packets(length), capacity=capacity)
    heard: list[bytes | Mark] = []
    for action in actions:
        if isinstance(action, float):
            bench.playback.gain = action
        elif isinstance(action, int):
            heard += bench.take(action)
        elif not bench.playback.ended:
            bench.fill()
        audio = [item for item in heard if item not in (SILENCE, END)]
        assert bench.playback.frames_sent == len(audio)
        assert len(bench.ring) <= capacity + len(CLOSING)
    heard += bench.play_to_the_end()
    assert heard[length:] == CLOSING
    passed = [item for item in heard[:length] if isinstance(item, bytes) and item.startswith(b"packet")]
    assert passed == sorted(passed, key=lambda item: int(item.split()[1]))
    encoded = [item for item in heard[:length] if item not in passed]
    assert encoded == [
        b"encoded %d" % number for number in itertools.islice(itertools.count(1), len(encoded))
    ]
    assert bench.ends == 1
    assert len(bench.primings) == 1


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
