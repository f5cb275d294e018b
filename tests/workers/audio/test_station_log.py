"""The log of a station: what it keeps, what is due when, and a reader that is overtaken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.station_bench import START_NS, Title, numbers
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.station_log import LEAD_PACKETS, PacketLog
from voicepool.workers.errors import SourceError


def filled(count: int, ahead: int = 75) -> PacketLog:
    log = PacketLog(ahead)
    for number in range(count):
        log.append(b"packet %d" % number, number / 50, START_NS)
    return log


def test_without_room_for_a_packet_it_is_refused() -> None:
    with pytest.raises(ValueError, match="ahead_packets must be 1 or more, not 0"):
        PacketLog(0)


@given(
    count=st.integers(0, 400), ahead=st.integers(1, 120), back=st.integers(0, 500), most=st.integers(0, 60)
)
def test_reads_are_those_of_a_list(count: int, ahead: int, back: int, most: int) -> None:
    log = filled(count, ahead)
    start = max(log.first, count - back)

    assert numbers(log.read(start, most)) == list(range(count))[start : start + most]


def test_it_keeps_a_bounded_number_of_packets() -> None:
    log = filled(10_000)

    assert log.made == 10_000
    assert log.made - log.first == 150
    assert len(log.read(log.first, 10_000)) == 150


def test_a_rest_of_a_file_is_no_time_at_all() -> None:
    log = filled(160)
    log.start(START_NS)
    now_ns = START_NS + 101 * FRAME_NS
    assert not log.rest(now_ns - FRAME_NS, afresh=False)
    assert log.rest(now_ns, afresh=False)
    before = log.edge(now_ns)

    later_ns = now_ns + 10_000 * FRAME_NS
    assert log.rest(later_ns, afresh=False)
    assert log.ask(later_ns)

    assert not log.rests
    assert log.edge(later_ns) == before
    assert log.due_ns(before) == later_ns + LEAD_PACKETS * FRAME_NS
    assert not log.rest(later_ns + FRAME_NS, afresh=False), "the two seconds begin anew"


def test_after_a_rest_a_broadcast_is_heard_from_the_next_packet_on() -> None:
    log = filled(160)
    log.start(START_NS)
    assert log.rest(START_NS + 101 * FRAME_NS, afresh=True)

    later_ns = START_NS + 10_000 * FRAME_NS
    assert log.ask(later_ns)

    assert log.edge(later_ns) == log.first == log.made == 160
    assert log.read(159, 5) == []
    assert log.due_ns(160) == later_ns + LEAD_PACKETS * FRAME_NS


def test_of_several_who_wake_it_one_does() -> None:
    log = filled(60)
    log.start(START_NS)
    log.rest(START_NS + 200 * FRAME_NS, afresh=False)

    assert [log.ask(START_NS + 300 * FRAME_NS) for _ in range(3)] == [True, False, False]
    edge = log.edge(START_NS + 300 * FRAME_NS)
    assert edge == 60


def test_it_does_not_rest_before_it_runs_or_after_its_end() -> None:
    log = filled(60)
    assert not log.rest(START_NS + 10_000 * FRAME_NS, afresh=False)
    log.start(START_NS)
    log.finish()
    assert not log.rest(START_NS + 10_000 * FRAME_NS, afresh=False)


def test_a_reader_that_is_overtaken_while_it_reads_gets_nothing_wrong() -> None:
    log = filled(150)

    class Overtaking(list[bytes]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as a list's, with a turn of the writer
            taken = super().__getitem__(index)
            if isinstance(index, slice):
                log.append(b"packet 150", 3.0, START_NS)
            return taken

    log._slots = Overtaking(log._slots)

    assert log.read(0, 5) == []
    assert log.first == 1


def test_the_clock_stands_until_it_is_started_and_starts_once() -> None:
    log = filled(75)
    assert not log.runs
    assert log.room(START_NS) == log.room(START_NS + 10 * FRAME_NS) == 0
    assert log.edge(START_NS + 10 * FRAME_NS) == 0

    log.start(START_NS)
    log.start(START_NS + 5 * FRAME_NS)

    assert log.runs
    assert log.edge(START_NS) == 0
    assert log.edge(START_NS + FRAME_NS) == 1
    assert log.due_ns(0) == START_NS + LEAD_PACKETS * FRAME_NS


def test_there_is_room_for_what_becomes_due() -> None:
    log = filled(75)
    log.start(START_NS)

    assert [log.room(START_NS + frames * FRAME_NS) for frames in (0, 1, 24, 75, 500)] == [0, 1, 24, 75, 75]


def test_a_packet_that_comes_late_moves_those_after_it() -> None:
    log = filled(1)
    log.start(START_NS)
    late_ns = START_NS + (1 + LEAD_PACKETS) * FRAME_NS + 300_000_000

    log.append(b"packet 1", 0.02, late_ns)

    assert log.due_ns(1) == late_ns
    assert log.due_ns(2) == late_ns + FRAME_NS
    log.append(b"packet 2", 0.04, late_ns + 5_000_000)
    assert log.due_ns(2) == late_ns + FRAME_NS, "one that comes in time moves nothing"


def test_the_edge_is_never_beyond_what_was_made_but_for_what_is_heard_later() -> None:
    log = filled(10)
    log.start(START_NS)
    now_ns = START_NS + 100 * FRAME_NS

    assert log.edge(now_ns) == 10
    assert log.edge(now_ns, 8 * FRAME_NS) == 18
    log.finish()
    assert log.edge(now_ns, 8 * FRAME_NS) == 10


def test_the_edge_is_never_before_what_is_kept() -> None:
    log = filled(200)
    log.start(START_NS)

    assert log.edge(START_NS) == log.first == 50


def test_positions_follow_the_source_through_its_jumps() -> None:
    log = PacketLog(75)
    assert log.position_s(0) == 0.0
    for position_s in (10.0, 10.02, 10.04, 0.0, 0.02, 31.0):
        log.append(b"packet", position_s, START_NS)

    assert [round(log.position_s(number), 6) for number in range(7)] == [10, 10.02, 10.04, 0, 0.02, 31, 31.02]


def test_positions_of_packets_that_are_gone_are_forgotten() -> None:
    log = PacketLog(10)
    for number in range(5_000):
        log.append(b"packet", number % 2 * 5.0, START_NS)

    assert len(log._places) <= 87
    assert log.position_s(4_998) == 0.0
    assert log.position_s(4_999) == 5.0


@pytest.mark.parametrize(("position_s", "number"), [(0.0, 0), (0.02, 1), (0.17, 9), (0.18, 9), (5.0, 10)])
def test_a_title_begins_with_the_first_packet_from_its_place_on(position_s: float, number: int) -> None:
    log = filled(10)

    log.announce(Title(position_s, "Blue"))

    assert [at for _, at, _ in log.titles] == [number]


def test_titles_are_bounded_and_keep_the_last() -> None:
    log = filled(1)
    for number in range(100):
        log.announce(Title(0.0, str(number)))

    assert [title for _, _, title in log.titles] == [Title(0.0, str(number)) for number in range(84, 100)]
    assert [serial for serial, _, _ in log.titles] == list(range(85, 101))


def test_the_first_end_counts() -> None:
    log = filled(1)
    failure = SourceError(ErrorCode.SOURCE_FAILED, "broken")

    log.finish(failure)
    log.finish()

    assert log.ended
    assert log.failure is failure
