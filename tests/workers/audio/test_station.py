"""A station filled by hand: what it makes, when, of what, and how it ends or begins anew."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.workers.audio.media_files import opus, signal, wav
from tests.workers.audio.station_bench import (
    BROADCAST,
    FILE,
    START_NS,
    Bench,
    NumberingEncoder,
    Opened,
    Pcm,
    PlainReader,
    ScriptedReader,
    Step,
    Title,
    numbers,
    packets,
)
from tests.workers.audio.test_readahead import wait_ended
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.audio.media import open_media
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.readahead import NOT_YET, ReadAhead
from voicepool.workers.audio.region import Region
from voicepool.workers.audio.station import (
    AHEAD_PACKETS,
    BURST_PACKETS,
    STARVED_RETRY_NS,
    Station,
    StationReader,
    as_source_error,
)
from voicepool.workers.audio.station_log import LEAD_PACKETS
from voicepool.workers.errors import SourceError, WorkerSideError

SAFETY_S = 30.0


def ramp(first: int, samples: int = 960) -> Pcm:
    """Sound that tells its place: sample n of the left channel is n."""
    frame = np.zeros((960, 2), np.float32)
    frame[:samples, 0] = np.arange(first, first + samples)
    return frame


class PaddedReader(ScriptedReader):
    """Says of its last frame how much is padding."""

    def __init__(self, steps: list[Step], padding_samples: int) -> None:
        super().__init__(steps)
        self._padding_samples = padding_samples

    @property
    def padding_samples(self) -> int:
        return 0 if self.steps else self._padding_samples


def test_it_is_an_item_of_the_encoder_threads() -> None:
    def check(station: Station) -> EncoderItem:
        return station

    item = check(Bench(ScriptedReader([])).station)
    assert (item.ticket, item.hurried, item.parked, item.cancelled) == (-1, False, False, False)


def test_it_is_filled_ahead_in_bursts_and_rests_until_the_first_call_comes() -> None:
    bench = Bench(ScriptedReader(packets(500)))
    made = []
    while not bench.station.may_park:
        assert bench.station.fill(bench.now_ns) == bench.now_ns
        made.append(bench.log.made)

    assert made == [24, 48, 72, 75]
    bench.tap().poll()
    assert not bench.station.may_park


def test_it_keeps_ahead_of_the_clock_with_few_wake_ups() -> None:
    bench = Bench(ScriptedReader(packets(2_000)))
    bench.fill()
    bench.tap().poll()
    clock_starts_ns = START_NS + LEAD_PACKETS * FRAME_NS

    again_ns = bench.fill()

    assert again_ns == clock_starts_ns + BURST_PACKETS * FRAME_NS
    wakes = 0
    while bench.now_ns < START_NS + 1_000 * FRAME_NS:
        bench.now_ns, wakes = again_ns, wakes + 1
        bench.log.ask(bench.now_ns)
        again_ns = bench.fill()
        heard = (bench.now_ns - clock_starts_ns) // FRAME_NS
        assert heard + AHEAD_PACKETS <= bench.log.made <= heard + AHEAD_PACKETS + LEAD_PACKETS
    assert wakes <= 1_000 / BURST_PACKETS + 1


def test_packets_of_20_ms_go_through_as_they_are() -> None:
    bench = Bench(ScriptedReader(packets(50)))
    bench.fill()

    assert numbers(bench.tap().take_packets(50)) == list(range(50))
    assert bench.encoders == []


def test_pcm_is_encoded_once() -> None:
    bench = Bench(ScriptedReader([ramp(960 * number) for number in range(60)]))
    bench.fill()
    taps = [bench.tap(), bench.tap()]

    assert [numbers(tap.take_packets(60)) for tap in taps] == [[960 * number for number in range(60)]] * 2
    assert len(bench.encoders) == 1
    assert len(bench.encoders[0].frames) == 60


def test_the_real_encoder_fits() -> None:
    sound = signal(seconds=0.2)
    frames: list[Step] = [np.ascontiguousarray(sound[at : at + 960]) for at in range(0, len(sound), 960)]
    station = Station("jazz", Opened(ScriptedReader(frames)), make_encoder=Encoder)
    reference = Encoder()

    assert station.fill(START_NS) is not None

    assert station.log.read(0, 10) == [reference.encode_float(frame) for frame in frames]  # type: ignore[arg-type]
    station.close()
    reference.close()


def test_an_encoder_that_cannot_be_made_ends_it_with_the_reason() -> None:
    def make_encoder() -> NumberingEncoder:
        raise WorkerSideError(ErrorCode.LIBOPUS_MISSING, "no libopus", tried=2)

    bench = Bench(ScriptedReader([ramp(0)]), make_encoder=make_encoder)
    bench.fill()

    with pytest.raises(SourceError, match="no libopus") as raised:
        bench.tap().poll()
    assert raised.value.code is ErrorCode.LIBOPUS_MISSING
    assert raised.value.data == {"tried": 2}


def test_a_source_with_nothing_ready_is_asked_again_the_sooner_the_less_there_is() -> None:
    bench = Bench(ScriptedReader([*packets(60), *[NOT_YET] * 1_000]))
    assert bench.fill() == START_NS + STARVED_RETRY_NS
    bench.tap().poll()

    waits = []
    for _ in range(5):
        waits.append(bench.fill() - bench.now_ns)
        bench.now_ns += waits[-1]

    assert waits[0] == (60 + LEAD_PACKETS) * FRAME_NS // 4
    assert waits == sorted(waits, reverse=True)
    bench.now_ns += 100 * FRAME_NS
    bench.log.ask(bench.now_ns)
    assert bench.fill() == bench.now_ns + STARVED_RETRY_NS


def test_a_broadcast_runs_from_its_first_packet() -> None:
    bench = Bench(ScriptedReader([NOT_YET, *packets(500)]), info=BROADCAST)
    bench.station.fill(bench.now_ns)
    assert not bench.log.runs

    bench.fill()

    assert bench.log.runs
    assert not bench.station.may_park


@pytest.mark.parametrize("info", [FILE, BROADCAST])
def test_it_rests_when_nobody_has_asked_for_two_seconds(info: MediaInfo) -> None:
    bench = Bench(ScriptedReader(packets(5_000)), info, is_listened_to=False)
    bench.fill()
    tap = bench.tap()
    tap.poll()
    bench.go(99)
    assert not bench.station.may_park
    bench.go(30)
    assert bench.log.rests
    assert bench.station.may_park

    made = bench.log.made
    assert bench.station.fill(bench.now_ns + 1_000 * FRAME_NS) <= bench.now_ns + 1_000 * FRAME_NS
    assert bench.log.made == made, "woken for nothing, it makes nothing"

    starts = bench.starts
    bench.now_ns += 1_000 * FRAME_NS
    tap.poll()
    assert bench.starts == starts + 1, "the encoder threads are nudged"
    assert not bench.station.may_park
    bench.go(50)
    assert bench.log.made > made


def test_it_does_not_rest_while_those_who_listen_wait_for_the_source() -> None:
    bench = Bench(ScriptedReader([*packets(10), *[NOT_YET] * 100_000]), BROADCAST, is_listened_to=False)
    bench.fill()
    tap = bench.tap()
    for _ in range(500):
        tap.take_packets(24)
        bench.go(1)

    assert not bench.log.rests


def test_at_the_end_it_rests_and_is_over_once_it_was_heard() -> None:
    bench = Bench(ScriptedReader(packets(3)))
    bench.fill()
    assert bench.station.may_park
    assert not bench.station.is_over, "nobody has heard it yet"

    bench.tap().poll()

    assert bench.station.is_over
    assert bench.station.may_park
    assert bench.reader.closes == 1


def test_a_defect_ends_it_is_logged_and_reaches_those_who_listen(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ScriptedReader([*packets(2), ZeroDivisionError("division by zero")]))
    with caplog.at_level(logging.ERROR):
        bench.fill()
    tap = bench.tap()

    assert numbers(tap.take_packets(24)) == [0, 1]
    with pytest.raises(SourceError, match=r"'jazz'.*division by zero") as raised:
        tap.poll()
    assert raised.value.code is ErrorCode.INTERNAL
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_errors_that_are_meant_to_be_read_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    failure = SourceError(ErrorCode.SOURCE_NOT_FOUND, "no such file")

    assert as_source_error(failure, "jazz") is failure
    assert caplog.records == []


def test_after_a_defect_nothing_more_is_made() -> None:
    class BreakingEncoder(NumberingEncoder):
        def encode_float(self, frame: Pcm) -> bytes:
            packet = super().encode_float(frame)
            if len(self.frames) == 3:
                raise ZeroDivisionError
            return packet

    bench = Bench(ScriptedReader([ramp(960 * number) for number in range(9)]), make_encoder=BreakingEncoder)
    bench.fill()
    bench.tap().poll()
    bench.go(100)

    assert bench.log.ended
    assert bench.log.made == 2


class TestRepeating:
    def test_it_asks_for_its_source_anew_and_goes_on_without_a_gap(self) -> None:
        bench = Bench(ScriptedReader(packets(30)), repeats=True)
        bench.fill()
        assert bench.reopenings == 1
        assert bench.station.may_park
        assert bench.reader.closes == 1

        bench.station.go_on(ScriptedReader(packets(30)))
        assert not bench.station.may_park
        bench.fill()
        bench.station.go_on(ScriptedReader(packets(30)))
        bench.fill()

        assert bench.reopenings == 2
        assert numbers(bench.tap().take_packets(100)) == [*range(30), *range(30), *range(15)]
        assert not bench.station.is_over

    def test_positions_begin_anew(self) -> None:
        bench = Bench(ScriptedReader(packets(30)), repeats=True)
        bench.fill()
        bench.station.go_on(ScriptedReader(packets(30)))
        bench.fill()
        tap = bench.tap()

        tap.take_packets(30)
        assert tap.position_s == pytest.approx(29 / 50)
        tap.take_packets(3)
        assert tap.position_s == pytest.approx(2 / 50)

    def test_pcm_is_joined_to_the_sample(self) -> None:
        def sound() -> PaddedReader:
            return PaddedReader([ramp(0), ramp(960), ramp(1_920, 480)], padding_samples=480)

        bench = Bench(sound(), repeats=True)
        bench.fill()
        bench.station.go_on(sound())
        bench.fill()

        heard = np.concatenate(bench.encoders[0].frames)[:, 0]
        assert np.array_equal(heard, np.tile(np.arange(2_400), 2)), (
            "five whole frames, without a silent sample"
        )

    def test_what_is_left_of_pcm_at_the_end_is_heard(self) -> None:
        bench = Bench(PaddedReader([ramp(0), ramp(960, 480)], padding_samples=480))
        bench.fill()

        heard = np.concatenate(bench.encoders[0].frames)[:, 0]
        assert np.array_equal(heard, [*range(1_440), *[0] * 480])
        assert numbers(bench.tap().take_packets(24)) == [0, 960]

    def test_it_does_not_rest_before_its_end_is_known(self) -> None:
        frames: list[Step] = [ramp(960 * number) for number in range(BURST_PACKETS - 1)]
        bench = Bench(PaddedReader([*frames, ramp(0, 480)], padding_samples=480))

        bench.station.fill(bench.now_ns)

        assert bench.log.made == BURST_PACKETS
        assert not bench.station.may_park
        bench.fill()
        assert bench.log.ended

    def test_packets_that_follow_pcm_come_after_what_is_left_of_it(self) -> None:
        bench = Bench(PaddedReader([ramp(5, 480)], padding_samples=480))
        bench.station._reopen = bench._reopen
        bench.reader.steps.insert(0, b"packet 1")
        bench.fill()
        bench.station.go_on(ScriptedReader(packets(2, first=100)))
        bench.fill()

        assert numbers(bench.tap().take_packets(24)) == [1, 5, 100, 101]

    def test_one_with_nothing_in_it_ends(self) -> None:
        bench = Bench(ScriptedReader([]), repeats=True)
        bench.fill()

        assert bench.reopenings == 0
        assert bench.tap().poll() is None

    def test_one_that_cannot_be_opened_anew_ends_with_the_reason(self) -> None:
        bench = Bench(ScriptedReader(packets(2)), repeats=True)
        bench.fill()
        bench.station.go_on(SourceError(ErrorCode.SOURCE_NOT_FOUND, "jazz.opus is gone"))
        bench.fill()
        tap = bench.tap()

        assert numbers(tap.take_packets(24)) == [0, 1]
        with pytest.raises(SourceError, match=r"jazz\.opus is gone"):
            tap.poll()

    def test_damage_and_titles_of_all_rounds_count(self) -> None:
        first, second = ScriptedReader(packets(10)), ScriptedReader(packets(10))
        first.skipped_packets, second.skipped_packets = 2, 3
        first.titles, second.titles = [Title(0.1, "Blue"), Title(9.0, "never heard")], [Title(0.0, "Red")]
        bench = Bench(first, repeats=True)
        tap = bench.tap()
        bench.fill()
        bench.station.go_on(second)
        bench.fill()
        tap.take_packets(24)

        assert tap.skipped_packets == 5
        assert tap.take_titles() == [Title(0.1, "Blue"), Title(9.0, "never heard"), Title(0.0, "Red")]


class TestClosing:
    def test_cancelled_it_closes_what_it_holds_on_the_thread_that_fills_it(self) -> None:
        bench = Bench(ScriptedReader([ramp(0), *packets(500)]))
        bench.fill()
        tap = bench.tap()
        tap.poll()

        bench.station.cancelled = True
        assert not bench.station.may_park
        assert bench.station.is_over
        assert bench.station.fill(bench.now_ns) is None
        bench.station.close()

        assert (bench.reader.closes, bench.encoders[0].closes) == (1, 1)
        assert numbers(tap.take_packets(100)) == list(range(74)), "what was made is heard"
        assert tap.poll() is None

    def test_a_reader_that_comes_too_late_is_closed(self) -> None:
        bench = Bench(ScriptedReader(packets(2)), repeats=True)
        bench.fill()
        waiting, late = ScriptedReader([]), ScriptedReader([])

        bench.station.go_on(waiting)
        bench.station.close()
        bench.station.go_on(late)
        bench.station.go_on(SourceError(ErrorCode.SOURCE_FAILED, "broken"))

        assert (waiting.closes, late.closes) == (1, 1)

    def test_what_cannot_be_closed_keeps_nothing_else_from_it(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(ScriptedReader([ramp(0), NOT_YET], breaks_on_close=True))
        bench.station.fill(bench.now_ns)

        with caplog.at_level(logging.ERROR):
            bench.station.close()

        assert bench.encoders[0].closes == 1
        assert "a ScriptedReader could not be closed" in caplog.text


def test_a_reader_needs_no_titles() -> None:
    station = Station("jazz", Opened(PlainReader()), make_encoder=NumberingEncoder)

    assert station.fill(START_NS) == START_NS
    assert station.log.made == BURST_PACKETS


def test_a_real_file_goes_through_packet_by_packet() -> None:
    content = opus(seconds=1.0)
    reference = open_media(content, open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S)
    whole = list(iter(reference.read, None))
    reference.close()
    reader = open_media(content, open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S)
    bench = Bench(reader)

    bench.fill()

    tap = bench.tap()
    assert tap.take_packets(100) == whole
    assert tap.poll() is None
    assert tap.position_s == pytest.approx((len(whole) - 1) / 50)
    bench.station.close()


@pytest.mark.parametrize("kind", ["file", "read ahead", "region"])
def test_a_real_file_of_pcm_is_joined_to_the_sample(kind: str) -> None:
    sound = np.round(signal(seconds=0.33) * 30_000).astype(np.int16)

    def opened() -> StationReader:
        reader = open_media(wav(sound), open_timeout_s=SAFETY_S, read_timeout_s=SAFETY_S)
        if kind == "file":
            return reader
        ahead = ReadAhead(reader if kind == "read ahead" else Region(reader))
        wait_ended(ahead)
        return ahead

    bench = Bench(opened(), repeats=True)
    bench.fill()
    bench.station.go_on(opened())
    bench.fill()

    heard = np.concatenate(bench.encoders[0].frames)
    assert len(heard) == 2 * len(sound) // 960 * 960
    assert np.array_equal(np.round(heard * 32_768), np.concatenate([sound, sound])[: len(heard)])
    bench.station.close()
