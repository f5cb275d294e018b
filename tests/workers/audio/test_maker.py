"""The cheapest way to the next frame is taken, and what was made can be gone back over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.workers.audio.playing import RecordingEncoder, ScriptedSource, Step, packets, pcm
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.maker import FrameMaker
from voicepool.workers.audio.making import MakingLog
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.ring import FrameRing
from voicepool.workers.audio.warming import WARM_UP_FRAMES, WarmedEncoder

SAFE_FRAMES = 2


class Bench:
    """A maker and what it works with."""

    def __init__(self) -> None:
        buffer = np.zeros((960, 2), np.float32)
        self.encoder = RecordingEncoder(buffer)
        self.mixer = Mixer()
        self.ring = FrameRing()
        self.log = MakingLog(50)
        self.maker = FrameMaker(
            encoder=WarmedEncoder(self.encoder, buffer),
            mixer=self.mixer,
            ring=self.ring,
            log=self.log,
            safe_frames=SAFE_FRAMES,
        )

    def play(self, steps: Sequence[Step]) -> MixerInput:
        feed = Feed(ScriptedSource(steps), make_decoder=OpusPacketDecoder, kept_frames=20, early_samples=0)
        return self.mixer.add(feed)


def test_packets_pass_as_many_as_are_asked_for_and_none_is_encoded() -> None:
    bench = Bench()
    bench.play(packets(9))
    assert bench.maker.pass_packets(4) == 4
    assert bench.maker.pass_packets(0) == 0
    assert bench.maker.passes
    assert bench.maker.pass_packets(20) == 5
    assert list(bench.ring.queue) == packets(9)
    assert bench.encoder.frames == []
    assert bench.log.last_frames() == 5, "a record for all that passed at once"


def test_pcm_of_the_only_track_is_encoded_as_it_is() -> None:
    bench = Bench()
    bench.play([pcm(0.25), pcm(0.5)])
    assert bench.maker.pass_packets(4) == 0
    assert bench.maker.make() is True
    assert not bench.maker.passes
    assert bench.maker.make() is True
    assert [frame[0, 0] for frame in bench.encoder.frames] == [0.25, 0.5]
    assert bench.encoder.resets == 0


def test_two_tracks_are_mixed() -> None:
    bench = Bench()
    bench.play([pcm(0.25)] * 2)
    bench.play([pcm(0.5)] * 2)
    assert bench.maker.pass_packets(4) == 0
    assert bench.maker.make() is True
    assert [frame[0, 0] for frame in bench.encoder.frames] == [0.75]


def test_an_encoder_that_packets_passed_by_is_warmed_up_for_what_follows() -> None:
    bench = Bench()
    bench.play(packets(8))
    bench.maker.pass_packets(8)
    bench.maker.begin_anew()
    bench.play([pcm(0.5)])
    bench.maker.make()
    assert bench.encoder.resets == 1
    silence, [frame] = bench.encoder.frames[:-1], bench.encoder.frames[-1:]
    assert [before.any() for before in silence] == [False] * WARM_UP_FRAMES, (
        "of what was heard, none joins on"
    )
    assert frame[0, 0] == 0.5


def test_what_has_nothing_ready_is_waited_for_and_what_is_over_is_known() -> None:
    bench = Bench()
    bench.play([NOT_YET, pcm(0.5)])
    assert bench.maker.make() is NOT_YET
    assert bench.maker.make() is True
    assert bench.maker.make() is False
    assert bench.maker.unfinished is not None, "the end is gone back over like a frame"
    assert len(bench.ring) == 1


def test_a_track_is_waited_for_only_while_the_others_have_enough_to_be_heard() -> None:
    bench = Bench()
    bench.play([pcm(0.25)] * 9)
    bench.play([pcm(0.5)] * (SAFE_FRAMES + 1) + [NOT_YET] * 9)
    for _ in range(SAFE_FRAMES + 1):
        assert bench.maker.make() is True
    assert bench.maker.make() is NOT_YET
    bench.ring.queue.popleft()
    assert bench.maker.make() is True
    assert bench.encoder.frames[-1][0, 0] == 0.25


class Director:
    """Has a turn due in two frames."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.turns = 0

    def frames_to_turn(self) -> int | None:
        return None if self.turns else 2 - self._bench.ring.frames_made

    def turn(self) -> None:
        self.turns += 1

    def rewound(self, restored: Sequence[MixerInput], later: Sequence[MixerInput]) -> Sequence[MixerInput]:
        return ()


def test_nothing_passes_beyond_what_is_planned() -> None:
    bench = Bench()
    bench.play(packets(9))
    director = bench.maker.director = Director(bench)
    assert bench.maker.pass_packets(9) == 2
    assert director.turns == 0
    assert bench.maker.pass_packets(9) == 7
    assert director.turns == 1


def test_at_another_volume_nothing_passes() -> None:
    bench = Bench()
    track = bench.play(packets(20))
    bench.maker.pass_packets(2)
    track.gain.set_volume(0.5)
    assert bench.maker.pass_packets(9) == 0
    assert not bench.maker.passes
