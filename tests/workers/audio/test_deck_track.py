"""A track in a deck tells of its start and its end once, and sinks before an end that is known."""

from __future__ import annotations

import pytest

from tests.workers.audio.shaped import Listed, feed_of
from tests.workers.audio.traced import sound
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.deck_track import DeckTrack
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer_input import MixerInput


def track(*, fade_frames: int = 0, length_frames: float | None = None) -> tuple[DeckTrack, list[object]]:
    told: list[object] = []
    feed = feed_of(Listed([sound(0, number) for number in range(20)]))
    made = DeckTrack(
        feed,
        on_started=lambda: told.append("started"),
        on_ended=told.append,
        fade_out_samples=fade_frames * FRAME_SAMPLES,
        length_frames=length_frames,
    )
    return made, told


def entered(made: DeckTrack, *, frames: int = 0) -> MixerInput:
    """Put it into a mixer's hands, after so many frames."""
    for _ in range(frames):
        made.feed.next_frame()
    made.entry = MixerInput(made.feed, GainEnvelope(), None, None, made)
    return made.entry


def gains(entry: MixerInput, frames: int) -> list[float]:
    """How loud each of the next frames ends."""
    found = []
    for _ in range(frames):
        gain = entry.gain.advance()
        found.append(round(gain if isinstance(gain, float) else float(gain.flat[-1]), 2))
    return found


def test_start_and_end_are_told_once_each() -> None:
    made, told = track()
    error = ErrorInfo(code=ErrorCode.SOURCE_FAILED, text="the server hung up")
    made.tell_started()
    made.tell_started()
    made.tell_ended(error)
    made.tell_ended(None)
    assert told == ["started", error]


def test_let_go_it_tells_nobody_and_knows_nobody() -> None:
    made, told = track()
    made.let_go()
    made.tell_started()
    made.tell_ended(None)
    assert told == []


def test_a_frame_that_the_mixer_holds_is_not_mixed_yet() -> None:
    made, _ = track()
    entry = entered(made, frames=3)
    assert made.position_frames == 3
    entry.held = sound(0, 2)
    assert made.position_frames == 2


@pytest.mark.parametrize("heard", [0, 4, 7])
def test_it_sinks_right_before_its_end_wherever_it_is_when_that_is_planned(heard: int) -> None:
    made, _ = track(fade_frames=2, length_frames=10)
    entry = entered(made, frames=heard)
    made.plan_fade_out()
    left = 10 - heard
    assert gains(entry, left) == pytest.approx([*[1.0] * (left - 2), 0.5, 0.0], abs=0.01)


@pytest.mark.parametrize(("fade_frames", "length_frames"), [(0, 10), (2, None), (2, 3)])
def test_without_a_fade_or_a_length_or_after_its_end_it_does_not_sink(
    fade_frames: int, length_frames: float | None
) -> None:
    made, _ = track(fade_frames=fade_frames, length_frames=length_frames)
    entry = entered(made, frames=4)
    made.plan_fade_out()
    assert gains(entry, 12) == [1.0] * 12


def test_before_it_is_in_a_mixer_nothing_is_planned() -> None:
    made, _ = track(fade_frames=2, length_frames=10)
    made.plan_fade_out()
    assert made.entry is None
    assert made.position_frames == 0
