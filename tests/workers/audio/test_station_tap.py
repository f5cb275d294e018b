"""Taps of a station: where they join, how they catch up, what they tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.station_bench import (
    BROADCAST,
    FILE,
    Bench,
    ScriptedReader,
    Title,
    numbers,
    packets,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.station_tap import StationTap
from voicepool.workers.errors import SourceError

RING = 8


def on_air(count: int = 2_000, info: MediaInfo = FILE) -> Bench[ScriptedReader]:
    bench = Bench(ScriptedReader(packets(count)), info)
    bench.fill()
    return bench


def test_the_first_hears_the_source_from_its_start_and_starts_the_clock() -> None:
    bench = on_air()
    bench.go(500)
    tap = bench.tap()

    assert numbers(tap.take_packets(24)) == list(range(24))
    assert tap.poll() == b"packet 24"
    assert bench.starts == 1
    assert bench.log.runs
    assert tap.kind == "opus"
    assert tap.info is FILE


def test_who_asks_while_there_is_nothing_does_not_start_the_clock() -> None:
    bench = Bench(ScriptedReader([NOT_YET, *packets(10)]))
    bench.fill()
    tap = bench.tap()

    assert tap.poll() is NOT_YET
    tap.to_live_edge()
    assert tap.take_packets(24) == []
    assert not bench.log.runs
    bench.now_ns += FRAME_NS
    bench.fill()
    assert numbers(tap.take_packets(24)) == list(range(10))


def test_when_it_runs_ahead_there_is_nothing_yet() -> None:
    bench = on_air()
    tap = bench.tap()

    taken = numbers(tap.take_packets(1_000))

    assert taken == list(range(75))
    assert tap.take_packets(24) == []
    assert tap.poll() is NOT_YET


@given(joins=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50)), min_size=1, max_size=6))
def test_all_hear_the_same_moment_whenever_they_join(joins: list[tuple[int, int]]) -> None:
    bench = on_air()
    rings = {bench.tap(): RING}
    for frames, ring in [*joins, (60, 1)]:
        for tap, ahead in rings.items():
            if tap._next < 0:
                tap.take_packets(ahead)
        for _ in range(frames):
            bench.go(1)
            for tap in rings:
                assert len(tap.take_packets(1)) == 1
        rings[bench.tap()] = ring

    # A call hears now what it took last, but for its ring.
    heard_now = [tap._next - ring for tap, ring in rings.items() if tap._next >= 0]
    assert max(heard_now) - min(heard_now) <= 2
    assert all(tap.packets_skipped_over == 0 for tap in rings)


def test_who_keeps_up_is_left_alone() -> None:
    bench = on_air()
    tap = bench.tap()
    taken = numbers(tap.take_packets(RING))
    for _ in range(100):
        bench.go(4)
        taken += numbers(tap.take_packets(4))

    assert taken == list(range(RING + 400))
    assert tap.packets_skipped_over == 0


@pytest.mark.parametrize(("away", "begins"), [(10, 8), (13, 8), (14, 14), (90, 90), (1_000, 1_000)])
def test_who_was_away_for_more_than_a_moment_is_moved_to_the_live_edge(away: int, begins: int) -> None:
    bench = on_air()
    tap = bench.tap()
    tap.take_packets(RING)

    bench.go(away)

    assert tap.poll() == b"packet %d" % begins
    assert tap.packets_skipped_over == begins - RING


def test_the_live_edge_can_be_asked_for_at_any_time() -> None:
    bench = on_air()
    tap = bench.tap()
    tap.take_packets(RING)
    bench.go(30)

    bench.heard_in_ns = 5 * FRAME_NS
    tap.to_live_edge()

    assert tap.poll() == b"packet 35"
    assert tap.packets_skipped_over == 35 - RING


def test_it_does_not_jump_by_as_little_as_nobody_hears() -> None:
    bench = on_air()
    tap = bench.tap()
    tap.take_packets(RING)
    bench.go(10)

    tap.to_live_edge()

    assert tap.poll() == b"packet 8"


def test_who_threw_away_what_it_had_taken_ahead_gets_it_again() -> None:
    bench = on_air()
    tap = bench.tap()
    tap.take_packets(40)

    tap.to_live_edge()

    assert tap.poll() == b"packet 0"
    assert tap.packets_skipped_over == 0


def test_one_that_follows_another_track_begins_with_what_will_be_heard_then() -> None:
    bench = on_air()
    bench.tap().take_packets(1)
    bench.go(100)
    tap = bench.tap()

    bench.heard_in_ns = 30 * FRAME_NS
    tap.to_live_edge()

    assert tap.poll() == b"packet 130"
    assert tap.packets_skipped_over == 0


def test_the_first_that_follows_another_track_hears_the_start_when_its_turn_comes() -> None:
    bench = on_air()
    tap, other = bench.tap(), bench.tap()

    bench.heard_in_ns = 30 * FRAME_NS
    tap.to_live_edge()

    assert tap.poll() == b"packet 0"
    bench.heard_in_ns = 0
    bench.go(30)
    assert other.poll() == b"packet 0", "that long until the first is heard"


def test_looking_neither_joins_nor_starts_the_clock() -> None:
    bench = Bench(ScriptedReader([NOT_YET, *packets(200)]))
    tap = bench.tap()
    assert tap.look() is NOT_YET
    bench.fill()
    bench.fill()

    assert isinstance(tap.look(), bytes)
    assert not bench.log.runs
    assert numbers(tap.take_packets(1)) == [0]
    assert tap.look() is None, "it has joined"


def test_who_has_fallen_behind_is_not_sent_beyond_what_is_made() -> None:
    bench = on_air(count=40)
    tap = bench.tap()
    tap.take_packets(40)
    bench.heard_in_ns = 40 * FRAME_NS

    assert tap.take_packets(1) == []
    assert tap.packets_skipped_over == 0


def test_a_stalled_source_costs_nobody_a_packet() -> None:
    steps = [*packets(100), *[NOT_YET] * 500, *packets(100, first=100)]
    bench = Bench(ScriptedReader(steps))
    bench.fill()
    tap = bench.tap()
    taken = numbers(tap.take_packets(RING))
    while len(taken) < 200:
        bench.go(1)
        taken += numbers(tap.take_packets(1))

    assert taken == list(range(200))
    assert tap.packets_skipped_over == 0


def test_who_joins_in_a_stall_hears_what_the_others_hear_next() -> None:
    bench = Bench(ScriptedReader([*packets(10), *[NOT_YET] * 100_000]))
    bench.fill()
    tap = bench.tap()
    assert len(tap.take_packets(50)) == 10
    bench.go(300)
    late = bench.tap()

    assert late.poll() is tap.poll() is NOT_YET
    bench.reader.steps = packets(1, first=10)
    bench.go(50)
    assert late.poll() == tap.poll() == b"packet 10"


def test_positions_are_the_source_s() -> None:
    bench = on_air()
    tap = bench.tap()
    assert tap.position_s == 0.0
    tap.take_packets(24)
    assert tap.position_s == pytest.approx(23 / 50)
    bench.go(500)
    tap.to_live_edge()
    assert tap.position_s == pytest.approx(10.0), "where it will go on"
    tap.take_packets(1)
    assert tap.position_s == pytest.approx(10.0)


def test_it_counts_the_damage_of_its_own_time() -> None:
    bench = on_air()
    first = bench.tap()
    first.poll()
    bench.reader.skipped_packets = 3
    bench.go(50)
    second = bench.tap()
    bench.reader.skipped_packets = 5
    bench.go(50)

    assert (first.skipped_packets, second.skipped_packets) == (5, 2)


def test_a_failure_is_told_to_each_once_after_all_packets() -> None:
    failure = SourceError(ErrorCode.SOURCE_TIMEOUT, "jazz.example sent nothing for 10 s", timeout_s=10.0)
    bench = Bench(ScriptedReader([*packets(5), failure]))
    bench.fill()
    for tap in (bench.tap(), bench.tap()):
        assert numbers(tap.take_packets(24)) == list(range(5))
        assert tap.take_packets(24) == []
        with pytest.raises(SourceError, match=r"sent nothing for 10 s") as raised:
            tap.poll()
        assert raised.value is not failure, "or its traceback would grow with each tap"
        assert raised.value.code is ErrorCode.SOURCE_TIMEOUT
        assert raised.value.data == {"timeout_s": 10.0}
        assert tap.poll() is None


def test_after_the_end_there_is_nothing_more() -> None:
    bench = on_air(count=3)
    tap = bench.tap()

    assert [tap.poll() for _ in range(5)] == [b"packet 0", b"packet 1", b"packet 2", None, None]


def test_who_comes_back_after_the_end_does_not_hear_what_is_over() -> None:
    bench = on_air(count=100)
    tap = bench.tap()
    tap.take_packets(RING)
    bench.go(300)

    assert tap.poll() is None
    assert tap.packets_skipped_over == 92


def test_a_source_without_anything_ends_at_once() -> None:
    bench = on_air(count=0)
    tap = bench.tap()

    assert tap.take_packets(24) == []
    assert tap.poll() is None


def test_titles_come_when_their_packets_have() -> None:
    reader = ScriptedReader(packets(2_000))
    reader.titles = [Title(0.0, "Blue"), Title(1.0, "Green"), Title(2.0, "Red")]
    bench = Bench(reader)
    bench.fill()
    tap = bench.tap()

    heard = []
    for number in range(300):
        tap.poll()
        heard += [(number, title.title) for title in tap.take_titles() if isinstance(title, Title)]
        bench.go(1)

    assert heard == [(0, "Blue"), (50, "Green"), (100, "Red")]


def test_who_joins_late_is_told_the_last_title_alone() -> None:
    reader = ScriptedReader(packets(2_000))
    reader.titles = [Title(0.0, "Blue"), Title(1.0, "Green"), Title(10.0, "Red")]
    bench = Bench(reader)
    bench.fill()
    bench.tap().poll()
    bench.go(300)
    tap = bench.tap()
    assert tap.take_titles() == []

    tap.poll()

    assert tap.take_titles() == [Title(1.0, "Green")]
    bench.go(300)
    tap.poll()
    assert tap.take_titles() == [Title(10.0, "Red")]
    assert tap.take_titles() == []


def test_a_broadcast_does_not_wait_to_be_heard() -> None:
    bench = on_air(info=BROADCAST)
    bench.go(500)

    assert bench.tap().poll() == b"packet 500"


def test_closed_it_hands_out_nothing_and_tells_so_once() -> None:
    bench = on_air()
    tap, unused = bench.tap(), bench.tap()
    tap.poll()

    tap.close()
    tap.close()
    unused.close()

    assert bench.closes == 2
    for closed in (tap, unused):
        assert closed.take_packets(24) == []
        assert closed.poll() is None


def test_it_is_what_a_feed_wants() -> None:
    from voicepool.workers.audio.feed import FeedSource

    def check(tap: StationTap) -> FeedSource:
        return tap

    assert check(on_air().tap()).poll() == b"packet 0"
