from __future__ import annotations

from benchmarks.end_to_end import frame_seals
from voicepool.testing.dave_frames import is_protocol_frame

FRAME = b"\xfc" + bytes(range(200))


def test_frames_are_encrypted_each_call_with_keys_of_its_own() -> None:
    seals = frame_seals(2)
    sealed = [seal(FRAME) for seal in seals]
    assert all(is_protocol_frame(frame) for frame in sealed)
    assert FRAME[1:] not in sealed[0]
    assert sealed[0] != sealed[1]


def test_what_was_made_is_kept() -> None:
    first = frame_seals(1)
    assert frame_seals(2)[:1] == first
    assert len(frame_seals(2)) == 2
