"""A station's feed: where it begins, and what it drops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.station_bench import FILE, Bench, ScriptedReader, numbers, packets
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.station_feed import StationFeed
from voicepool.workers.errors import SourceError


class NumberDecoder:
    """Decodes a packet to its number, and notes what it was given."""

    concealed = 0

    def __init__(self) -> None:
        self.given: list[int] = []

    def decode_float(self, packet: bytes | None, out: npt.NDArray[np.float32]) -> int:
        assert packet is not None
        self.given.append(int(packet.split()[1]))
        out[:] = self.given[-1]
        return len(out)

    def close(self) -> None:
        pass


def feed_of(bench: Bench[ScriptedReader], decoder: NumberDecoder | None = None) -> StationFeed:
    return StationFeed(
        bench.tap(), make_decoder=lambda: decoder or NumberDecoder(), kept_frames=50, early_samples=0
    )


def on_air() -> Bench[ScriptedReader]:
    bench = Bench(ScriptedReader(packets(5_000)), FILE)
    bench.fill()
    return bench


def test_until_it_is_taken_from_the_station_does_not_run() -> None:
    bench = on_air()
    feed = feed_of(bench)

    assert isinstance(feed.peek(), bytes)
    assert not bench.log.runs
    bench.go(500)
    assert numbers(feed.take_packets(5)) == [0, 1, 2, 3, 4]
    assert feed.peek() == b"packet 5"


def test_it_cannot_begin_within_a_frame_and_is_not_touched_to_find_that_out() -> None:
    bench = on_air()
    feed = feed_of(bench)

    assert not feed.begin_late(480)
    assert not bench.log.runs


def test_it_begins_with_what_is_heard_when_it_begins() -> None:
    bench = on_air()
    feed_of(bench).take_packets(1)
    feed = feed_of(bench)
    feed.peek()
    bench.go(200)
    bench.heard_in_ns = 10 * FRAME_NS

    assert numbers(feed.take_packets(3)) == [210, 211, 212]
    assert feed.position_frames == 3
    assert feed.source_position_s(2) == pytest.approx(212 / 50)


def test_taken_back_to_its_start_it_begins_anew() -> None:
    bench = on_air()
    feed = feed_of(bench)
    feed.take_packets(24)
    feed.rewind(24)
    bench.go(100)

    assert numbers(feed.take_packets(3)) == [100, 101, 102]
    assert feed.source_position_s(0) == pytest.approx(2.0)


def test_taken_back_elsewhere_it_gives_the_same_again() -> None:
    bench = on_air()
    feed = feed_of(bench)
    feed.take_packets(24)
    feed.rewind(14)
    bench.go(100)

    assert numbers(feed.take_packets(14)) == list(range(10, 24))


def test_skipping_goes_to_the_live_edge_and_leaves_out_no_number() -> None:
    bench = on_air()
    feed = feed_of(bench)
    feed.take_packets(48)
    feed.rewind(40)
    bench.go(150)

    assert feed.skip(1) == 0

    assert feed.position_frames == 8
    assert numbers(feed.take_packets(3)) == [150, 151, 152]
    positions = [feed.source_position_s(number) for number in (0, 7, 8, 10)]
    assert positions == pytest.approx([0.0, 7 / 50, 3.0, 3.04])


def test_what_was_decoded_of_what_is_dropped_is_forgotten() -> None:
    bench, decoder = on_air(), NumberDecoder()
    feed = feed_of(bench, decoder)
    for _ in range(10):
        feed.next_frame()
    feed.rewind(5)
    bench.go(150)
    feed.skip(1)
    heard = [feed.next_frame() for _ in range(3)]

    assert [float(frame[0, 0]) for frame in heard if isinstance(frame, np.ndarray)] == [150.0, 151.0, 152.0]
    feed.rewind(4)
    again = feed.next_frame()
    assert isinstance(again, np.ndarray)
    assert float(again[0, 0]) == 4.0, "what was heard before can still be heard"


def test_a_slow_station_that_is_mixed_loses_nothing() -> None:
    bench = Bench(ScriptedReader([packet for one in packets(100) for packet in (one, NOT_YET)]))
    feed = feed_of(bench)
    heard: list[float] = []
    while len(heard) < 20:
        bench.fill()
        frame = feed.next_frame()
        if isinstance(frame, np.ndarray):
            heard.append(float(frame[0, 0]))
        bench.now_ns += FRAME_NS // 4

    assert heard == [float(number) for number in range(20)]


def test_one_that_cannot_be_heard_says_why() -> None:
    bench = Bench(ScriptedReader([SourceError(ErrorCode.SOURCE_FAILED, "it is broken")]))
    bench.fill()
    feed = feed_of(bench)

    assert feed.peek() is None
    with pytest.raises(SourceError, match="it is broken"):
        feed.next_frame()
