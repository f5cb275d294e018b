"""Skips wait their turn, are told how they went, and wait for a source as long as it is worth it."""

from __future__ import annotations

import pytest

from tests.workers.audio.playing import NOW_NS, Bench, packets
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.skipping import SKIP_BITE_FRAMES, STARVED_RETRY_NS, Skip, Skips


def a_skip(bench: Bench, frames: int, patience_ns: int = 0) -> Skip:
    return Skip(bench.track, frames, patience_ns, bench.told.append)


def test_they_are_done_in_the_order_in_which_they_were_asked_for() -> None:
    bench = Bench(packets(90))
    skips = Skips(bench.playback.program)
    assert not skips
    skips.add(a_skip(bench, 2))
    skips.add(a_skip(bench, SKIP_BITE_FRAMES + 1))
    assert skips
    assert skips.go_on(NOW_NS) == NOW_NS, "there is another"
    assert (bench.told, bench.position_frames) == ([True], 2)
    assert skips.go_on(NOW_NS) == NOW_NS, "a bite, and others come first"
    assert bench.told == [True]
    assert skips.go_on(NOW_NS) is None
    assert (bench.told, bench.position_frames) == ([True, True], 2 + SKIP_BITE_FRAMES + 1)
    assert not skips


def test_one_of_a_track_that_is_cut_leaves_out_nothing() -> None:
    bench = Bench(packets(60))
    bench.fill_up()
    before = bench.ring
    skips = Skips(bench.playback.program)
    skips.add(a_skip(bench, 20))
    bench.track.is_cut = True
    assert skips.go_on(NOW_NS) is None
    assert bench.told == [False]
    assert bench.ring == before


def test_all_can_be_given_up_and_all_are_told() -> None:
    bench = Bench(packets(60))
    skips = Skips(bench.playback.program)
    skips.add(a_skip(bench, 20))
    skips.add(a_skip(bench, 5))
    skips.give_up()
    assert bench.told == [False, False]
    assert not skips


@pytest.mark.parametrize(
    ("waited_ns", "again_ns"),
    [(0, STARVED_RETRY_NS), (999, STARVED_RETRY_NS), (1_000, None), (5_000, None)],
)
def test_a_source_that_has_nothing_is_asked_again_for_so_long(waited_ns: int, again_ns: int | None) -> None:
    bench = Bench([*packets(3), *[NOT_YET] * 9])
    skip = a_skip(bench, 20, patience_ns=1_000)
    assert skip.leave_out(NOW_NS) == NOW_NS + STARVED_RETRY_NS
    assert (skip.frames, bench.track.frames_before) == (17, -3)
    now_ns = NOW_NS + waited_ns
    assert skip.leave_out(now_ns) == (None if again_ns is None else now_ns + again_ns)
    assert skip.frames == 17


def test_a_source_that_ends_has_left_out_all_there_was() -> None:
    bench = Bench(packets(3))
    skip = a_skip(bench, 20, patience_ns=1_000)
    assert skip.leave_out(NOW_NS) is None
    assert (skip.frames, bench.track.frames_before) == (0, -3)
