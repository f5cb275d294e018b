"""What a listener received, and what was wrong with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.chaos_source import write_numbered, write_sweep
from benchmarks.chaos_trace import Break, Trace
from voicepool.workers.audio.opus_encoder import Encoder

MS = 1_000_000
SILENCE = b"\xf8\xff\xfe"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    file = tmp_path_factory.mktemp("song") / "numbered.ogg"
    write_numbered(file, 10.0)
    with av.open(str(file)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def trace(packets: Iterable[tuple[int, bytes]], *, keep_sound: bool = False) -> Trace:
    """Have packets arrive at these milliseconds."""
    made = Trace(keep_sound=keep_sound)
    for at_ms, packet in packets:
        made.add(at_ms * MS, packet)
    return made


def steadily(packets: list[bytes], *, from_ms: int = 0) -> list[tuple[int, bytes]]:
    return [(from_ms + 20 * number, packet) for number, packet in enumerate(packets)]


def test_a_calm_trace_has_no_break(numbered: list[bytes]) -> None:
    heard = trace(steadily(numbered))
    assert heard.longest_break(1_000 * MS, 5_000 * MS) == Break(20.0, 0.0)
    assert heard.jumps() == (0, 0)
    assert (len(heard), heard.last_ns) == (500, 499 * 20 * MS)


@pytest.mark.parametrize(("goes_on_at", "moved_ms"), [(100, 0.0), (103, 60.0), (95, -100.0)])
def test_a_break_and_where_it_goes_on(numbered: list[bytes], goes_on_at: int, moved_ms: float) -> None:
    before = steadily(numbered[:100])
    heard = trace(before + steadily(numbered[goes_on_at:], from_ms=2_400))
    last_ms = before[-1][0]
    assert heard.longest_break(2_000 * MS, 5_000 * MS) == Break(2_400 - last_ms, moved_ms)
    assert heard.jumps() == (max(0, goes_on_at - 100), max(0, 100 - goes_on_at))


def test_a_break_belongs_to_the_window_it_begins_in(numbered: list[bytes]) -> None:
    heard = trace(steadily(numbered[:100]) + steadily(numbered[100:], from_ms=5_000))
    assert heard.longest_break(1_000 * MS, 1_900 * MS).gap_ms == 20.0
    assert heard.longest_break(1_990 * MS, 2_500 * MS).gap_ms == 5_000 - 1_980
    assert heard.longest_break(5_100 * MS, 6_000 * MS).gap_ms == 20.0


def test_what_does_not_come_any_more_is_an_endless_break(numbered: list[bytes]) -> None:
    heard = trace(steadily(numbered[:100]))
    assert math.isinf(heard.longest_break(1_900 * MS, 9_000 * MS).gap_ms)
    assert math.isinf(heard.longest_break(8_000 * MS, 9_000 * MS).gap_ms)
    assert math.isinf(Trace().longest_break(0, 1_000 * MS).gap_ms)
    # It ends with the window: no break that anybody could know of.
    assert heard.longest_break(1_000 * MS, 2_000 * MS).gap_ms == 20.0


def test_silence_counts_for_nothing(numbered: list[bytes]) -> None:
    silence = steadily([SILENCE] * 5, from_ms=2_000)
    heard = trace(steadily(numbered[:100]) + silence + steadily(numbered[100:], from_ms=2_200))
    assert heard.silences == 5
    assert heard.longest_break(1_500 * MS, 3_000 * MS) == Break(220.0, 0.0)


def test_a_made_packet_between_passing_ones_is_no_jump(numbered: list[bytes]) -> None:
    packets = [*numbered[:50], b"\xfcmade", b"\xfcmade", *numbered[52:]]
    heard = trace(steadily(packets))
    assert heard.jumps() == (0, 0)


def test_what_is_lost_does_not_make_up_for_what_is_repeated(numbered: list[bytes]) -> None:
    heard = trace(steadily(numbered[:50] + numbered[60:100] + numbered[90:]))
    assert heard.jumps() == (10, 10)


@pytest.mark.parametrize("moved_ms", [0, 40, -60, 1_000])
def test_places_are_told_by_sound(tmp_path: Path, moved_ms: int) -> None:
    file = tmp_path / "sweep.wav"
    write_sweep(file, 20.0)
    with av.open(str(file)) as container:
        resampler = av.AudioResampler(format="flt", layout="stereo", rate=48_000, frame_size=960)
        frames = [
            piece.to_ndarray().reshape(-1, 2).astype(np.float32)
            for frame in container.decode(audio=0)
            for piece in resampler.resample(frame)
        ]
    first, second = Encoder(bitrate_bps=128_000), Encoder(bitrate_bps=128_000)
    # The sweep begins anew right behind the break.
    goes_on_at = 399 + moved_ms // 20
    before = [first.encode_float(frame) for frame in frames[300:399]]
    after = [second.encode_float(frame) for frame in frames[goes_on_at : goes_on_at + 50]]
    first.close()
    second.close()
    heard = trace(steadily(before) + steadily(after, from_ms=3_000), keep_sound=True)
    found = heard.longest_break(1_900 * MS, 3_500 * MS)
    assert found.gap_ms == 3_000 - 98 * 20
    assert found.moved_ms == pytest.approx(moved_ms, abs=5.0)


def test_where_it_cannot_be_told_it_is_not() -> None:
    for keep_sound in (True, False):
        silent = Encoder(bitrate_bps=128_000)
        heard = trace(steadily([b"\xfc" + bytes(20)] * 100), keep_sound=keep_sound)
        silent.close()
        assert heard.longest_break(500 * MS, 900 * MS).moved_ms is None
