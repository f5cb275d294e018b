from __future__ import annotations

from typing import Any

import pytest

from tests.workers.audio.media_files import encode, opus
from tests.workers.audio.test_media import opened
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.truncation import SLACK_S, is_short
from voicepool.workers.errors import SourceError

FAST = (("movflags", "faststart"),)
PLAIN_MP3 = (("write_xing", "0"),)
ANNOUNCING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mp3": ("libmp3lame", "mp3", {"bitrate_bps": 128_000}),
    "mp3 VBR": ("libmp3lame", "mp3", {"codec_options": (("flags", "+qscale"), ("global_quality", "236"))}),
    "flac": ("flac", "flac", {}),
    "wav": ("pcm_s16le", "wav", {}),
    "wav float": ("pcm_f32le", "wav", {}),
    "wav 5.1": ("pcm_s16le", "wav", {"layout": "5.1"}),
    "aiff": ("pcm_s16be", "aiff", {}),
    "m4a": ("aac", "ipod", {"muxer_options": FAST}),
    "mka": ("flac", "matroska", {}),
    "webm": ("vorbis", "webm", {"codec_options": (("strict", "-2"),)}),
    "webm opus": ("libopus", "webm", {}),
}


def until_the_end(data: bytes) -> tuple[int, SourceError | None]:
    reader = opened(data)
    frames = 0
    try:
        while reader.read() is not None:
            frames += 1
    except SourceError as error:
        assert reader.read() is None, "an error is raised once"
        return frames, error
    finally:
        reader.close()
    return frames, None


@pytest.mark.parametrize("name", ANNOUNCING)
def test_less_than_announced_is_truncated(name: str) -> None:
    codec, container, options = ANNOUNCING[name]
    data = encode(codec, container, **options)
    whole, error = until_the_end(data)
    assert error is None
    frames, error = until_the_end(data[: len(data) * 6 // 10])
    assert error is not None
    assert error.code is ErrorCode.SOURCE_TRUNCATED
    # All that was there has been played before.
    assert 0.5 * whole < frames < 0.7 * whole
    assert error.data["played_s"] == pytest.approx(frames / 50, abs=0.05)
    assert error.data["announced_s"] == pytest.approx(2.0, abs=0.05)
    assert "announces 2.0 s" in error.text


@pytest.mark.parametrize(
    "data",
    [
        encode("libmp3lame", "mp3", bitrate_bps=128_000, muxer_options=PLAIN_MP3),
        encode("libmp3lame", "mp3", bitrate_bps=128_000, seekable=False),
        encode("aac", "adts"),
        encode("vorbis", "ogg", codec_options=(("strict", "-2"),)),
        opus("ogg"),
    ],
    ids=["mp3 without count", "mp3 to a pipe", "adts", "vorbis", "opus"],
)
def test_a_break_inside_a_packet_is_truncated_without_an_announcement(data: bytes) -> None:
    for end in (len(data) * 6 // 10, len(data) * 6 // 10 + 101):
        frames, error = until_the_end(data[:end])
        assert frames > 0
        assert error is not None
        assert error.code is ErrorCode.SOURCE_TRUNCATED
        assert "announced_s" not in error.data


def test_mp3_cut_at_every_byte_of_a_frame() -> None:
    data = encode("libmp3lame", "mp3", bitrate_bps=128_000, muxer_options=PLAIN_MP3)
    frame_bytes = 384
    whole_frames = [
        end for end in range(20_000, 20_000 + frame_bytes) if until_the_end(data[:end])[1] is None
    ]
    # Exactly one end lies between two frames, where nothing is wrong to be seen.
    assert len(whole_frames) == 1


def test_tags_after_the_end_are_no_truncation() -> None:
    id3v1 = b"TAG" + b"A Song".ljust(125, b"\0")
    ape = b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + (0).to_bytes(4, "little")
    ape += (0xA0000000).to_bytes(4, "little") + bytes(8) + b"Title\0A Song"
    for options in ((), PLAIN_MP3):
        mp3 = encode("libmp3lame", "mp3", bitrate_bps=128_000, muxer_options=options)
        for tail in (id3v1, ape, ape + id3v1):
            assert until_the_end(mp3 + tail)[1] is None
    for codec, container in (("flac", "flac"), ("aac", "adts"), ("pcm_s16le", "wav")):
        assert until_the_end(encode(codec, container) + id3v1)[1] is None


def test_estimated_length_of_vbr_is_no_announcement() -> None:
    # Quiet, then loud, or the other way round: an estimate from some frames' bitrate is far off.
    quality = (("flags", "+qscale"), ("global_quality", "118"))
    data = encode(
        "libmp3lame", "mp3", codec_options=quality, muxer_options=PLAIN_MP3, seconds=20.0, loud_s=10.0
    )
    reader = opened(data)
    assert abs((reader.info.duration_s or 0) - 20.0) > 1.0
    reader.close()
    frames, error = until_the_end(data)
    assert error is None
    assert frames / 50 == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize(
    ("played_s", "announced", "bad", "short"),
    [
        (3.0, 5.0, False, True),
        (4.6, 5.0, False, False),
        (4.6, 5.0, True, True),
        (4.99, 5.0, True, False),
        (6.0, 5.0, True, False),
        (3.0, None, False, False),
        (3.0, None, True, True),
        (5.0 - SLACK_S, 5.0, False, False),
    ],
)
def test_the_rule(*, played_s: float, announced: float | None, bad: bool, short: bool) -> None:
    assert is_short(played_s, announced, last_packet_bad=bad) is short
