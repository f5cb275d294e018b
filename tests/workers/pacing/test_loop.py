"""The pacing loop, turned by hand on a clock that jumps; once with its real thread."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from tests.fakes.jumping_clock import JumpingClock
from voicepool.ipc.histogram import bucket_of
from voicepool.workers.audio.frame import FRAME_NS, FRAME_SAMPLES, SILENCE, Mark, Note
from voicepool.workers.pacing.lane import Ended, Lane, silent_tail
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.pacing.schedule import FULL_GROUP, SLOTS


@dataclass
class Sent:
    """One packet as it would have gone to the network."""

    at_ns: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclass
class Bench:
    """A pacer on a jumping clock, and all its lanes sent."""

    clock: JumpingClock = field(default_factory=JumpingClock)
    sent: list[Sent] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.clock)

    def lane(self, ssrc: int = 1) -> Lane:
        lane = Lane(self.failures.append)
        lane.bind(lambda header, payload: header + payload, self._send, ssrc)
        return lane

    def _send(self, packet: bytes) -> None:
        flags, payload_type, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", packet)
        assert (flags, payload_type) == (0x80, 0x78)
        self.sent.append(Sent(self.clock.time_ns, sequence, timestamp, ssrc, packet[12:]))

    def play(self, lane: Lane, *frames: bytes | Mark) -> deque[bytes | Mark]:
        queue: deque[bytes | Mark] = deque(frames)
        self.pacer.switch(lane, queue)
        return queue

    def run_until_idle(self, limit: int = 500) -> None:
        for _ in range(limit):
            self.pacer.turn_once()
            if self.clock.waits[-1] is None:
                return
        pytest.fail("the wheel never emptied")

    def run(self, turns: int) -> None:
        served = self.pacer._next
        while self.pacer._next < served + turns * SLOTS:
            self.pacer.turn_once()


def test_frames_leave_every_20_ms_with_consecutive_headers() -> None:
    bench = Bench()
    lane = bench.lane(ssrc=77)
    frames = [b"frame %d" % number for number in range(10)]
    bench.play(lane, *frames, *silent_tail())
    bench.run_until_idle()
    assert [packet.payload for packet in bench.sent] == frames + [SILENCE] * 5
    for before, after in zip(bench.sent, bench.sent[1:], strict=False):
        assert after.at_ns - before.at_ns == FRAME_NS
        assert after.sequence == (before.sequence + 1) & 0xFFFF
        assert after.timestamp == (before.timestamp + FRAME_SAMPLES) & 0xFFFF_FFFF
        assert after.ssrc == 77
    assert (lane.frames, lane.silence, lane.nulled) == (10, 5, 0)
    assert not lane.active


def test_sequence_and_timestamp_wrap() -> None:
    bench = Bench()
    lane = bench.lane()
    lane.sequence = 0xFFFE
    elapsed = (bench.clock.now_ns() - bench.pacer._schedule.origin_ns) // FRAME_NS
    lane.timestamp_base = (0xFFFF_FFFF - elapsed * FRAME_SAMPLES) & 0xFFFF_FFFF
    bench.play(lane, b"a", b"b", b"c", *silent_tail())
    bench.run_until_idle()
    assert [packet.sequence for packet in bench.sent[:4]] == [0xFFFE, 0xFFFF, 0, 1]
    assert bench.sent[0].timestamp > bench.sent[2].timestamp


def test_the_timestamp_follows_the_wall_clock_over_a_pause() -> None:
    bench = Bench()
    lane = bench.lane()
    bench.play(lane, b"before", *silent_tail())
    bench.run_until_idle()
    last = bench.sent[-1]
    bench.clock.time_ns += 3_000_000_000
    bench.play(lane, b"after", *silent_tail())
    bench.run_until_idle()
    first = bench.sent[6]
    assert first.sequence == (last.sequence + 1) & 0xFFFF
    elapsed_ns = first.at_ns - last.at_ns
    stepped = (first.timestamp - last.timestamp) & 0xFFFF_FFFF
    assert stepped % FRAME_SAMPLES == 0
    assert abs(stepped / 48_000 - elapsed_ns / 1e9) < 0.021


def test_it_sends_until_the_last_call_is_parked() -> None:
    bench = Bench()
    assert not bench.pacer.sends
    lane = bench.lane()
    bench.play(lane, b"frame", *silent_tail())
    assert bench.pacer.sends
    bench.run_until_idle()
    assert not bench.pacer.sends


def test_a_swapped_queue_is_heard_from_the_next_tick_on() -> None:
    bench = Bench()
    lane = bench.lane()
    ring = bench.play(lane, *[b"song"] * 20)
    bench.run(turns=5)
    bench.pacer.switch(lane, deque(silent_tail()))
    bench.run_until_idle()
    heard = [packet.payload for packet in bench.sent]
    songs = heard.count(b"song")
    assert heard == [b"song"] * songs + [SILENCE] * 5
    assert len(ring) == 20 - songs, "what is held stays in the ring"
    bench.pacer.switch(lane, ring)
    ring.extend(silent_tail())
    bench.run_until_idle()
    assert [packet.payload for packet in bench.sent].count(b"song") == 20


def test_a_starved_call_sends_five_silences_then_waits_and_recovers() -> None:
    bench = Bench()
    lane = bench.lane()
    ring = bench.play(lane, b"one")
    bench.run(turns=9)
    assert [packet.payload for packet in bench.sent] == [b"one"] + [SILENCE] * 5
    assert lane.active, "the clock of a starved call goes on"
    nulled = lane.nulled
    assert nulled >= 7
    assert bench.pacer.nulled == nulled
    ring.extend([b"two", *silent_tail()])
    bench.run_until_idle()
    two = bench.sent[6]
    assert two.payload == b"two"
    assert two.sequence == (bench.sent[5].sequence + 1) & 0xFFFF
    assert (two.timestamp - bench.sent[0].timestamp) & 0xFFFF_FFFF == (nulled + 1) * FRAME_SAMPLES


def test_the_end_is_reported_once_after_the_last_silence() -> None:
    bench = Bench()
    lane = bench.lane()
    ends: list[int] = []
    bench.play(lane, b"x", *silent_tail(Ended(lambda: ends.append(len(bench.sent)))))
    bench.run_until_idle()
    assert ends == [6]
    assert not lane.active


def test_a_note_is_reported_in_its_place_and_takes_no_time() -> None:
    bench = Bench()
    sent_before: list[int] = []
    note = Note(lambda: sent_before.append(len(bench.sent)))
    bench.play(bench.lane(), b"a", note, note, b"b", *silent_tail())
    bench.run_until_idle()
    assert [packet.payload for packet in bench.sent][:2] == [b"a", b"b"]
    # Told after the slot in which it was reached.
    assert sent_before == [2, 2]
    times = [packet.at_ns for packet in bench.sent]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [FRAME_NS] * 6


def test_a_note_before_an_empty_queue_is_told_and_the_tick_is_starved() -> None:
    bench = Bench()
    told: list[None] = []
    lane = bench.lane()
    bench.play(lane, b"a", Note(lambda: told.append(None)))
    bench.run(turns=2)
    assert len(told) == 1
    assert lane.nulled >= 1


def test_a_note_right_before_the_end_is_told_first_and_delays_nothing() -> None:
    bench = Bench()
    told: list[str] = []
    lane = bench.lane()
    bench.play(lane, b"a", Note(lambda: told.append("note")), Ended(lambda: told.append("end")))
    bench.run_until_idle()
    assert told == ["note", "end"]
    assert [packet.payload for packet in bench.sent] == [b"a"]
    assert not lane.active


def test_a_queue_that_is_swapped_when_the_end_is_told_is_played() -> None:
    bench = Bench()
    lane = bench.lane()
    follow: deque[bytes | Mark] = deque([b"next", *silent_tail()])
    bench.play(lane, b"x", Ended(lambda: bench.pacer.switch(lane, follow)))
    bench.run_until_idle()
    assert [packet.payload for packet in bench.sent] == [b"x", b"next"] + [SILENCE] * 5


def test_calls_are_grouped_and_keep_their_phase() -> None:
    bench = Bench()
    calls = FULL_GROUP + 2
    lanes = [bench.lane(ssrc) for ssrc in range(calls)]
    for lane in lanes:
        bench.play(lane, *[b"f"] * 4, *silent_tail())
    assert sorted(Counter(lane.slot for lane in lanes).values()) == [2, FULL_GROUP]
    bench.run_until_idle(limit=2_000)
    for ssrc in range(calls):
        times = [packet.at_ns for packet in bench.sent if packet.ssrc == ssrc]
        assert [b - a for a, b in itertools.pairwise(times)] == [FRAME_NS] * 8


def test_lateness_is_recorded_against_the_due_time() -> None:
    bench = Bench()
    bench.clock.oversleep_ns = 700_000
    bench.play(bench.lane(), *[b"f"] * 20, *silent_tail())
    bench.run_until_idle()
    assert bench.pacer.lateness.total == 25
    assert bench.pacer.lateness.max_us == 700
    assert 0.6 <= bench.pacer.lateness.percentile_ms(50) <= 0.7
    assert bench.pacer.packets == 25


def test_each_packet_of_a_group_has_its_own_lateness() -> None:
    bench = Bench()
    step_ns = 500_000

    def send(packet: bytes) -> None:
        bench.clock.time_ns += step_ns
        bench._send(packet)

    for ssrc in range(3):
        lane = bench.lane()
        lane.bind(lambda header, payload: header + payload, send, ssrc)
        bench.play(lane, b"f")
    bench.run(turns=2)
    assert [packet.payload for packet in bench.sent[:3]] == [b"f"] * 3
    counts = bench.pacer.lateness.counts
    for packets in (1, 2, 3):
        # Each turn, audio or silence, one packet leaves 0.5, one 1.0 and one 1.5 ms late.
        assert counts[bucket_of(packets * step_ns // 1_000)] == len(bench.sent) // 3
    assert bench.pacer.lateness.max_us == 1_500


def test_the_latest_packet_counts_though_the_last_of_its_group_was_refused() -> None:
    bench = Bench()
    bench.clock.oversleep_ns = 300_000

    def refuse(packet: bytes) -> None:
        bench.clock.time_ns += 1_000_000
        raise BlockingIOError

    good, bad = bench.lane(1), bench.lane(2)
    bad.bind(lambda header, payload: header + payload, refuse, 2)
    bench.play(good, b"f")
    bench.play(bad, b"f")
    bench.run(turns=1)
    assert good.slot == bad.slot
    assert bad.send_errors >= 1
    assert bench.pacer.lateness.total == len(bench.sent) == bench.pacer.packets
    assert bench.pacer.lateness.max_us == 300


def test_a_short_stall_is_caught_up_without_losing_a_frame() -> None:
    bench = Bench()
    lane = bench.lane()
    bench.play(lane, *[b"f"] * 20, *silent_tail())
    bench.run(turns=5)
    bench.clock.time_ns += 45_000_000
    bench.run_until_idle()
    timestamps = [packet.timestamp for packet in bench.sent]
    steps = {(b - a) & 0xFFFF_FFFF for a, b in itertools.pairwise(timestamps)}
    assert steps == {FRAME_SAMPLES}
    assert bench.pacer.turns_skipped == 0


def test_a_long_stall_skips_time_but_no_frame() -> None:
    bench = Bench()
    lane = bench.lane()
    bench.play(lane, *[b"%d" % number for number in range(20)], *silent_tail())
    bench.run(turns=5)
    bench.clock.time_ns += 1_000_000_000
    bench.run_until_idle()
    assert [packet.payload for packet in bench.sent[:20]] == [b"%d" % number for number in range(20)]
    assert bench.pacer.turns_skipped >= 49
    for before, after in zip(bench.sent, bench.sent[1:], strict=False):
        assert after.sequence == (before.sequence + 1) & 0xFFFF
        stepped_s = ((after.timestamp - before.timestamp) & 0xFFFF_FFFF) / 48_000
        assert abs(stepped_s - (after.at_ns - before.at_ns) / 1e9) <= 0.021


def test_a_refused_packet_is_counted_and_the_call_goes_on() -> None:
    bench = Bench()
    lane = bench.lane()
    refusals = iter([OSError("no route"), None, BlockingIOError()])

    def send(packet: bytes) -> None:
        if error := next(refusals, None):
            raise error
        bench._send(packet)

    lane.bind(lambda header, payload: header + payload, send, 1)
    bench.play(lane, *[b"f"] * 5, *silent_tail())
    bench.run_until_idle()
    assert lane.send_errors == 2
    assert lane.frames == 3
    sequences = [packet.sequence for packet in bench.sent]
    steps = [(after - before) & 0xFFFF for before, after in itertools.pairwise(sequences)]
    assert steps == [2, 1, 1, 1, 1, 1, 1], "the receiver sees what is missing"


def test_one_calls_failure_does_not_silence_the_others() -> None:
    bench = Bench()
    bad, good = bench.lane(1), bench.lane(2)

    def exhausted(header: bytes, payload: bytes) -> bytes:
        raise RuntimeError("nonces are used up")

    bad.bind(exhausted, bench._send, 1)
    bench.play(bad, *[b"f"] * 5)
    bench.play(good, *[b"f"] * 5, *silent_tail())
    bench.run_until_idle()
    assert [str(error) for error in bench.failures] == ["nonces are used up"]
    assert not bad.active
    assert len(bench.sent) == 10


def test_a_removed_lane_sends_nothing_more() -> None:
    bench = Bench()
    lane = bench.lane()
    bench.play(lane, *[b"f"] * 50)
    bench.run(turns=3)
    bench.pacer.remove(lane)
    count = len(bench.sent)
    bench.run_until_idle()
    assert len(bench.sent) == count
    bench.pacer.remove(lane)
    assert not lane.active


def test_removing_one_call_in_a_slot_costs_its_neighbour_no_tick() -> None:
    bench = Bench()
    lanes = [bench.lane(ssrc) for ssrc in range(3 * SLOTS)]
    for lane in lanes:
        bench.play(lane, *[b"f"] * 10, *silent_tail())
    bench.run(turns=2)
    bench.pacer.remove(lanes[0])
    bench.run_until_idle(limit=2_000)
    for lane in lanes[1:]:
        assert (lane.frames, lane.nulled) == (10, 0)


def test_a_thread_that_may_not_rise_runs_all_the_same() -> None:
    def refuse() -> str:
        raise RuntimeError("no such class")

    pacer = Pacer(raise_priority=refuse)
    assert pacer.start() == "normal"
    pacer.stop()


def test_an_empty_wheel_sleeps_until_it_is_woken() -> None:
    bench = Bench()
    bench.pacer.turn_once()
    assert bench.clock.waits == [None]


def test_the_watch_runs_after_a_slot_was_served() -> None:
    clock = JumpingClock()
    seen: list[int] = []
    pacer = Pacer(clock, watch=seen.append)
    lane = Lane(lambda error: None)
    lane.bind(lambda header, payload: header + payload, lambda packet: None, 1)
    pacer.switch(lane, deque([b"f", *silent_tail()]))
    for _ in range(4):
        pacer.turn_once()
    assert seen
    assert seen[-1] == clock.time_ns


def test_the_real_thread_sends_and_stops() -> None:
    packets: list[bytes] = []
    ended = threading.Event()
    pacer = Pacer()
    pacer.start()
    try:
        lane = Lane(lambda error: None)
        lane.bind(lambda header, payload: header + payload, packets.append, 9)
        pacer.switch(lane, deque([b"a", b"b", *silent_tail(Ended(ended.set))]))
        assert ended.wait(timeout=20)
    finally:
        pacer.stop()
    assert [packet[12:] for packet in packets] == [b"a", b"b"] + [SILENCE] * 5
    assert pacer.lateness.total == 7
    assert pacer.cpu_s == 0.0, "a thread that has ended has no clock any more"


def test_a_missing_frame_is_the_sources_fault_or_the_encoders() -> None:
    bench = Bench()
    lane = bench.lane()
    bench.play(lane, b"one")
    bench.run(turns=4)
    assert (lane.nulled_by_source, lane.nulled_by_encoder) == (0, lane.nulled)
    by_encoder = lane.nulled
    assert by_encoder > 0
    lane.dry = True
    bench.run(turns=4)
    assert lane.nulled_by_encoder == by_encoder
    assert lane.nulled_by_source == lane.nulled - by_encoder > 0
    assert bench.pacer.nulled_by_source == lane.nulled_by_source
    bench.play(lane, b"two")
    assert not lane.dry, "of another queue nothing is known yet"
