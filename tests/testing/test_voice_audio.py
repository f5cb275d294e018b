from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from tests.testing.voice_client import SILENCE, best_correlation, encode_opus, tone
from voicepool.testing.voice_audio import decode_packets, write_wav


def test_decodes_what_was_encoded_in_timestamp_order() -> None:
    sent = tone()
    packets = [(7_000 + 960 * i, packet) for i, packet in enumerate(encode_opus(sent))]
    pcm = decode_packets([packets[1], packets[0], *packets[2:], packets[-1]])
    assert pcm.shape == sent.shape
    assert pcm.dtype == np.int16
    assert best_correlation(pcm, sent) > 0.98


def test_gaps_become_silence_up_to_the_cap() -> None:
    packets = [(0, SILENCE), (960 * 3, SILENCE), (960 * 1_000, SILENCE)]
    assert len(decode_packets(packets, max_gap_s=1.0)) == 960 * (1 + 2 + 1 + 1) + 48_000


def test_a_packet_that_does_not_decode_leaves_a_hole() -> None:
    assert len(decode_packets([(0, SILENCE), (960, b"\xff\xff"), (1_920, SILENCE)])) == 960 * 3


def test_nothing_received_is_an_empty_array() -> None:
    assert decode_packets([]).shape == (0, 2)


def test_wav_holds_the_same_samples(tmp_path: Path) -> None:
    pcm = tone(0.1)
    write_wav(tmp_path / "out.wav", pcm)
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 48_000)
        assert np.array_equal(np.frombuffer(file.readframes(10**6), "<i2").reshape(-1, 2), pcm)
