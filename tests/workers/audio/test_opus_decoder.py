"""Decoding: what comes out of whole, lost and corrupt packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.workers.audio.media_files import signal
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.opus import OpusError, PcmFrame
from voicepool.workers.audio.opus_decoder import Decoder, OpusPacketDecoder
from voicepool.workers.audio.opus_encoder import Encoder


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    encoder.close()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def frames(seconds: float = 1.0) -> list[PcmFrame]:
    samples = signal(seconds=seconds)
    return [samples[i : i + 960] for i in range(0, len(samples), 960)]


def test_mono_packets_come_out_on_both_sides(decoder: Decoder) -> None:
    mono = Encoder(channels=1)
    out = np.zeros((960, 2), np.float32)
    for frame in frames():
        assert decoder.decode_float(mono.encode_float(frame[:, :1]), out) == 960
    assert np.abs(out).max() > 0.1
    assert np.array_equal(out[:, 0], out[:, 1])
    mono.close()


def test_lost_packet_is_concealed(encoder: Encoder, decoder: Decoder) -> None:
    out = np.zeros((960, 2), np.float32)
    for frame in frames(0.2):
        decoder.decode_float(encoder.encode_float(frame), out)
    out[:] = 0
    assert decoder.decode_float(None, out) == 960
    assert np.abs(out).max() > 0.05


def test_longer_packets_fit_a_longer_buffer(decoder: Decoder) -> None:
    twice = bytes([SILENCE[0] | 1]) + SILENCE[1:] * 2  # two frames of equal size
    assert decoder.decode_float(twice, np.zeros((5760, 2), np.float32)) == 1920
    with pytest.raises(OpusError, match="buffer too small"):
        decoder.decode_float(twice, np.zeros((960, 2), np.float32))


def test_corrupt_packet_is_an_error_that_says_so(decoder: Decoder) -> None:
    with pytest.raises(OpusError, match="corrupted stream") as caught:
        decoder.decode_float(b"\xff", np.zeros((960, 2), np.float32))
    assert caught.value.code == -4


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((960, 2), np.float64),
        np.zeros((960, 1), np.float32),
        np.zeros(1920, np.float32),
        np.zeros((960, 4), np.float32)[:, :2],
        np.frombuffer(bytes(7680), np.float32).reshape(960, 2),
    ],
)
def test_wrong_output_is_refused(decoder: Decoder, out: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        decoder.decode_float(SILENCE, out)


def test_decoder_reset_forgets_the_signal(encoder: Encoder, decoder: Decoder) -> None:
    packets = [encoder.encode_float(frame) for frame in frames(0.2)]
    fresh, out = np.zeros((960, 2), np.float32), np.zeros((960, 2), np.float32)
    decoder.decode_float(packets[5], fresh)
    decoder.decode_float(packets[6], out)
    decoder.reset()
    decoder.decode_float(packets[5], out)
    assert np.array_equal(out, fresh)


def test_packet_decoder_keeps_the_length_whatever_comes(encoder: Encoder) -> None:
    decoder = OpusPacketDecoder()
    out = np.zeros((960, 2), np.float32)
    assert decoder.decode_float(encoder.encode_float(frames()[0]), out) == 960
    assert decoder.concealed == 0
    out[:] = np.nan
    for bad in (b"\xff", bytes([SILENCE[0] | 1]) + SILENCE[1:] * 2):  # corrupt; too long for a frame
        assert decoder.decode_float(bad, out) == 960
        assert np.isfinite(out).all()
    assert decoder.concealed == 2
    short = bytes([30 << 3]) + b"\x00" * 20  # 10 ms
    out[:] = np.nan
    assert decoder.decode_float(short, out) == 960
    assert not out[480:].any()
    assert decoder.decode_float(None, out) == 960
    decoder.close()
    decoder.close()
