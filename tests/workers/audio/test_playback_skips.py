"""Leaving out what was missed in a gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.playing import (
    CLOSING,
    NOW_NS,
    Bench,
    Outlet,
    packets,
    pcm,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

# Leaving out what was missed in a gap.


def test_a_skip_leaves_out_the_ring_first_and_then_the_source() -> None:
    bench = Bench(packets(60))
    bench.fill_up()
    assert bench.take(3) == packets(3)
    assert bench.skip(20) == []
    bench.fill_until_told()
    assert bench.told == [True]
    assert bench.ring[:2] == packets(60)[23:25]
    assert (bench.frames_sent, bench.position_frames) == (3, 23)
    assert bench.take(2) == packets(60)[23:25]
    assert (bench.frames_sent, bench.position_frames) == (5, 25)


def test_a_skip_shorter_than_the_ring_reads_nothing_that_is_left_out() -> None:
    bench = Bench(packets(60))
    bench.fill_up()
    waiting = len(bench.ring)
    bench.skip(3)
    bench.fill()
    assert bench.told == [True]
    assert bench.ring[: waiting - 3] == packets(60)[3:waiting]
    assert (bench.frames_sent, bench.position_frames) == (0, 3)


def test_what_is_left_out_is_never_encoded() -> None:
    bench = Bench([pcm(number / 100) for number in range(60)])
    bench.skip(40)
    bench.fill_until_told()
    assert [frame[0, 0] for frame in bench.encoder.frames] == [np.float32(at / 100) for at in range(40, 44)]
    assert len(bench.ring) == 4


def test_a_skip_goes_in_bites_between_which_others_come_first() -> None:
    bench = Bench(packets(1_000), outlet=Outlet(active=False, due_ns=NOW_NS - 10**10))
    bench.skip(95)
    polls = []
    while not bench.told:
        before = bench.source.polls
        again_ns = bench.fill()
        # With the last bite its ring is full, and it rests.
        assert bench.playback.may_park or again_ns == NOW_NS, "overdue is who was due before now"
        polls.append(bench.source.polls - before)
    assert max(polls) <= 10 + 4, "a bite, and a burst to go on with at the end"
    assert len(polls) == 10


def test_a_source_that_ends_within_the_gap_has_finished() -> None:
    bench = Bench(packets(30))
    bench.fill_up()
    bench.take(2)
    bench.skip(500)
    bench.fill_until_told()
    assert bench.ring == CLOSING, "nothing but the closing silence and the mark is left"
    assert bench.playback.error is None
    assert (bench.frames_sent, bench.position_frames) == (2, 30)
    assert (bench.told, bench.ends) == ([True], 1)


def test_a_source_that_breaks_within_the_gap_has_failed() -> None:
    bench = Bench([*packets(30), SourceError(ErrorCode.SOURCE_TRUNCATED, "cut")])
    bench.skip(500)
    bench.fill_until_told()
    assert bench.ring == CLOSING
    bench.take(6)
    [error] = bench.endings
    assert error is not None
    assert error.code is ErrorCode.SOURCE_TRUNCATED
    assert bench.told == [True]


@pytest.mark.parametrize(("frames", "left"), [(3, 2), (5, 0), (100, 0)])
def test_what_is_all_in_the_ring_is_left_out_there_up_to_the_closing_silence(frames: int, left: int) -> None:
    bench = Bench(packets(5))
    bench.fill_up()
    assert bench.playback.may_park
    assert bench.skip(frames) == [], "the ring belongs to the encoder threads"
    assert not bench.playback.may_park
    bench.fill()
    assert bench.told == [True]
    assert bench.playback.may_park
    assert bench.ring == packets(5)[5 - left :] + CLOSING
    assert (bench.frames_sent, bench.position_frames) == (0, 5 - left)


def test_a_skip_of_a_ring_that_is_at_its_closing_silence_leaves_it_alone() -> None:
    bench = Bench(packets(2))
    bench.fill_up()
    bench.take(4)
    bench.skip(10)
    bench.fill()
    assert bench.ring == CLOSING[2:]
    assert (bench.told, bench.position_frames) == ([True], 2)


def test_a_skip_asked_for_while_the_last_frames_are_put_in_is_served_once() -> None:
    bench = Bench(packets(5))
    bench.at_end = lambda: bench.ends == 1 and bench.skip(3)
    while not bench.ends:
        bench.fill()
    assert not bench.playback.may_park
    bench.fill()
    assert bench.told == [True]
    assert bench.ring == packets(5)[3:] + CLOSING


def test_a_skip_asked_for_while_a_burst_is_made_waits_for_the_next_turn() -> None:
    bench = Bench(packets(60))
    bench.fill()
    bench.source.at_poll = lambda: bench.told or bench.playback._skips or bench.skip(20)
    bench.fill()
    assert bench.told == []
    bench.fill_until_told()
    assert bench.position_frames == 20


def test_opus_in_the_source_that_looks_like_silence_is_audio() -> None:
    bench = Bench([bytes(bytearray(SILENCE))] * 12)
    bench.fill_up()
    bench.skip(6)
    bench.fill_until_told()
    assert bench.position_frames == 6


def test_a_recording_is_waited_for() -> None:
    bench = Bench(
        [NOT_YET, NOT_YET, *packets(5), NOT_YET, NOT_YET, *packets(60)[5:]], skip_patience_ns=2_000_000_000
    )
    bench.skip(20)
    assert bench.playback.fill(NOW_NS) == NOW_NS + 10_000_000
    assert bench.playback.fill(NOW_NS + 10_000_000) == NOW_NS + 20_000_000
    bench.fill_until_told()
    assert bench.told == [True]
    assert bench.ring[:2] == packets(60)[20:22]


@pytest.mark.parametrize(("waited_ns", "told"), [(99_999_999, []), (100_000_000, [False])])
def test_a_live_source_is_played_from_where_it_is_after_a_short_wait(
    waited_ns: int, told: list[bool]
) -> None:
    bench = Bench([*packets(5), *[NOT_YET] * 4, *packets(60)[5:]], skip_patience_ns=100_000_000)
    bench.skip(1_000)
    assert bench.playback.fill(NOW_NS) == NOW_NS + 10_000_000
    bench.playback.fill(NOW_NS + waited_ns)
    assert bench.told == told
    if told:
        assert bench.ring[:2] == packets(60)[5:7]
        assert bench.position_frames == 5


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_what_comes_between_two_looks_at_the_source_is_left_out_as_well(looks: int) -> None:
    bench = Bench([*packets(5), *[NOT_YET] * looks, *packets(60)[5:]], skip_patience_ns=100_000_000)
    bench.skip(20)
    bench.fill_until_told()
    bench.fill()
    assert bench.told == [True]
    assert bench.ring[:2] == packets(60)[20:22]
    assert bench.position_frames == 20


def test_a_live_source_with_nothing_to_go_on_with_keeps_nobody_waiting() -> None:
    bench = Bench([*packets(5), *[NOT_YET] * 9, *packets(60)[5:]], skip_patience_ns=0)
    bench.skip(1_000)
    assert bench.fill() == NOW_NS + 10_000_000
    assert (bench.told, bench.ring) == ([False], [])
    bench.fill_up()
    assert bench.ring[:2] == packets(60)[5:7]


def test_a_decoder_hears_the_80_ms_before_the_place_where_it_goes_on() -> None:
    bench = Bench(packets(60), gain=0.5, capacity=2)
    bench.fill()
    bench.skip(30)
    bench.fill_until_told()
    heard = bench.decoders[0].packets
    assert heard[:2] == packets(2), "the one that was heard, and the one after it for the seam"
    assert heard[2:7] == packets(60)[26:31], "four unheard, then the one that is heard"


def test_what_has_a_skip_to_do_is_not_parked() -> None:
    bench = Bench([pcm(0.1)] * 50, outlet=Outlet(active=False))
    bench.fill_up()
    parks = [bench.playback.may_park]
    bench.skip(1)
    parks.append(bench.playback.may_park)
    bench.fill()
    bench.fill_up()
    parks.append(bench.playback.may_park)
    assert parks == [True, False, True]


def test_cancelled_amid_a_skip_it_closes_and_tells_nobody() -> None:
    bench = Bench(packets(1_000))
    bench.skip(500)
    bench.fill()
    bench.playback.cancelled = True
    assert bench.fill() is None
    assert (bench.playback.closed, bench.told) == (True, [])


def test_out_of_the_wheel_nothing_counts_as_late() -> None:
    bench = Bench(packets(50), outlet=Outlet(active=False, due_ns=1))
    assert bench.fill() == NOW_NS, "primed, and in no hurry: what was due long ago was another's frame"


@given(
    length=st.integers(0, 80),
    capacity=st.integers(2, 12),
    actions=st.lists(
        st.one_of(st.just("fill"), st.integers(0, 6), st.tuples(st.integers(1, 40))), max_size=40
    ),
)
def test_whatever_is_left_out_the_position_is_the_place_in_the_source(
    length: int, capacity: int, actions: list[str | int | tuple[int]]
) -> None:
    bench = Bench(packets(length), capacity=capacity)
    taken = 0
    skipped = 0
    for action in actions:
        if isinstance(action, tuple):
            told = len(bench.told)
            before = bench.position_frames
            bench.skip(action[0])
            while len(bench.told) == told:
                bench.fill()
            skipped += bench.position_frames - before
            assert bench.position_frames == min(before + action[0], length)
        elif isinstance(action, int):
            audio = [item for item in bench.take(action) if item not in CLOSING]
            expected = packets(length)[taken + skipped : taken + skipped + len(audio)]
            assert audio == expected
            taken += len(audio)
        elif not bench.ended:
            bench.fill()
        assert bench.frames_sent == taken
        assert bench.position_frames == taken + skipped
