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
from voicepool.workers.audio.feed import FeedDecoder
from voicepool.workers.audio.frame import FRAME_NS, SILENCE, Mark
from voicepool.workers.audio.opus import Decoder, Encoder, OpusPacketDecoder
from voicepool.workers.audio.playback import Playback
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


def mark(number: int, out: Pcm) -> None:
    """Write sound that tells its number whatever its volume: the right channel is a part of the left."""
    out[:, 0] = 0.5
    out[:, 1] = 0.5 * (number + 1) / 1_000


def marked(count: int) -> list[Step]:
    frames: list[Step] = []
    for number in range(count):
        frame = np.empty((960, 2), np.float32)
        mark(number, frame)
        frames.append(frame)
    return frames


class ScriptedSource:
    """Hands out its steps in order; raises those that are errors; ends after the last."""

    def __init__(self, steps: Sequence[Step], *, breaks_on_close: bool = False) -> None:
        self.steps = list(steps)
        self.skipped_packets = 0
        self.polls = 0
        self.closes = 0
        self.at_poll: Callable[[], object] = lambda: None
        self._breaks_on_close = breaks_on_close

    def poll(self) -> bytes | Pcm | NotYet | None:
        self.polls += 1
        self.at_poll()
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
        self.resets = 0
        self.closes = 0

    def encode_bound(self) -> bytes:
        self.frames.append(self.buffer.copy())
        return b"encoded %d" % len(self.frames)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closes += 1


class RecordingDecoder:
    """Decodes every packet to its number."""

    concealed = 0

    def __init__(self) -> None:
        self.packets: list[bytes | None] = []
        self.closes = 0

    def decode_float(self, packet: bytes | None, out: Pcm) -> int:
        self.packets.append(packet)
        assert packet is not None
        mark(int(packet.split()[1]), out)
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
    make_decoder: Callable[[], FeedDecoder] | None = None
    outlet: Outlet = field(default_factory=Outlet)
    decoders: list[RecordingDecoder] = field(default_factory=list)
    primings: list[int] = field(default_factory=list)
    ends: int = 0
    skip_patience_ns: int = 0
    early_samples: int = 0
    told: list[bool] = field(default_factory=list)
    """What each skip that is done has told."""
    at_end: Callable[[], object] = lambda: None
    now_ns: int = NOW_NS
    """Moved on by 20 ms with each frame that is taken."""

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
            skip_patience_ns=self.skip_patience_ns,
            early_samples=self.early_samples,
        )

    def _decoder(self) -> RecordingDecoder:
        self.decoders.append(RecordingDecoder())
        return self.decoders[-1]

    def _end(self) -> list[bytes | Mark]:
        self.ends += 1
        self.at_end()
        return list(CLOSING)

    @property
    def ring(self) -> list[bytes | Mark]:
        return list(self.playback.ring)

    def fill(self) -> int | None:
        return self.playback.fill(self.now_ns)

    def dismiss(self) -> None:
        self.playback.cancelled = True
        assert self.fill() is None

    def pcm_of(self, item: bytes | Mark) -> Pcm:
        """What an encoded frame was made of."""
        assert isinstance(item, bytes)
        name, number = item.split()
        assert name == b"encoded"
        return self.encoder.frames[int(number) - 1]

    def number_of(self, item: bytes | Mark) -> int:
        """Which frame of a marked source, or of packets, it is."""
        assert isinstance(item, bytes)
        if item.startswith(b"packet"):
            return int(item.split()[1])
        frame = self.pcm_of(item)
        return round(float(frame[-1, 1] / frame[-1, 0]) * 1_000) - 1

    def numbers_of(self, items: Sequence[bytes | Mark]) -> list[int]:
        return [self.number_of(item) for item in items if item is not SILENCE and item is not END]

    def skip(self, frames: int) -> list[bool]:
        self.playback.skip(frames, self.told.append)
        return self.told

    def fill_until_told(self) -> None:
        """Fill until a skip that is under way is done."""
        for _ in range(1_000):
            if self.told:
                return
            self.fill()
        raise AssertionError("the skip is never done")

    def fill_up(self) -> None:
        """Fill until there is no room for another burst, or nothing more to come."""
        while not self.playback.ended and len(self.playback.ring) <= self.capacity - max(
            1, self.capacity // 4
        ):
            self.fill()

    def take(self, count: int) -> list[bytes | Mark]:
        self.now_ns += count * FRAME_NS
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
    bench = Bench(packets(6), capacity=3)
    bench.fill()
    bench.playback.set_gain(0.5)
    bench.fill()
    heard = bench.take(1)
    bench.playback.set_gain(1.0)
    heard += bench.play_to_the_end()
    assert heard[0] == b"packet 0"
    assert heard[3:] == [*packets(6)[3:], *CLOSING]
    assert bench.numbers_of(heard) == [0, 1, 2, 3, 4, 5]
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
    # The two that the encoder is warmed up with, the one that is heard, and the one after it for the seam.
    assert bench.decoders[0].packets == packets(12)[4:], "four unheard before them"
    bench.take(1)
    bench.fill()
    assert bench.decoders[0].packets == packets(13)[4:], "and once only"


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
    bench.fill()
    assert bench.ring == [b"a", b"b", b"c", *CLOSING]
    assert bench.playback.may_park


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
    bench.fill()
    assert bench.playback.may_park
    assert bench.ring == packets(count) + CLOSING
    assert bench.primings == [count + 6]
    assert (bench.playback.frames_encoded, bench.playback.frames_sent) == (count, 0)
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
    error = bench.playback.error
    assert error is not None
    assert (error.code, error.text, error.data) == (ErrorCode.SOURCE_TRUNCATED, "cut", {"played_s": 0.06})
    bench.dismiss()
    assert (bench.source.closes, bench.encoder.closes, bench.ends) == (1, 1, 1)


def test_a_source_that_breaks_at_once_is_primed_with_its_error() -> None:
    bench = Bench([SourceError(ErrorCode.SOURCE_FAILED, "no")])
    bench.fill()
    assert bench.primings == [6]
    assert bench.playback.error is not None
    assert bench.playback.frames_encoded == 0


def test_a_defect_of_ours_ends_one_playback_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([b"packet 0", ZeroDivisionError("gain")])
    with caplog.at_level(logging.ERROR):
        assert bench.play_to_the_end() == [b"packet 0", *CLOSING]
    assert not bench.decoders, "a failure is no reason to decode"
    error = bench.playback.error
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
    playback = bench.playback
    assert playback.frames_sent == 0
    bench.fill_up()
    assert (playback.frames_encoded, playback.frames_sent) == (4, 0)
    bench.take(1)
    assert playback.frames_sent == 1
    bench.fill()
    bench.take(1)
    bench.fill()
    assert playback.ended
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
        assert bench.playback.frames_sent == len(audio)
        assert len(bench.ring) <= capacity + len(CLOSING)
    heard += bench.play_to_the_end()
    assert heard[length:] == CLOSING
    assert bench.numbers_of(heard) == list(range(length))
    assert len(bench.primings) == 1
    bench.dismiss()
    assert (bench.source.closes, bench.encoder.closes) == (1, 1)


# A change is soon heard.


def loudness(bench: Bench, items: Sequence[bytes | Mark]) -> list[float]:
    """How loud the frames of a marked source end, 1 being as they are."""
    return [
        1.0 if item.startswith(b"packet") else round(float(bench.pcm_of(item)[-1, 0] / 0.5), 2)
        for item in items
        if isinstance(item, bytes) and item is not SILENCE
    ]


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
    # Of the eight in the ring one is sent, two stay, five are made again and one is new; and two to warm up.
    assert len(bench.encoder.frames) <= 8 + 300 * (5 + 1 + 2)
    assert bench.encoder.resets == 300


def test_a_change_that_comes_too_soon_waits_for_its_time_and_is_not_asked_for_in_vain() -> None:
    bench = Bench(marked(50))
    bench.fill_up()
    assert bench.playback.set_gain(0.5)
    bench.fill()
    assert bench.playback.set_gain(0.6)
    encoded = len(bench.encoder.frames)
    assert bench.fill() == NOW_NS, "when there will be room for the next burst"
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


def test_a_change_while_paused_is_heard_after_the_first_two_frames() -> None:
    bench = Bench(marked(50), outlet=Outlet(active=False))
    bench.fill_up()
    assert bench.playback.may_park
    bench.playback.set_gain(0.5)
    assert not bench.playback.may_park
    bench.fill()
    assert loudness(bench, bench.ring) == [1.0, 1.0, 0.5, 0.5]
    bench.fill_up()
    assert bench.playback.may_park
    bench.playback.set_gain(0.8)
    assert bench.fill() == NOW_NS + FRAME_NS, "it is not filled again and again until it is time"
    bench.now_ns += FRAME_NS
    bench.fill()
    bench.fill_up()
    assert loudness(bench, bench.ring) == [1.0, 1.0, *[0.8] * 6]


@pytest.mark.parametrize("kind", [packets, marked])
@pytest.mark.parametrize("left", range(7))
def test_a_change_at_the_end_is_heard_and_the_end_comes_once(
    kind: Callable[[int], list[Step]], left: int
) -> None:
    bench = Bench(kind(20))
    heard: list[bytes | Mark] = []
    while len(heard) < 20 - left or not bench.playback.ended:
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
    assert bench.playback.frames_sent == 20


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
    assert loudness(bench, bench.ring) == [1.0] * 2 + [0.5] * 7
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
    assert bench.playback.position_frames == frames


def test_a_change_after_a_failure_of_ours_brings_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([*marked(7), ZeroDivisionError("a defect")])
    with caplog.at_level(logging.CRITICAL):
        bench.fill_up()
    bench.fill()
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


# Leaving out what was missed in a gap.


def test_a_skip_leaves_out_the_ring_first_and_then_the_source() -> None:
    bench = Bench(packets(60))
    bench.fill_up()
    assert bench.take(3) == packets(3)
    assert bench.skip(20) == []
    bench.fill_until_told()
    assert bench.told == [True]
    assert bench.ring[:2] == packets(60)[23:25]
    playback = bench.playback
    assert (playback.frames_sent, playback.position_frames) == (3, 23)
    assert bench.take(2) == packets(60)[23:25]
    assert (playback.frames_sent, playback.position_frames) == (5, 25)


def test_a_skip_shorter_than_the_ring_reads_nothing_that_is_left_out() -> None:
    bench = Bench(packets(60))
    bench.fill_up()
    waiting = len(bench.ring)
    bench.skip(3)
    bench.fill()
    assert bench.told == [True]
    assert bench.ring[: waiting - 3] == packets(60)[3:waiting]
    assert (bench.playback.frames_sent, bench.playback.position_frames) == (0, 3)


def test_what_is_left_out_is_never_encoded() -> None:
    bench = Bench([pcm(number / 100) for number in range(60)])
    bench.skip(40)
    bench.fill_until_told()
    assert [frame[0, 0] for frame in bench.encoder.frames] == [np.float32(0.4), np.float32(0.41)]
    assert bench.ring == [b"encoded 1", b"encoded 2"]


def test_a_skip_goes_in_bites_between_which_others_come_first() -> None:
    bench = Bench(packets(1_000), outlet=Outlet(active=False, due_ns=NOW_NS - 10**10))
    bench.skip(95)
    polls = []
    while not bench.told:
        before = bench.source.polls
        assert bench.fill() == NOW_NS, "overdue is who was due before now, and this one is not"
        polls.append(bench.source.polls - before)
    assert max(polls) <= 10 + 4, "a bite, and a burst to go on with at the end"
    assert len(polls) == 10


def test_a_source_that_ends_within_the_gap_has_finished() -> None:
    bench = Bench(packets(30))
    bench.fill_up()
    bench.take(2)
    bench.skip(500)
    bench.fill_until_told()
    assert bench.ring == CLOSING, "nothing but the closing silence and the mark is left"
    assert bench.playback.error is None
    assert (bench.playback.frames_sent, bench.playback.position_frames) == (2, 30)
    assert (bench.told, bench.ends) == ([True], 1)


def test_a_source_that_breaks_within_the_gap_has_failed() -> None:
    bench = Bench([*packets(30), SourceError(ErrorCode.SOURCE_TRUNCATED, "cut")])
    bench.skip(500)
    bench.fill_until_told()
    assert bench.ring == CLOSING
    assert bench.playback.error is not None
    assert bench.playback.error.code is ErrorCode.SOURCE_TRUNCATED
    assert bench.told == [True]


@pytest.mark.parametrize(("frames", "left"), [(3, 2), (5, 0), (100, 0)])
def test_what_is_all_in_the_ring_is_left_out_there_up_to_the_closing_silence(frames: int, left: int) -> None:
    bench = Bench(packets(5))
    bench.fill_up()
    assert bench.playback.may_park
    assert bench.skip(frames) == [], "the ring belongs to the encoder threads"
    assert not bench.playback.may_park
    bench.fill()
    assert bench.told == [True]
    assert bench.playback.may_park
    assert bench.ring == packets(5)[5 - left :] + CLOSING
    assert (bench.playback.frames_sent, bench.playback.position_frames) == (0, 5 - left)


def test_a_skip_of_a_ring_that_is_at_its_closing_silence_leaves_it_alone() -> None:
    bench = Bench(packets(2))
    bench.fill_up()
    bench.take(4)
    bench.skip(10)
    bench.fill()
    assert bench.ring == CLOSING[2:]
    assert (bench.told, bench.playback.position_frames) == ([True], 2)


def test_a_skip_asked_for_while_the_last_frames_are_put_in_is_served_once() -> None:
    bench = Bench(packets(5))
    bench.at_end = lambda: bench.skip(3)
    bench.fill_up()
    assert not bench.playback.may_park
    bench.fill()
    assert bench.told == [True]
    assert bench.ring == packets(5)[3:] + CLOSING


def test_a_skip_asked_for_while_a_burst_is_made_waits_for_the_next_turn() -> None:
    bench = Bench(packets(60))
    bench.fill()
    bench.source.at_poll = lambda: bench.told or bench.playback._skips or bench.skip(20)
    bench.fill()
    assert bench.told == []
    bench.fill_until_told()
    assert bench.playback.position_frames == 20


def test_opus_in_the_source_that_looks_like_silence_is_audio() -> None:
    bench = Bench([bytes(bytearray(SILENCE))] * 12)
    bench.fill_up()
    bench.skip(6)
    bench.fill_until_told()
    assert bench.playback.position_frames == 6


def test_a_recording_is_waited_for() -> None:
    bench = Bench([NOT_YET, *packets(5), NOT_YET, *packets(60)[5:]], skip_patience_ns=2_000_000_000)
    bench.skip(20)
    assert bench.playback.fill(NOW_NS) == NOW_NS + 10_000_000
    assert bench.playback.fill(NOW_NS + 10_000_000) == NOW_NS + 20_000_000
    bench.fill_until_told()
    assert bench.told == [True]
    assert bench.ring[:2] == packets(60)[20:22]


@pytest.mark.parametrize(("waited_ns", "told"), [(99_999_999, []), (100_000_000, [False])])
def test_a_live_source_is_played_from_where_it_is_after_a_short_wait(
    waited_ns: int, told: list[bool]
) -> None:
    bench = Bench([*packets(5), NOT_YET, NOT_YET, *packets(60)[5:]], skip_patience_ns=100_000_000)
    bench.skip(1_000)
    assert bench.playback.fill(NOW_NS) == NOW_NS + 10_000_000
    bench.playback.fill(NOW_NS + waited_ns)
    assert bench.told == told
    if told:
        assert bench.ring[:2] == packets(60)[5:7]
        assert bench.playback.position_frames == 5


def test_a_live_source_with_nothing_to_go_on_with_keeps_its_call_waiting() -> None:
    bench = Bench([*packets(5), *[NOT_YET] * 6, *packets(60)[5:]], skip_patience_ns=0)
    bench.skip(1_000)
    assert bench.fill() == NOW_NS + 10_000_000
    bench.fill()
    assert (bench.told, bench.ring) == ([], [])
    bench.fill_until_told()
    assert bench.told == [False]
    assert len(bench.ring) >= 2


def test_a_decoder_hears_the_80_ms_before_the_place_where_it_goes_on() -> None:
    bench = Bench(packets(60), gain=0.5, capacity=2)
    bench.fill()
    bench.skip(30)
    bench.fill_until_told()
    heard = bench.decoders[0].packets
    assert heard[:2] == packets(2), "the one that was heard, and the one after it for the seam"
    assert heard[2:7] == packets(60)[26:31], "four unheard, then the one that is heard"


def test_what_has_a_skip_to_do_is_not_parked() -> None:
    bench = Bench([pcm(0.1)] * 50, outlet=Outlet(active=False))
    bench.fill_up()
    parks = [bench.playback.may_park]
    bench.skip(1)
    parks.append(bench.playback.may_park)
    bench.fill()
    bench.fill_up()
    parks.append(bench.playback.may_park)
    assert parks == [True, False, True]


def test_cancelled_amid_a_skip_it_closes_and_tells_nobody() -> None:
    bench = Bench(packets(1_000))
    bench.skip(500)
    bench.fill()
    bench.playback.cancelled = True
    assert bench.fill() is None
    assert (bench.playback.closed, bench.told) == (True, [])


def test_out_of_the_wheel_nothing_counts_as_late() -> None:
    bench = Bench(packets(50), outlet=Outlet(active=False, due_ns=1))
    assert bench.fill() == NOW_NS, "primed, and in no hurry: what was due long ago was another's frame"


@given(
    length=st.integers(0, 80),
    capacity=st.integers(2, 12),
    actions=st.lists(
        st.one_of(st.just("fill"), st.integers(0, 6), st.tuples(st.integers(1, 40))), max_size=40
    ),
)
def test_whatever_is_left_out_the_position_is_the_place_in_the_source(
    length: int, capacity: int, actions: list[str | int | tuple[int]]
) -> None:
    bench = Bench(packets(length), capacity=capacity)
    taken = 0
    skipped = 0
    for action in actions:
        if isinstance(action, tuple):
            told = len(bench.told)
            before = bench.playback.position_frames
            bench.skip(action[0])
            while len(bench.told) == told:
                bench.fill()
            skipped += bench.playback.position_frames - before
            assert bench.playback.position_frames == min(before + action[0], length)
        elif isinstance(action, int):
            audio = [item for item in bench.take(action) if item not in CLOSING]
            expected = packets(length)[taken + skipped : taken + skipped + len(audio)]
            assert audio == expected
            taken += len(audio)
        elif not bench.playback.ended:
            bench.fill()
        assert bench.playback.frames_sent == taken
        assert bench.playback.position_frames == taken + skipped
