from __future__ import annotations

import numpy as np
import pytest

from tests.workers.audio.media_files import encode, opus, wav
from voicepool.workers.audio.headers import (
    ReadAt,
    has_frame_count,
    mpeg_frame,
    ogg_ends_inside_page,
    wav_duration_s,
)


def reader(data: bytes) -> ReadAt:
    return lambda offset, count: data[offset : offset + count]


@pytest.mark.parametrize(
    ("header", "size_bytes", "rate_hz", "tag_offset"),
    [
        ("fffb9000", 417, 44_100, 36),  # MPEG-1, 128 kbit/s
        ("fffb9200", 418, 44_100, 36),  # with padding
        ("fffb94c4", 384, 48_000, 21),  # mono
        ("fff380c4", 208, 22_050, 13),  # MPEG-2, 64 kbit/s, mono
        ("ffe31800", 72, 8_000, 21),  # MPEG-2.5, 8 kbit/s
    ],
)
def test_reads_mpeg_frame_headers(header: str, size_bytes: int, rate_hz: int, tag_offset: int) -> None:
    frame = mpeg_frame(bytes.fromhex(header))
    assert frame is not None
    assert (frame.size_bytes, frame.rate_hz, frame.tag_offset_bytes) == (size_bytes, rate_hz, tag_offset)


@pytest.mark.parametrize(
    "header",
    ["", "fffb90", "fefb9000", "fffd9000", "ffeb9000", "fffb0000", "fffbf000", "fffb9c00", "54414700"],
)
def test_refuses_what_is_no_layer_3_header(header: str) -> None:
    assert mpeg_frame(bytes.fromhex(header)) is None


def test_frame_count_of_mp3_files() -> None:
    with_tag = encode("libmp3lame", "mp3", bitrate_bps=128_000)
    without = encode("libmp3lame", "mp3", bitrate_bps=128_000, muxer_options=(("write_xing", "0"),))
    assert has_frame_count(reader(with_tag))
    assert not has_frame_count(reader(without))
    assert not has_frame_count(reader(b"ID3"))
    assert not has_frame_count(reader(b"\x00" * 5_000))


def test_frame_count_behind_a_large_tag_with_footer() -> None:
    mp3 = encode("libmp3lame", "mp3", bitrate_bps=128_000, muxer_options=(("id3v2_version", "0"),))
    big = b"ID3\x04\x00\x10" + bytes([0, 1, 0, 0]) + bytes(1 << 14) + b"3DI\x04\x00\x10" + bytes([0, 1, 0, 0])
    assert has_frame_count(reader(big + mp3))


@pytest.mark.parametrize("count", [0, 77])
def test_vbri_tag(count: int) -> None:
    frame = bytearray(417)
    frame[:4] = bytes.fromhex("fffb9000")
    frame[36:40] = b"VBRI"
    frame[50:54] = count.to_bytes(4, "big")
    assert has_frame_count(reader(bytes(frame))) is (count > 0)


SAMPLES = np.zeros((4_800, 2), np.int16)


def test_wav_durations() -> None:
    whole = wav(SAMPLES)
    assert wav_duration_s(reader(whole)) == pytest.approx(0.1)
    assert wav_duration_s(reader(whole[:200])) == pytest.approx(0.1)
    assert wav_duration_s(reader(wav(SAMPLES, data_bytes=0xFFFF_FFFF))) is None
    assert wav_duration_s(reader(wav(SAMPLES, data_bytes=0x7FFF_FFFF))) is None
    assert wav_duration_s(reader(wav(SAMPLES, data_bytes=0))) is None
    assert wav_duration_s(reader(b"RIFF\x00\x00\x00\x00AVI ")) is None
    assert wav_duration_s(reader(whole[:30])) is None


def test_wav_with_other_chunks_and_64_bit_sizes() -> None:
    whole = wav(SAMPLES)
    noted = whole[:12] + b"LIST\x03\x00\x00\x00abc\x00" + whole[12:]
    assert wav_duration_s(reader(noted)) == pytest.approx(0.1)
    large = encode("pcm_s16le", "wav", seconds=0.5, muxer_options=(("rf64", "always"),))
    assert large[:4] == b"RF64"
    assert wav_duration_s(reader(large)) == pytest.approx(0.5)


def test_endless_chunks_end() -> None:
    junk = b"RIFF\x00\x00\x00\x00WAVE" + b"junk\x00\x00\x00\x00" * 100_000
    assert wav_duration_s(reader(junk)) is None


def test_ogg_pages() -> None:
    whole = opus("ogg")
    assert not ogg_ends_inside_page(reader(whole), len(whole))
    for missing in (1, 20, 300):
        cut = whole[:-missing]
        assert ogg_ends_inside_page(reader(cut), len(cut))
    last_page = whole.rfind(b"OggS")
    assert not ogg_ends_inside_page(reader(whole[:last_page]), last_page)
    assert ogg_ends_inside_page(reader(whole[: last_page + 10]), last_page + 10)
    assert not ogg_ends_inside_page(reader(b"no page"), 7)
