"""What is measured of a bot in a call; that it can be is shown by the matrix itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from benchmarks.patient import _silent_ms
from voicepool.testing import VoiceSession

MS = 1_000_000


@dataclass
class Heard:
    """Stands in for a session and for its stream."""

    first_audio_ns: int = 0
    last_audio_ns: int = 0
    longest_pause_ns: int = 20 * MS

    @property
    def media(self) -> Heard:
        return self


def silent_ms(*heard: Heard) -> float:
    return _silent_ms(cast("list[VoiceSession]", list(heard)))


def test_frames_in_time_leave_no_silence() -> None:
    assert silent_ms(Heard(1, 3_000 * MS)) == 0.0
    assert silent_ms() == silent_ms(Heard(longest_pause_ns=0)) == 0.0


def test_the_longest_pause_counts_beyond_the_frame_itself() -> None:
    assert silent_ms(Heard(1, 900 * MS, longest_pause_ns=120 * MS)) == pytest.approx(100.0)


def test_the_time_between_two_sessions_is_a_pause() -> None:
    before, after = Heard(10 * MS, 500 * MS), Heard(820 * MS, 900 * MS)
    never = Heard()
    assert silent_ms(after, never, before) == pytest.approx(300.0)
