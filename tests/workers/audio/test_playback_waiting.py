"""A playback that waits (for a source, for room, for a skip) costs next to nothing, and lets others in."""

from __future__ import annotations

import pytest

from tests.workers.audio.playing import NOW_NS, Bench, Outlet, Step, marked, packets, pcm
from tests.workers.audio.shaped import Listed
from voicepool.ipc.errors import ErrorInfo
from voicepool.workers.audio.arrivals import Arrival
from voicepool.workers.audio.deck import DeckTrack
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET

LOOK_NS = 10_000_000
"""How often a playback that waits looks again."""


class Newcomer:
    """A track that arrives at a playback, as its main one or beside it."""

    def __init__(self, bench: Bench, items: list[Step], *, overlay: bool = False) -> None:
        self.told: list[str] = []
        feed = Feed(
            Listed(items),
            make_decoder=OpusPacketDecoder,
            kept_frames=Program.kept_frames(bench.capacity),
            early_samples=0,
        )

        def on_ended(error: ErrorInfo | None) -> None:
            self.told.append("ended" if error is None else error.text)

        self.track = DeckTrack(feed, on_started=lambda: self.told.append("started"), on_ended=on_ended)
        bench.playback.arrive(
            Arrival(
                feed,
                lambda deck: deck.overlay(self.track) if overlay else deck.start(self.track),
                on_ready=lambda: self.told.append("ready"),
                on_refused=lambda error: self.told.append(error.text),
            )
        )


@pytest.mark.parametrize("active", [False, True])
def test_a_track_with_nothing_to_be_heard_yet_is_looked_at_every_10_ms(*, active: bool) -> None:
    bench = Bench([NOT_YET] * 20 + packets(5), arrives=True, outlet=Outlet(active=active))
    for _ in range(5):
        assert bench.fill() == bench.now_ns + LOOK_NS
        assert not bench.playback.may_park


def test_a_full_ring_of_a_paused_call_lets_a_track_wait_without_a_busy_thread() -> None:
    bench = Bench(marked(50), outlet=Outlet(active=False))
    bench.fill_up()
    Newcomer(bench, [NOT_YET] * 20)
    assert bench.fill() == bench.now_ns + LOOK_NS
    assert not bench.playback.may_park


@pytest.mark.parametrize("kind", [packets, marked])
def test_a_full_ring_that_nobody_empties_is_looked_at_every_10_ms(kind: object) -> None:
    bench = Bench(kind(200), passing=24)  # type: ignore[operator]
    for _ in range(20):
        bench.fill()
    bench.now_ns += 50 * FRAME_NS
    polls = bench.source.polls
    for _ in range(3):
        assert bench.fill() == bench.now_ns + LOOK_NS, "what was due came and went, and there is no room"
        bench.now_ns += LOOK_NS
    assert bench.source.polls == polls


def test_one_that_is_behind_with_room_in_its_ring_is_overdue_since_then() -> None:
    bench = Bench(marked(50), outlet=Outlet(due_ns=NOW_NS - FRAME_NS))
    again_ns = bench.fill()
    assert again_ns is not None
    assert again_ns < NOW_NS


PATIENCE_NS = 2_000_000_000


def test_a_track_that_replaces_one_amid_a_skip_does_not_wait_for_that() -> None:
    bench = Bench([*packets(5), *[NOT_YET] * 500], skip_patience_ns=PATIENCE_NS, outlet=Outlet(active=False))
    bench.skip(100)
    assert bench.fill() == NOW_NS + LOOK_NS, "it waits for its source"
    new = Newcomer(bench, marked(20))
    for _ in range(8):
        bench.fill()
    assert new.told == ["ready"]
    assert bench.told == [False], "nobody is waiting for the skip any more"
    assert bench.numbers_of(bench.ring)[:4] == list(range(4))
    assert bench.playback.program.frames.frames_waiting == bench.capacity


def test_a_stop_amid_a_skip_does_not_wait_for_that() -> None:
    bench = Bench([*packets(5), *[NOT_YET] * 500], skip_patience_ns=PATIENCE_NS, outlet=Outlet(active=False))
    bench.fill_up()
    bench.skip(100)
    assert bench.fill() == NOW_NS + LOOK_NS
    bench.playback.wish(lambda deck: deck.end(bench.track))
    for _ in range(4):
        bench.fill()
    assert bench.told == [False]
    assert bench.ended


def test_an_overlay_that_comes_amid_a_skip_is_heard_with_what_the_skip_comes_to() -> None:
    waits = 3
    bench = Bench([*marked(5), *[NOT_YET] * waits, *marked(60)[5:]], skip_patience_ns=PATIENCE_NS)
    bench.outlet.active = False
    bench.skip(20)
    assert bench.fill() == NOW_NS + LOOK_NS
    over = Newcomer(bench, [pcm(0.0)] * 30, overlay=True)
    for _ in range(12):
        bench.fill()
    assert bench.told == [True]
    assert over.told == ["ready"]
    assert bench.numbers_of(bench.ring)[:6] == list(range(20, 26)), "nothing of what was to be left out"
