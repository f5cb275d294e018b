"""A program makes no more frames than its director allows, and tells it of each way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.workers.audio.playing import RecordingEncoder, marked, packets
from tests.workers.audio.shaped import Item, Listed
from voicepool.workers.audio.director import Director
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import Mark
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.program import Program

END = Mark()
TURN = 5


class Planned(Director):
    """Lets another feed begin in frame `TURN`; what began later than the place gone back to is out again."""

    def __init__(self, program: Program, other: Feed) -> None:
        self._program = program
        self._other = other
        self._has_turned = False
        self.turns: list[int] = []
        """After how many frames it was told to turn."""
        self.ways_back: list[tuple[int, int]] = []
        """How many inputs there were at each place gone back to, and how many that began since."""

    def frames_to_turn(self) -> int | None:
        return None if self._has_turned else TURN - self._program.frames.frames_made

    def turn(self) -> None:
        self._has_turned = True
        self.turns.append(self._program.frames.frames_made)
        self._program.mixer.add(self._other)

    def rewound(self, restored: Sequence[MixerInput], later: Sequence[MixerInput]) -> Sequence[MixerInput]:
        self.ways_back.append((len(restored), len(later)))
        self._has_turned = not later and len(restored) > 1
        return ()


def planned(items: list[Item]) -> tuple[Program, Planned]:
    buffer = np.zeros((960, 2), np.float32)
    program = Program(
        encoder=RecordingEncoder(buffer),
        buffer=buffer,
        capacity_frames=10,
        passing_frames=20,
        end=lambda: [END],
    )

    def feed_of(frames: list[Item]) -> Feed:
        return Feed(
            Listed(frames),
            make_decoder=OpusPacketDecoder,
            kept_frames=program.kept_frames(20),
            early_samples=0,
        )

    program.mixer.add(feed_of(items))
    director = Planned(program, feed_of(list(marked(40))))
    program.director = director
    return program, director


@pytest.mark.parametrize("kind", [packets, marked])
def test_the_turn_comes_in_its_frame_however_many_are_made_at_once(kind: type[object]) -> None:
    program, director = planned(kind(40))  # type: ignore[call-arg, arg-type]
    while len(program.frames) < 10:
        program.fill()
    assert director.turns == [TURN]
    assert director.ways_back == []


@pytest.mark.parametrize("safe_frames", [TURN - 1, TURN, TURN + 1])
def test_going_back_to_before_the_turn_has_it_taken_again(safe_frames: int) -> None:
    program, director = planned(list(marked(40)))
    while len(program.frames) < 10:
        program.fill()
    program.go_back(safe_frames=safe_frames)
    while len(program.frames) < 10:
        program.fill()
    taken_back = safe_frames <= TURN
    assert director.ways_back == [(1, 1) if taken_back else (2, 0)]
    assert director.turns == [TURN] * (2 if taken_back else 1)
    assert len(program.mixer.inputs) == 2
