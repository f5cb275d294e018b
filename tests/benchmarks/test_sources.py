from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.sources import Kind, Sources, Tones, music


class TestMusic:
    def test_it_is_the_same_each_time(self) -> None:
        assert np.array_equal(music(0.5), music(0.5))

    @pytest.mark.parametrize("seconds", [0.1, 8.0, 17.5])
    def test_it_is_as_long_as_asked_for(self, seconds: float) -> None:
        assert music(seconds).shape == (round(seconds * 48_000), 2)

    def test_it_is_loud_and_its_sides_differ(self) -> None:
        left, right = music(8).astype(np.float64).T / 32_768
        assert 0.7 < max(np.abs(left).max(), np.abs(right).max()) < 0.9
        assert np.sqrt(np.mean((left - right) ** 2)) > 0.02


def test_all_files_hold_the_music(tmp_path: Path) -> None:
    sources = Sources.make(tmp_path, 1.0)
    for file, codec in ((sources.wav, "pcm_s16le"), (sources.mp3, "mp3"), (sources.opus, "opus")):
        with av.open(str(file)) as container:
            stream = container.streams.audio[0]
            samples = sum(frame.samples for frame in container.decode(stream))
            assert stream.codec_context.name.startswith(codec)
            assert (stream.rate, stream.channels) == (48_000, 2)
        assert samples == pytest.approx(48_000, abs=2_500)


def test_the_opus_packets_last_20_ms(tmp_path: Path) -> None:
    with av.open(str(Sources.make(tmp_path, 1.0).opus)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert {packet.duration for packet in packets[:-1]} == {960}


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg"])
def test_tones_follow_each_other(tmp_path: Path, kind: Kind) -> None:
    tones = Tones.make(tmp_path, kind, 1.0, low_hz=500.0, high_hz=1_500.0)
    with av.open(str(tones.both)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
        blocks = [
            block.to_ndarray()[0]
            for frame in container.decode(container.streams.audio[0])
            for block in resampler.resample(frame)
        ]
    samples = np.concatenate(blocks)
    for half, frequency_hz in ((samples[4_800:43_200], 500), (samples[52_800:91_200], 1_500)):
        # 1.25 Hz between two bins.
        assert np.argmax(np.abs(np.fft.rfft(half))) * 1.25 == frequency_hz
    assert tones.low.is_file()
    assert tones.high.is_file()
    assert tones.seconds == 1.0
