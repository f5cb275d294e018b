from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.workers.audio.media_files import delay_and_correlation, signal
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.resample import FrameCutter

TASKS = Path("/proc/self/task")


def av_frame(
    samples: np.ndarray, *, rate_hz: int = 48_000, layout: str = "stereo", fmt: str = "fltp"
) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
    frame.sample_rate = rate_hz
    if fmt == "fltp":
        return frame
    return av.AudioResampler(format=fmt, layout=layout, rate=rate_hz).resample(frame)[0]


def taken(cutter: FrameCutter) -> list[PcmFrame]:
    frames = []
    while (frame := cutter.take()) is not None:
        assert frame.shape == (960, 2)
        assert frame.dtype == np.float32
        frames.append(frame)
    return frames


def cut(*pieces: av.AudioFrame) -> PcmFrame:
    cutter = FrameCutter()
    frames = []
    for piece in pieces:
        cutter.push(piece)
        frames += taken(cutter)
    cutter.finish()
    frames += taken(cutter)
    assert cutter.take() is None
    return np.concatenate(frames) if frames else np.empty((0, 2), np.float32)


def test_48_khz_stereo_float_comes_out_bit_by_bit() -> None:
    sent = signal(seconds=0.5)
    pieces = [av_frame(sent[i : i + 1_152]) for i in range(0, len(sent), 1_152)]
    heard = cut(*pieces)
    assert np.array_equal(heard[: len(sent)], sent)
    assert len(heard) == 24_000


def test_last_frame_is_filled_up_with_silence() -> None:
    sent = signal(seconds=0.5)[:1_000]
    heard = cut(av_frame(sent))
    assert heard.shape == (1_920, 2)
    assert np.array_equal(heard[:1_000], sent)
    assert not heard[1_000:].any()


def test_nothing_in_nothing_out() -> None:
    assert len(cut()) == 0


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("fmt", ["s16", "flt", "s32p"])
def test_every_rate_keeps_time_and_sound(rate_hz: int, fmt: str) -> None:
    sent = signal(rate_hz=rate_hz, seconds=1.0)
    step = rate_hz // 40
    heard = cut(*[av_frame(sent[i : i + step], rate_hz=rate_hz, fmt=fmt) for i in range(0, len(sent), step)])
    assert len(heard) == 48_000
    for side in (0, 1):
        delay, correlation = delay_and_correlation(heard[:, side], signal(seconds=1.0)[:, side])
        assert abs(delay) <= 1
        assert correlation > 0.99


def test_mono_goes_to_both_sides_at_its_own_level() -> None:
    sent = signal(channels=1, seconds=0.5)
    heard = cut(av_frame(sent, layout="mono"))
    assert np.allclose(heard, np.repeat(sent, 2, axis=1), atol=1e-5)


def test_surround_is_mixed_down_without_clipping() -> None:
    loud = np.ones((4_800, 6), np.float32)
    heard = cut(av_frame(loud, layout="5.1"))
    assert np.abs(heard).max() <= 1.0001
    assert heard.min() > 0.5


def test_centre_is_heard_on_both_sides() -> None:
    sent = np.zeros((4_800, 6), np.float32)
    sent[:, 2] = signal(channels=1, seconds=0.1)[:, 0]
    heard = cut(av_frame(sent, layout="5.1"))
    assert np.abs(heard).max() > 0.05
    assert np.array_equal(heard[:, 0], heard[:, 1])


def test_shape_may_change_in_mid_stream_without_a_lost_sample() -> None:
    first, second, third = (
        signal(seconds=0.1)[:4_700],
        signal(rate_hz=24_000, channels=1, seconds=0.1),
        signal(seconds=0.1),
    )
    heard = cut(av_frame(first), av_frame(second, rate_hz=24_000, layout="mono"), av_frame(third))
    assert np.array_equal(heard[:4_700], first)
    assert np.array_equal(heard[9_500 : 9_500 + 4_800], third)
    assert len(heard) == -(-14_300 // 960) * 960


def test_frames_are_the_takers_own() -> None:
    sent = signal(seconds=0.5)
    cutter = FrameCutter()
    cutter.push(av_frame(sent))
    kept = taken(cutter)
    kept[0][:] = 9.0
    for _ in range(20):
        cutter.push(av_frame(sent))
        taken(cutter)
    assert (kept[0] == 9.0).all()
    assert np.array_equal(np.concatenate(kept[1:]), sent[960 : 960 * len(kept)])


@pytest.mark.parametrize("layout", ["22.2", "hexadecagonal", "7.1", "3 channels"])
def test_unusual_layouts_are_mixed_down_too(layout: str) -> None:
    frame = av.AudioFrame(format="s16", layout=layout, samples=960)
    frame.sample_rate = 48_000
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    assert not cut(frame).any()


def test_channels_that_no_layout_names_end_in_ffmpegs_error() -> None:
    frame = av.AudioFrame(format="s16", layout="40 channels", samples=960)
    frame.sample_rate = 48_000
    cutter = FrameCutter()
    for _ in range(2):
        with pytest.raises(av.FFmpegError):
            cutter.push(frame)
    cutter.finish()
    assert cutter.take() is None


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted through /proc")
def test_resampling_starts_no_thread() -> None:
    before = len(list(TASKS.iterdir()))
    cutter = FrameCutter()
    cutter.push(av_frame(signal(rate_hz=44_100, seconds=0.1), rate_hz=44_100))
    assert len(list(TASKS.iterdir())) <= before


@pytest.mark.parametrize("block_frames", [1, 4])
def test_blocks_are_as_long_as_the_taker_likes_and_sound_the_same(block_frames: int) -> None:
    sent = signal(rate_hz=24_000, seconds=1.0)
    cutter = FrameCutter(block_frames=block_frames)
    frames: list[PcmFrame] = []
    waits = []
    for start in range(0, len(sent), 480):
        cutter.push(av_frame(sent[start : start + 480], rate_hz=24_000))
        frames += taken(cutter)
        waits.append((start + 480) // 480 - len(frames))
    cutter.finish()
    frames += taken(cutter)

    assert max(waits) == block_frames
    usual = cut(*(av_frame(sent[start : start + 480], rate_hz=24_000) for start in range(0, len(sent), 480)))
    assert np.array_equal(np.concatenate(frames), usual)


def test_a_block_has_something_in_it() -> None:
    with pytest.raises(ValueError, match="block_frames must be 1 or more, not 0"):
        FrameCutter(block_frames=0)
