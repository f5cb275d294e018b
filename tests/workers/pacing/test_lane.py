"""A lane starts its RTP stream at random and ends in silence."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.pacing.lane import PARKED, Ended, Lane, silent_tail


def _ignore(_: Exception) -> None:
    pass


def test_five_frames_of_silence_come_before_a_mark() -> None:
    assert silent_tail() == [SILENCE] * 5 + [PARKED]
    end = Ended(lambda: None)
    assert silent_tail(end)[-1] is end


def test_sequence_and_timestamp_start_at_random() -> None:
    lanes = [Lane(_ignore) for _ in range(8)]
    assert len({(lane.sequence, lane.timestamp_base) for lane in lanes}) > 1
    assert all(0 <= lane.sequence < 1 << 16 and 0 <= lane.timestamp_base < 1 << 32 for lane in lanes)


def test_each_transport_gets_a_fresh_start() -> None:
    lane = Lane(_ignore)
    starts = set()
    for ssrc in range(8):
        lane.bind(lambda header, payload: header + payload, lambda packet: None, ssrc)
        starts.add((lane.sequence, lane.timestamp_base))
        assert lane.ssrc == ssrc
    assert len(starts) > 1


def test_without_a_transport_sending_is_an_error_and_not_a_leak() -> None:
    with pytest.raises(OSError, match="no transport"):
        Lane(_ignore).seal(b"header", b"plaintext")


def test_ring_low_starts_over_when_it_is_taken() -> None:
    lane = Lane(_ignore)
    lane.queue.extend([b"frame"] * 6)
    lane.ring_low = 2
    assert lane.take_ring_low() == 2
    assert lane.take_ring_low() == 6
