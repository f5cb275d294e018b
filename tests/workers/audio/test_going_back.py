"""Whatever is gone back over, and however fast the ring is emptied meanwhile: nothing is lost or doubled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.traced import Traced, TracedTrack
from voicepool.workers.audio.deck import Deck

KINDS = st.sampled_from(["pcm", "packets"])
LENGTHS = st.integers(0, 30)
WAITS = st.lists(st.integers(2, 30), max_size=3)
CROSSED = st.sampled_from([0, 0, 960, 4_800])
TRACKS = st.tuples(KINDS, LENGTHS, WAITS, CROSSED)

GENTLE = st.one_of(
    st.just(("fill",)),
    st.just(("fill",)),
    st.tuples(st.just("take"), st.integers(1, 12)),
    st.tuples(st.just("follow"), TRACKS),
    st.tuples(st.just("overlay"), TRACKS),
    st.tuples(st.just("volume"), st.floats(0.3, 1.0)),
    st.just(("unity",)),
)
ROUGH = st.one_of(
    GENTLE,
    st.tuples(st.just("start"), TRACKS),
    st.tuples(st.just("end"), st.integers(0, 20)),
    st.tuples(st.just("seek"), st.integers(0, 20), TRACKS),
    st.just(("skip",)),
    st.just(("go back over all",)),
)


class Session:
    """Does what it is told to, and knows which tracks were let alone."""

    def __init__(self, first: tuple[str, int, list[int], int]) -> None:
        self.stage = Traced()
        self.disturbed: set[int] = set()
        self.replaced: dict[int, list[int]] = {}
        self.entered: list[TracedTrack] = []
        self.start(first)

    def make(self, spec: tuple[str, int, list[int], int]) -> TracedTrack:
        kind, frames, waits, crossed = spec
        track = self.stage.track(kind, frames, waits_before=waits, crossfade_samples=crossed)
        self.entered.append(track)
        return track

    def start(self, spec: tuple[str, int, list[int], int]) -> None:
        self.disturb_all()
        self.wish(self.make(spec), Deck.start)

    def wish(self, track: TracedTrack, enter: Callable[[Deck, Any], object]) -> None:
        self.stage.wish(lambda deck: enter(deck, track.deck))

    def disturb_all(self) -> None:
        self.disturbed |= {id(track) for track in self.entered}

    def do(self, action: tuple[Any, ...]) -> None:
        stage, (name, *values) = self.stage, action
        if name == "fill":
            stage.fill()
        elif name == "take":
            stage.take(values[0])
        elif name == "follow":
            waiting = stage.deck.following
            self.disturbed |= {id(track) for track in self.entered if track.deck is waiting}
            stage.wish(functools.partial(self.follow, self.make(values[0])))
        elif name == "overlay":
            self.wish(self.make((*values[0][:3], 0)), Deck.overlay)
        elif name in {"volume", "unity"}:
            volume = values[0] if values else 1.0
            stage.program.change(lambda mixer: mixer.master.set_volume(volume))
        elif name == "start":
            self.start(values[0])
        elif name == "end":
            track = self.entered[values[0] % len(self.entered)]
            self.disturb_all()
            stage.wish(lambda deck: deck.end(track.deck))
        elif name == "seek":
            track = self.entered[values[0] % len(self.entered)]
            self.disturb_all()
            kind, frames, waits, _ = values[1]
            feed = stage.feed(kind, frames, waits_before=waits)
            stage.wish(lambda deck: deck.replace_feed(track.deck, feed, length_frames=frames))
        elif name == "skip":
            self.disturb_all()
            stage.wish(Deck.skip)
        else:
            self.disturb_all()
            races, stage.queue.races = stage.queue.races, []
            stage.program.go_back(safe_frames=0)
            stage.queue.races = races

    def follow(self, track: TracedTrack, deck: Deck) -> None:
        self.disturbed |= {id(other) for other in self.entered if other.deck is deck.following}
        deck.follow(track.deck)

    def check(self, *, told_as_heard: bool = True) -> None:
        stage = self.stage
        for feed in stage.feeds:
            numbers = stage.numbers(feed)
            assert numbers == list(range(len(numbers))), "each once, and in order"
        for at, track in enumerate(stage.tracks):
            told = [(what, when) for what, number, when in stage.told if number == at]
            assert [what for what, _ in told] in ([], ["started"], ["ended"], ["started", "ended"])
            if id(track) in self.disturbed:
                continue
            assert [what for what, _ in told] == ["started", "ended"]
            assert len(stage.numbers(track.feed)) == track.frames
            if track.frames and told_as_heard:
                assert tuple(when for _, when in told) == stage.place(track.feed)

    def finish(self) -> None:
        self.stage.play_to_the_end()
        self.stage.deck.close()
        assert all(source.closed == 1 for source in self.stage.sources), "nothing is left open"


@settings(deadline=None, max_examples=150)
@given(TRACKS, st.lists(GENTLE, max_size=40))
def test_every_frame_is_heard_once_and_every_start_and_end_is_told_once_and_in_its_place(
    first: Any, actions: list[Any]
) -> None:
    session = Session(first)
    session.disturbed.clear()
    for action in actions:
        session.do(action)
        stage = session.stage
        assert stage.program.frames.frames_sent == len(stage.heard)
        for track in stage.tracks:
            entry = track.deck.entry
            if entry is not None and not entry.ended:
                assert stage.program.heard_at(entry) == len(stage.numbers(track.feed))
    session.finish()
    session.check()


@settings(deadline=None, max_examples=150)
@given(TRACKS, st.lists(st.tuples(ROUGH, st.lists(st.integers(0, 9), max_size=4)), max_size=40))
def test_nor_is_anything_doubled_whatever_is_cut_off_or_sent_meanwhile(
    first: Any, actions: list[Any]
) -> None:
    session = Session(first)
    session.disturbed.clear()
    for action, races in actions:
        session.stage.queue.races = races
        session.do(action)
    session.stage.queue.races = []
    session.finish()
    session.check(told_as_heard=False)
