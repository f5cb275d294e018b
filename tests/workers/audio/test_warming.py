"""An encoder whose past is not the listener's is given that before it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workers.audio.playing import RecordingEncoder, pcm
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.warming import SETTLING_FRAMES, WARM_UP_FRAMES, Settling, WarmedEncoder


def warmed() -> tuple[RecordingEncoder, WarmedEncoder]:
    buffer = np.zeros((960, 2), np.float32)
    encoder = RecordingEncoder(buffer)
    return encoder, WarmedEncoder(encoder, buffer)


def levels(frames: list[PcmFrame]) -> list[float]:
    return [round(float(frame[0, 0]), 3) for frame in frames]


def test_a_warm_one_just_goes_on() -> None:
    encoder, warm = warmed()
    assert warm.encode(pcm(0.1)) == b"encoded 1"
    assert warm.encode(pcm(0.2), [pcm(0.9)]) == b"encoded 2", "what was heard before it knows itself"
    assert (levels(encoder.frames), encoder.resets) == ([0.1, 0.2], 0)


def test_what_is_in_its_buffer_is_not_copied() -> None:
    encoder, warm = warmed()
    warm.buffer.fill(0.3)
    warm.encode(warm.buffer)
    assert levels(encoder.frames) == [0.3]


@pytest.mark.parametrize("heard", [0, 1, WARM_UP_FRAMES - 1, WARM_UP_FRAMES])
def test_a_cold_one_is_reset_and_hears_silence_and_then_what_the_listener_heard(heard: int) -> None:
    encoder, warm = warmed()
    warm.is_cold = True
    before = [pcm((number + 1) / 10) for number in range(heard)]
    packet = warm.encode(pcm(0.9), before)
    assert packet == b"encoded %d" % (WARM_UP_FRAMES + 1), "those of the warm-up are thrown away"
    silent = WARM_UP_FRAMES - heard
    assert levels(encoder.frames) == [*[0.0] * silent, *levels(before), 0.9]
    assert encoder.resets == 1
    assert not warm.is_cold
    warm.encode(pcm(0.5), before)
    assert len(encoder.frames) == WARM_UP_FRAMES + 2, "once is enough"


def test_a_decoder_has_settled_after_some_frames_that_might_have_passed_in_a_row() -> None:
    settling = Settling()
    assert not settling.is_over
    for _ in range(SETTLING_FRAMES - 1):
        settling.note_mixed(might_pass=True)
    assert not settling.is_over
    settling.note_mixed(might_pass=False)
    for _ in range(SETTLING_FRAMES):
        assert not settling.is_over
        settling.note_mixed(might_pass=True)
    assert settling.is_over
    settling.begin()
    assert not settling.is_over
