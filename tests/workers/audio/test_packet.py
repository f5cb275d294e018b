from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.libopus import libopus_info
from voicepool.workers.audio.packet import MAX_PACKET_SAMPLES, is_one_tick, packet_samples


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (SILENCE, 960),
        (bytes([0 << 3]), 480),  # SILK, 10 ms
        (bytes([3 << 3]), 2880),  # SILK, 60 ms
        (bytes([13 << 3]), 960),  # hybrid, 20 ms
        (bytes([16 << 3]), 120),  # CELT, 2.5 ms
        (bytes([18 << 3 | 1]), 960),  # two of 10 ms
        (bytes([16 << 3 | 3, 8]), 960),  # eight of 2.5 ms
        (bytes([3 << 3 | 3, 2]), 5760),
        (bytes([3 << 3 | 3, 3]), 0),  # more than 120 ms
        (bytes([31 << 3 | 3]), 0),  # its count is missing
        (b"", 0),
    ],
)
def test_durations_of_rfc_6716(packet: bytes, samples: int) -> None:
    assert packet_samples(packet) == samples
    assert is_one_tick(packet) is (samples == 960)


@given(st.binary(min_size=2, max_size=4))
def test_agrees_with_libopus(packet: bytes) -> None:
    function = ctypes.CDLL(libopus_info().path)["opus_packet_get_nb_samples"]
    function.argtypes = (ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32)
    theirs = function(packet, len(packet), 48_000)
    ours = packet_samples(packet)
    assert ours == max(theirs, 0)
    assert ours <= MAX_PACKET_SAMPLES
