from __future__ import annotations

import threading
import warnings
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.workers.audio.media_files import signal
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.streams import StreamReader
from voicepool.workers.errors import SourceError

SAFETY_S = 60.0
PACKET = b"\xfc" + bytes(9)
"""Configuration 31 (CELT, 20 ms), stereo, one frame."""
SHORT_PACKET = b"\xf4" + bytes(9)
"""10 ms."""


class Bench:
    """A reader, and the credit it has granted."""

    def __init__(self, wire_format: str = "s16", **source: Any) -> None:
        self.credits_ms: list[int] = []
        self.reader = StreamReader(
            StreamSource(stream=StreamId("s"), format=wire_format, **source), on_credit=self.credits_ms.append
        )

    def push(self, *attachments: bytes, ends: bool = False) -> None:
        self.reader.push(attachments, ends=ends)

    def frames(self) -> list[NDArray[np.float32]]:
        """Return all PCM frames that are there."""
        found = []
        while isinstance(frame := self.reader.poll(), np.ndarray):
            assert frame.shape == (960, 2)
            assert frame.dtype == np.float32
            found.append(frame)
        return found

    def pcm(self) -> NDArray[np.float32]:
        frames = self.frames()
        return np.concatenate(frames) if frames else np.empty((0, 2), np.float32)


def int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(samples * 20_000).astype(np.int16)


# What is heard.


def test_int16_comes_out_sample_by_sample_and_the_last_frame_is_padded() -> None:
    bench, sent = Bench(), int16(signal(seconds=0.05))
    bench.push(sent.tobytes(), ends=True)
    heard = bench.pcm()
    assert len(heard) == 2_880
    assert np.array_equal(heard[:2_400], sent / np.float32(32_768))
    assert not heard[2_400:].any()
    assert bench.reader.poll() is None


def test_float_comes_out_as_it_is_even_beyond_full_scale() -> None:
    bench, sent = Bench("f32"), signal(seconds=0.1) * 9
    bench.push(sent.tobytes(), ends=True)
    assert np.array_equal(bench.pcm()[: len(sent)], sent)
    assert bench.reader.silenced_values == 0


def test_frames_are_the_takers_own() -> None:
    bench, sent = Bench("f32"), signal(seconds=0.04)
    bench.push(sent.tobytes())
    first, second = bench.frames()
    first[:] = 9.0
    assert np.array_equal(second, sent[960:])


def test_mono_goes_to_both_sides_at_its_own_level() -> None:
    bench, sent = Bench(channels=1), int16(signal(channels=1, seconds=0.04))
    bench.push(sent.tobytes())
    assert np.array_equal(bench.pcm(), np.repeat(sent, 2, axis=1) / np.float32(32_768))


def test_at_48_khz_a_frame_comes_as_soon_as_its_samples_are_there() -> None:
    bench, sent = Bench(), bytes(4 * 959)
    bench.push(sent)
    assert bench.reader.poll() is NOT_YET
    bench.push(bytes(4))
    assert isinstance(bench.reader.poll(), np.ndarray)
    assert bench.reader.poll() is NOT_YET


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 22_050, 44_100, 96_000, 192_000, 384_000])
@pytest.mark.parametrize("wire_format", ["s16", "f32"])
def test_other_rates_sound_as_pyavs_resampler_makes_them(rate_hz: int, wire_format: str) -> None:
    sent = signal(rate_hz=rate_hz, seconds=0.5)
    data = int16(sent) if wire_format == "s16" else sent
    frame = av.AudioFrame.from_ndarray(
        data.reshape(1, -1), format="s16" if wire_format == "s16" else "flt", layout="stereo"
    )
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler(format="flt", layout="stereo", rate=48_000)
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    want = np.concatenate([piece.to_ndarray().reshape(-1, 2) for piece in pieces])

    bench = Bench(wire_format, sample_rate_hz=rate_hz)
    step = max(1, rate_hz // 30)
    heard = []
    for at in range(0, len(data), step):
        bench.push(data[at : at + step].tobytes())
        heard += bench.frames()
    bench.push(ends=True)
    got = np.concatenate(heard + bench.frames())
    assert len(got) == -(-len(want) // 960) * 960
    assert np.allclose(got[: len(want)], want, atol=1e-6)
    assert not got[len(want) :].any()
    assert bench.reader.poll() is None


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
def test_any_number_of_channels_is_heard_without_clipping(channels: int, rate_hz: int) -> None:
    bench = Bench("f32", channels=channels, sample_rate_hz=rate_hz)
    bench.push(np.full((rate_hz // 2, channels), 0.9, np.float32).tobytes(), ends=True)
    heard = bench.pcm()
    assert len(heard) == 24_000
    middle = heard[4_800:-4_800]
    assert middle.min() > 0.5
    assert middle.max() <= 1.0001


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
def test_what_is_no_sound_becomes_silence_and_is_counted(rate_hz: int) -> None:
    sent = np.full((rate_hz // 50, 2), 0.5, np.float32)
    sent[3, 0], sent[5, 1], sent[7] = np.nan, np.inf, (-np.inf, 3e38)
    clean = np.where(np.abs(np.nan_to_num(sent, nan=np.inf)) <= 1.0, sent, 0.0)
    benches = [Bench("f32", sample_rate_hz=rate_hz) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bench, samples in zip(benches, (sent, clean), strict=True):
            bench.push(samples.astype(np.float32).tobytes(), ends=True)
        got, want = benches[0].pcm(), benches[1].pcm()
    assert np.isfinite(got).all()
    assert np.array_equal(got, want)
    assert [bench.reader.silenced_values for bench in benches] == [4, 0]


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000, 44_100])
def test_speech_of_any_rate_is_heard_one_frame_after_it_came(rate_hz: int) -> None:
    bench = Bench(sample_rate_hz=rate_hz, channels=1)
    piece = bytes(2 * rate_hz // 50)
    heard = []
    for _ in range(20):
        bench.push(piece)
        heard.append(len(bench.frames()))
    assert sum(heard[:2]) >= 1
    assert sum(heard) >= 19


def test_an_empty_stream_is_over_at_once() -> None:
    for rate_hz in (48_000, 44_100):
        bench = Bench(sample_rate_hz=rate_hz)
        assert bench.reader.poll() is NOT_YET
        bench.push(ends=True)
        assert bench.reader.poll() is None


def test_nothing_is_taken_after_the_end() -> None:
    bench = Bench()
    bench.push(bytes(3_840), ends=True)
    bench.push(bytes(3_840))
    assert len(bench.frames()) == 1
    assert bench.reader.poll() is None


# Packets.


def test_packets_pass_in_order_and_at_last_none() -> None:
    bench = Bench("opus")
    packets = [PACKET + bytes([n]) for n in range(5)]
    assert bench.reader.kind == "opus"
    assert bench.reader.poll() is NOT_YET
    bench.push(*packets[:3])
    assert bench.reader.poll() == packets[0]
    assert bench.reader.take_packets(24) == packets[1:3]
    assert bench.reader.take_packets(24) == []
    assert bench.reader.poll() is NOT_YET
    bench.push(*packets[3:], ends=True)
    assert bench.reader.take_packets(1) == packets[3:4]
    assert bench.reader.poll() == packets[4]
    assert bench.reader.poll() is None


def test_packets_that_cannot_be_sent_are_left_out_and_counted() -> None:
    bench = Bench("opus")
    bench.push(SHORT_PACKET, PACKET, b"", PACKET + bytes(2_000), PACKET, ends=True)
    assert bench.reader.take_packets(24) == [PACKET, PACKET]
    assert bench.reader.skipped_packets == 3
    assert bench.reader.poll() is None


def test_a_pcm_stream_has_no_packets() -> None:
    bench = Bench()
    bench.push(bytes(3_840))
    assert bench.reader.take_packets(24) == []
    assert len(bench.frames()) == 1


# Where it is, and what it says of itself.


@pytest.mark.parametrize("wire_format", ["s16", "opus"])
def test_position_is_where_the_last_frame_began(wire_format: str) -> None:
    bench = Bench(wire_format)
    assert bench.reader.position_s == 0.0
    bench.push(*[PACKET if wire_format == "opus" else bytes(3_840)] * 3)
    positions = []
    for _ in range(4):
        bench.reader.poll()
        positions.append(bench.reader.position_s)
    assert positions == pytest.approx([0.0, 0.02, 0.04, 0.04])


def test_info() -> None:
    info = Bench("f32", sample_rate_hz=16_000, channels=1).reader.info
    assert info.codec.startswith("pcm_f32")
    assert (info.sample_rate_hz, info.channels, info.duration_s, info.live) == (16_000, 1, None, True)
    assert Bench("opus").reader.info.codec == "opus"


# Credit.


def test_the_whole_capacity_is_granted_first_and_then_what_was_taken_by_quarters() -> None:
    bench = Bench(capacity_ms=400)
    assert bench.credits_ms == [400]
    bench.push(bytes(3_840 * 20))
    for _ in range(4):
        bench.reader.poll()
    assert bench.credits_ms == [400]
    bench.reader.poll()
    assert bench.credits_ms == [400, 100]
    bench.frames()
    assert bench.credits_ms == [400, 100, 100, 100, 100]


@pytest.mark.parametrize(
    ("wire_format", "rate_hz", "capacity_ms"),
    [("s16", 48_000, 20), ("s16", 48_000, 35), ("s16", 1_001, 20), ("f32", 44_100, 90), ("opus", 48_000, 50)],
)
def test_who_uses_all_credit_gets_more_once_all_that_can_be_was_taken(
    wire_format: str, rate_hz: int, capacity_ms: int
) -> None:
    bench = Bench(wire_format, sample_rate_hz=rate_hz, capacity_ms=capacity_ms)
    item_bytes = 8 if wire_format == "f32" else 4
    sent = 0
    for _ in range(100):
        allowed = sum(bench.credits_ms) * rate_hz // 1_000 - sent
        if wire_format == "opus":
            allowed -= allowed % 960
            bench.push(*[PACKET] * (allowed // 960))
            assert len(bench.reader.take_packets(100)) == allowed // 960
        else:
            bench.push(bytes(allowed * item_bytes))
            bench.frames()
        assert allowed > 0
        sent += allowed
    assert sent >= 50 * capacity_ms * rate_hz // 1_000


def test_a_bot_that_ignores_credit_is_told_so_after_what_it_had_credit_for() -> None:
    bench = Bench(capacity_ms=100)
    bench.push(bytes(3_840 * 5))
    bench.push(bytes(4))
    bench.push(bytes(3_840))
    assert bench.reader.buffered_s == pytest.approx(0.1)
    for _ in range(5):
        assert isinstance(bench.reader.poll(), np.ndarray)
    with pytest.raises(SourceError, match="1 ms more than the 100 ms it had credit for") as caught:
        bench.reader.poll()
    assert caught.value.code is ErrorCode.SOURCE_FAILED
    assert bench.reader.poll() is None
    assert bench.credits_ms == [100]


def test_half_a_sample_ends_the_track() -> None:
    bench = Bench(channels=1)
    bench.push(bytes(2 * 960))
    bench.push(bytes(3))
    assert isinstance(bench.reader.poll(), np.ndarray)
    with pytest.raises(SourceError, match="3 bytes"):
        bench.reader.poll()


def test_no_credit_after_the_end() -> None:
    bench = Bench(capacity_ms=100)
    bench.push(bytes(3_840 * 5), ends=True)
    assert len(bench.frames()) == 5
    assert bench.credits_ms == [100]


@pytest.mark.parametrize(("wire_format", "rate_hz"), [("s16", 48_000), ("s16", 44_100), ("opus", 48_000)])
def test_what_comes_while_the_reader_finds_nothing_is_not_taken_for_the_end(
    wire_format: str, rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(wire_format, sample_rate_hz=rate_hz)
    name = "take_packets" if wire_format == "opus" else "_take_bytes"
    take = getattr(bench.reader, name)

    def take_and_be_late(*args: Any, **kwargs: Any) -> object:
        monkeypatch.undo()
        found = take(*args, **kwargs)
        bench.push(PACKET * 96, ends=True)
        return found

    monkeypatch.setattr(bench.reader, name, take_and_be_late)
    assert bench.reader.poll() is NOT_YET
    frame = bench.reader.poll()
    assert frame is not NOT_YET
    assert frame is not None


def test_close_drops_everything_also_a_failure() -> None:
    sources: list[dict[str, Any]] = [{}, {"sample_rate_hz": 44_100}, {"wire_format": "opus"}]
    for source in sources:
        bench = Bench(**source)
        bench.push(*[PACKET * 4] * 4)
        bench.push(*[b"\0\0\0"] * 100)
        bench.reader.close()
        bench.reader.close()
        bench.push(bytes(3_840))
        assert bench.reader.poll() is None
        assert bench.reader.take_packets(9) == []
        assert bench.reader.buffered_s == 0.0
        assert bench.credits_ms == [1_000]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"wire_format": "u8"}, "format 'u8'"),
        ({"sample_rate_hz": 999}, "999 Hz"),
        ({"sample_rate_hz": 384_001}, "384001 Hz"),
        ({"channels": 0}, "0 channels"),
        ({"channels": 9}, "9 channels"),
        ({"capacity_ms": 19}, "19 ms"),
        ({"wire_format": "opus", "sample_rate_hz": 24_000}, "Opus at 24000 Hz"),
    ],
)
def test_what_cannot_be_played_is_refused(source: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        Bench(**source)
    assert caught.value.code is ErrorCode.SOURCE_UNREADABLE


def test_one_thread_pushes_another_reads() -> None:
    """Whatever the two do to each other, each sample comes once and in order, and the bound holds."""
    total = 48_000
    sent = np.arange(total * 2, dtype=np.int64).astype(np.int16).reshape(-1, 2)
    news = threading.Condition()
    granted_ms = 0
    all_sent = False

    def on_credit(credit_ms: int) -> None:
        nonlocal granted_ms
        with news:
            granted_ms += credit_ms
            news.notify_all()

    reader = StreamReader(
        StreamSource(stream=StreamId("s"), format="s16", capacity_ms=60), on_credit=on_credit
    )

    def push_all() -> None:
        nonlocal all_sent
        sizes = np.random.default_rng(3).integers(1, 400, total)
        at = 0
        for size in sizes:
            end = min(at + int(size), total)
            with news:
                while granted_ms * 48 < end:
                    assert news.wait(SAFETY_S)
            reader.push([sent[at:end].tobytes()], ends=end == total)
            at = end
            with news:
                all_sent = end == total
                news.notify_all()
            if all_sent:
                return

    pusher = threading.Thread(target=push_all)
    pusher.start()
    heard: list[NDArray[np.float32]] = []
    while (frame := reader.poll()) is not None:
        assert reader.buffered_s <= 0.06
        if frame is NOT_YET:
            with news:
                assert news.wait_for(lambda: reader.buffered_s >= 0.02 or all_sent, SAFETY_S)
        else:
            assert isinstance(frame, np.ndarray)
            heard.append(frame)
    pusher.join()
    assert np.array_equal(np.concatenate(heard), sent / np.float32(32_768))
