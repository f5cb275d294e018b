"""A call that has nothing to send says so once, for want of what, and when that is over."""

from __future__ import annotations

import pytest

from tests.workers.audio.playing import NOW_NS, Outlet
from tests.workers.audio.traced import Traced
from voicepool.workers.audio.deck import DeckTrack
from voicepool.workers.audio.frame import FRAME_MS
from voicepool.workers.audio.hunger import STUCK_AFTER_MS, Hunger, Stuck

MS = 1_000_000
FRAMES = STUCK_AFTER_MS // FRAME_MS


class Watched:
    """A call whose main track has nothing ready."""

    def __init__(self) -> None:
        self.traced = Traced()
        self.track: DeckTrack = self.traced.track("pcm", 1, waits_before=[0] * 100).deck
        self.traced.deck.start(self.track)
        self.outlet = Outlet()
        self.told: list[Stuck] = []
        self._hunger = Hunger(self.traced.deck, self.outlet, self.told.append)

    def watch(self, after_ms: int, *, starved: bool) -> None:
        self._hunger.watch(NOW_NS + after_ms * MS, starved=starved)


def test_a_source_with_nothing_ready_for_half_a_second_is_told_of_once() -> None:
    call = Watched()
    for after_ms in range(0, STUCK_AFTER_MS, 100):
        call.watch(after_ms, starved=True)
    assert call.told == []
    call.watch(STUCK_AFTER_MS, starved=True)
    call.watch(STUCK_AFTER_MS + 100, starved=True)
    assert call.told == [Stuck(call.track, STUCK_AFTER_MS, "source")]
    call.watch(STUCK_AFTER_MS + 200, starved=False)
    assert call.told[1:] == [Stuck(call.track, 0, "source")], "it goes on"
    call.watch(STUCK_AFTER_MS + 300, starved=False)
    assert len(call.told) == 2


def test_short_times_do_not_add_up() -> None:
    call = Watched()
    for after_ms in range(0, 5_000, 400):
        call.watch(after_ms, starved=True)
        call.watch(after_ms + 300, starved=True)
        call.watch(after_ms + 350, starved=False)
    assert call.told == []


def test_a_call_that_sends_nothing_is_not_hungry() -> None:
    call = Watched()
    call.outlet.active = False
    call.outlet.nulled_run = 10 * FRAMES
    for after_ms in range(0, 5_000, 100):
        call.watch(after_ms, starved=True)
    assert call.told == []


@pytest.mark.parametrize(("nulled", "told"), [(FRAMES - 1, False), (FRAMES, True)])
def test_a_ring_that_ran_out_though_the_source_had_something_is_the_encoders_doing(
    nulled: int, *, told: bool
) -> None:
    call = Watched()
    call.outlet.nulled_run = nulled
    call.watch(0, starved=False)
    call.watch(20, starved=False)
    ms = nulled * FRAME_MS
    assert call.told == ([Stuck(call.track, ms, "encoder"), Stuck(call.track, 0, "encoder")] if told else [])


def test_each_gap_is_told_of_by_itself_and_none_twice() -> None:
    call = Watched()
    for after_ms in (0, 1_000):
        call.outlet.nulled_run = FRAMES
        call.watch(after_ms, starved=False)
        call.outlet.nulled_run = 0
        call.watch(after_ms + 20, starved=False)
    assert [stuck.waited_ms for stuck in call.told] == [STUCK_AFTER_MS, 0, STUCK_AFTER_MS, 0]


def test_a_gap_for_want_of_the_source_is_not_told_of_again_as_the_encoders() -> None:
    call = Watched()
    for after_ms in (0, STUCK_AFTER_MS):
        call.outlet.nulled_run = after_ms // FRAME_MS
        call.watch(after_ms, starved=True)
    call.watch(STUCK_AFTER_MS + 20, starved=False)
    # The first frame is not sent yet, so the outlet counts on.
    call.outlet.nulled_run += 1
    call.watch(STUCK_AFTER_MS + 40, starved=False)
    assert [stuck.part for stuck in call.told] == ["source", "source"]
