from __future__ import annotations

import numpy as np

from voicepool.workers.audio import frame
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.packet import is_one_tick


def test_the_numbers_of_discord() -> None:
    assert (frame.SAMPLE_RATE_HZ, frame.CHANNELS, frame.FRAME_MS) == (48_000, 2, 20)
    assert (frame.FRAME_SAMPLES, frame.FRAMES_PER_S, frame.FRAME_NS) == (960, 50, 20_000_000)
    assert np.zeros((frame.FRAME_SAMPLES, frame.CHANNELS), np.float32).nbytes == frame.PCM_FRAME_BYTES


def test_silence_is_one_frame_of_it() -> None:
    assert is_one_tick(frame.SILENCE)
    out = np.ones((960, 2), np.float32)
    decoder = Decoder()
    assert decoder.decode_float(frame.SILENCE, out) == 960
    decoder.close()
    assert np.abs(out).max() < 1e-4
