"""Encoding: what comes out, and that settings reach libopus."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.workers.audio.media_files import delay_and_correlation, signal
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.opus_encoder import Ceiling, Encoder
from voicepool.workers.audio.packet import is_one_tick

GET = {"bitrate_bps": 4003, "complexity": 4011, "fec": 4013, "packet_loss_percent": 4015, "dtx": 4017}


def asked(encoder: Encoder, request: int) -> int:
    """Ask libopus itself."""
    value = ctypes.c_int32()
    assert encoder._functions.encoder_ctl(encoder._state, request, ctypes.byref(value)) == 0
    return value.value


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    encoder.close()


def frames(seconds: float = 1.0) -> list[PcmFrame]:
    samples = signal(seconds=seconds)
    return [samples[i : i + 960] for i in range(0, len(samples), 960)]


def decoded(packets: list[bytes]) -> PcmFrame:
    decoder = Decoder()
    out = np.zeros((960, 2), np.float32)
    parts = []
    for packet in packets:
        assert decoder.decode_float(packet, out) == 960
        parts.append(out.copy())
    decoder.close()
    return np.concatenate(parts)


def test_what_is_encoded_is_what_is_decoded(encoder: Encoder) -> None:
    packets = [encoder.encode_float(frame) for frame in frames()]
    assert all(is_one_tick(packet) for packet in packets)
    heard = decoded(packets)
    for side in (0, 1):
        delay, correlation = delay_and_correlation(heard[:, side], signal(seconds=1.0)[:, side])
        assert delay == encoder.lookahead_samples
        assert correlation > 0.99


def test_bound_buffer_gives_the_same_packets(encoder: Encoder) -> None:
    other = Encoder()
    buffer = np.zeros((960, 2), np.float32)
    other.bind(buffer)
    for frame in frames():
        buffer[:] = frame
        assert other.encode_bound() == encoder.encode_float(frame)
    other.close()


def test_any_memory_layout_is_encoded(encoder: Encoder) -> None:
    other = Encoder()
    frame = frames()[0]
    assert encoder.encode_float(np.asfortranarray(frame)) == other.encode_float(frame)
    other.close()


def test_bound_buffer_stays_alive() -> None:
    encoder = Encoder()
    encoder.bind(np.full((960, 2), 0.25, np.float32))
    gc.collect()
    assert encoder._input[0, 0] == 0.25
    assert is_one_tick(encoder.encode_bound())
    encoder.close()


@pytest.mark.parametrize(
    "buffer",
    [
        np.zeros((960, 2), np.float64),
        np.zeros((960, 1), np.float32),
        np.zeros((480, 2), np.float32),
        np.zeros((1920, 2), np.float32)[::2],
    ],
)
def test_wrong_buffer_is_refused(encoder: Encoder, buffer: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        encoder.bind(buffer)


@pytest.mark.parametrize("shape", [(480, 2), (960, 1), (2,), (1, 2), (960, 2, 1)])
def test_wrong_frame_is_refused_and_never_broadcast(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        encoder.encode_float(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [("bitrate_bps", 64_000), ("complexity", 3), ("fec", True), ("packet_loss_percent", 20), ("dtx", True)],
)
def test_settings_reach_libopus_while_it_encodes(encoder: Encoder, name: str, value: int) -> None:
    encoder.encode_float(frames()[0])
    assert asked(encoder, GET[name]) != value
    setattr(encoder, name, value)
    assert asked(encoder, GET[name]) == value == getattr(encoder, name)
    assert is_one_tick(encoder.encode_float(frames()[0]))


def test_first_settings_reach_libopus() -> None:
    encoder = Encoder(
        bitrate_bps=48_000,
        complexity=2,
        fec=True,
        packet_loss_percent=5,
        dtx=True,
        signal="voice",
        application="voip",
    )
    assert {name: asked(encoder, request) for name, request in GET.items()} == {
        "bitrate_bps": 48_000,
        "complexity": 2,
        "fec": 1,
        "packet_loss_percent": 5,
        "dtx": 1,
    }
    assert asked(encoder, 4025) == 3001  # OPUS_GET_SIGNAL, OPUS_SIGNAL_VOICE
    assert asked(encoder, 4001) == 2048  # OPUS_GET_APPLICATION, OPUS_APPLICATION_VOIP
    encoder.close()


def test_bitrate_is_heard_in_the_packet_sizes(encoder: Encoder) -> None:
    def mean() -> float:
        return float(np.mean([len(encoder.encode_float(frame)) for frame in frames()]))

    assert mean() == pytest.approx(128_000 / 8 / 50, rel=0.2)
    encoder.bitrate_bps = 32_000
    assert mean() == pytest.approx(32_000 / 8 / 50, rel=0.3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bitrate_bps": 5_999},
        {"bitrate_bps": 510_001},
        {"complexity": 11},
        {"complexity": -1},
        {"packet_loss_percent": 101},
        {"signal": "noise"},
        {"application": "radio"},
        {"channels": 3},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Encoder(**wrong)


def test_reset_forgets_the_signal_and_keeps_the_settings(encoder: Encoder) -> None:
    encoder.bitrate_bps = 64_000
    first = [encoder.encode_float(frame) for frame in frames()]
    again = encoder.encode_float(frames()[0])
    encoder.reset()
    assert encoder.encode_float(frames()[0]) == first[0] != again
    assert asked(encoder, GET["bitrate_bps"]) == 64_000


# A ceiling that several share.


def in_force(encoder: Encoder) -> int:
    return asked(encoder, GET["complexity"])


def test_all_that_share_a_ceiling_follow_it_with_their_next_frame() -> None:
    ceiling = Ceiling()
    dear, cheap = Encoder(ceiling=ceiling), Encoder(complexity=3, ceiling=ceiling)
    assert ceiling.wanted == 10
    ceiling.complexity = 5
    assert (in_force(dear), in_force(cheap)) == (10, 3)
    for encoder in (dear, cheap):
        encoder.encode_bound()
    assert (in_force(dear), in_force(cheap)) == (5, 3)
    assert (dear.complexity, cheap.complexity) == (10, 3), "what is wanted is what was set"
    ceiling.complexity = 10
    dear.encode_bound()
    assert in_force(dear) == 10


def test_an_encoder_that_is_made_or_set_later_keeps_to_the_ceiling() -> None:
    ceiling = Ceiling()
    ceiling.complexity = 2
    encoder = Encoder(complexity=1, ceiling=ceiling)
    assert (in_force(encoder), ceiling.wanted) == (1, 1)
    encoder.complexity = 9
    assert (in_force(encoder), encoder.complexity, ceiling.wanted) == (2, 9, 9)
    other = Encoder()
    assert in_force(other) == 10, "this one has a ceiling of its own"


def test_a_complexity_out_of_range_changes_nothing() -> None:
    ceiling = Ceiling()
    encoder = Encoder(complexity=4, ceiling=ceiling)
    with pytest.raises(ValueError, match="complexity"):
        encoder.complexity = 11
    assert (encoder.complexity, in_force(encoder), ceiling.wanted) == (4, 4, 4)
