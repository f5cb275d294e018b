"""Sources that tell where a listener is."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.chaos_source import (
    SWEEP_S,
    decode,
    number_of,
    sweep_place_ms,
    write_numbered,
    write_sweep,
)

RATE_HZ = 48_000
FRAME = 960


def packets(file: Path) -> list[bytes]:
    with av.open(str(file)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_each_packet_says_which_it_is(tmp_path: Path) -> None:
    file = tmp_path / "numbered.ogg"
    write_numbered(file, 3.0)
    found = packets(file)
    assert [number_of(packet) for packet in found] == list(range(150))
    with av.open(str(file)) as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "opus"
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(3.0, abs=0.05)
    assert [len(frame) for frame in decode(found[:5])] == [FRAME] * 5


@pytest.mark.parametrize("packet", [b"", b"\xf8\xff\xfe", b"\xfcvoicepoo", bytes(80)])
def test_others_say_nothing(packet: bytes) -> None:
    assert number_of(packet) is None


def sweep(tmp_path: Path, seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    file = tmp_path / "sweep.wav"
    write_sweep(file, seconds)
    with wave.open(str(file)) as source:
        assert (source.getframerate(), source.getnchannels()) == (RATE_HZ, 1)
        samples = np.frombuffer(source.readframes(source.getnframes()), "<i2")
    return samples.astype(np.float64) / 32_768


def test_the_tone_tells_its_place_and_begins_anew(tmp_path: Path) -> None:
    samples = sweep(tmp_path, SWEEP_S + 1.0)
    assert len(samples) == (SWEEP_S + 1.0) * RATE_HZ
    for at_ms in (0.0, 20.0, 1_000.0, 7_900.0, SWEEP_S * 1_000, SWEEP_S * 1_000 + 500.0):
        start = round(at_ms * RATE_HZ / 1_000)
        place = sweep_place_ms(samples[start : start + FRAME])
        assert place == pytest.approx(at_ms % (SWEEP_S * 1_000), abs=0.5)


def test_silence_and_noise_have_no_place() -> None:
    assert sweep_place_ms(np.zeros(FRAME)) is None
    assert sweep_place_ms(np.random.default_rng(1).standard_normal(FRAME)) is None
    assert sweep_place_ms(np.ones(FRAME)) is None
