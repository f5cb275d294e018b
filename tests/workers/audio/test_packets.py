"""The account that `PacketSource` keeps; whole sources are in `test_media` and `test_reader`."""

from __future__ import annotations

import io

import av
import pytest

from tests.workers.audio.media_files import opus
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.location import locate
from voicepool.workers.audio.packets import PacketSource


def source(data: bytes) -> PacketSource:
    target = locate(data)
    container = av.open(target.source, "r")
    return PacketSource(container, container.streams.audio[0], target, read_timeout_s=1.0, server=None)


def test_packets_in_order_and_back_again() -> None:
    data = opus()
    with av.open(io.BytesIO(data), "r") as plain:
        expected = [bytes(packet) for packet in plain.demux(audio=0) if packet.size]
    packets = source(data)
    assert packets.first_pts is None
    found: list[bytes] = []
    while (packet := packets.next()) is not None:
        if not found:
            packets.put_back(packet)
            assert packets.next() is packet
        found.append(bytes(packet))
    assert found == expected
    assert packets.first_pts == -312
    assert packets.verdict() is None
    packets.jump(-312, -1.0)
    again = packets.next()
    assert again is not None
    assert bytes(again) == expected[0]
    packets.close()
    packets.close()
    assert packets.next() is None


def test_closed_it_holds_nothing_of_ffmpegs_however_long_it_is_known() -> None:
    packets = source(opus())
    assert packets.next() is not None

    def held() -> set[str]:
        return {type(value).__name__ for value in vars(packets).values()}

    of_ffmpeg = {"AudioStream", "InputContainer", "Packet", "generator"}
    assert held() >= of_ffmpeg
    packets.close()
    assert not held() & of_ffmpeg


def test_interrupted_it_gives_nothing_more_and_no_verdict() -> None:
    packets = source(opus())
    first = packets.next()
    assert first is not None
    packets.put_back(first)
    packets.interrupted = True
    assert packets.next() is None
    assert packets.verdict() is None
    packets.close()


def test_a_hundred_bad_packets_in_a_row_are_the_end_and_one_good_starts_the_count_anew() -> None:
    packets = source(opus())
    for bad_in_a_row in (99, 100):
        for _ in range(bad_in_a_row):
            packets.skip(None)
        if bad_in_a_row == 99:
            packets.accept()
            assert packets.next() is not None
    assert packets.next() is None
    verdict = packets.verdict()
    assert verdict is not None
    assert verdict.code is ErrorCode.SOURCE_FAILED
    assert packets.skipped_packets == 199
    packets.close()


def test_skipped_audio_is_not_missing_audio() -> None:
    packets = source(opus("webm"))
    last = None
    while (packet := packets.next()) is not None:
        packets.skip(packet)
        packets.accept()
        last = packet
    assert last is not None
    packets.played_s = 0.02
    assert packets.verdict() is None
    packets.jump(0, -1.0)
    packets.played_s = 0.02
    # Now nothing was skipped, and 2 s are announced.
    while packets.next() is not None:
        pass
    verdict = packets.verdict()
    assert verdict is not None
    assert verdict.data["announced_s"] == pytest.approx(2.0, abs=0.05)
    packets.close()
