"""Seeking, held against the same source read once from its start. Plain reading is in `test_media`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode, opus, wav
from tests.workers.audio.test_media import opened
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.media import Frame, MediaReader
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.errors import SourceError

SECONDS: Final = 12.0
# Forwards, backwards, on and off the grids of frames and of 44.1 kHz, both ends, and behind the end.
POSITIONS: Final = (6.12345, 0.0, 0.0103, 11.99, 11.4, 2.0, 9.77777, 40.0, 5.432)

# The encoder's stand-ins for noise come from a random generator that goes on over a seek.
NO_NOISE = (("aac_pns", "0"),)
EXPERIMENTAL = (("strict", "-2"),)
VBR = (("flags", "+qscale"), ("global_quality", "236"))
NO_TAG = (("write_xing", "0"),)
FAST = (("movflags", "faststart"),)
EXACT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav": ("pcm_s16le", "wav", {}),
    "wav 44.1 kHz": ("pcm_s16le", "wav", {"rate_hz": 44_100}),
    "wav 11 kHz mono": ("pcm_s16le", "wav", {"rate_hz": 11_025, "layout": "mono"}),
    "wav 192 kHz 24 bit": ("pcm_s24le", "wav", {"rate_hz": 192_000}),
    "wav float 5.1": ("pcm_f32le", "wav", {"layout": "5.1", "rate_hz": 44_100}),
    "aiff": ("pcm_s16be", "aiff", {}),
    "flac": ("flac", "flac", {"rate_hz": 44_100}),
    "ogg flac": ("flac", "ogg", {}),
    "ogg vorbis": ("vorbis", "ogg", {"codec_options": EXPERIMENTAL, "rate_hz": 44_100}),
    "ogg opus 60 ms": ("libopus", "ogg", {"codec_options": (("frame_duration", "60"),)}),
    "m4a": ("aac", "ipod", {"codec_options": NO_NOISE, "rate_hz": 44_100, "muxer_options": FAST}),
    "mp3 CBR": ("libmp3lame", "mp3", {"bitrate_bps": 64_000, "rate_hz": 44_100}),
    "mp3 VBR": ("libmp3lame", "mp3", {"codec_options": VBR}),
    "mp3 VBR without index": ("libmp3lame", "mp3", {"codec_options": VBR, "muxer_options": NO_TAG}),
}


def samples(reader: MediaReader) -> npt.NDArray[np.float32]:
    """Read to the end, without the silence that fills up the last frame."""
    frames: list[npt.NDArray[np.float32]] = []
    while (frame := reader.read()) is not None:
        assert not isinstance(frame, bytes)
        frames.append(frame)
    heard = np.concatenate(frames) if frames else np.empty((0, 2), np.float32)
    padding = reader.padding_samples
    assert not heard[len(heard) - padding :].any()
    return heard[: len(heard) - padding]


def frames(reader: MediaReader) -> list[Frame]:
    found = []
    while (frame := reader.read()) is not None:
        found.append(frame)
    return found


@pytest.mark.parametrize("name", EXACT)
def test_after_a_seek_it_is_the_same_to_the_sample(name: str) -> None:
    codec, container, options = EXACT[name]
    reader = opened(encode(codec, container, seconds=SECONDS, **options))
    whole = samples(reader)
    assert len(whole) == pytest.approx(SECONDS * 48_000, abs=2_400)
    for position_s in POSITIONS:
        assert reader.seek(position_s) == reader.position_s == position_s
        expected = whole[round(position_s * 48_000) :]
        heard = samples(reader)
        assert heard.shape == expected.shape
        # Far below the 16th bit (-96 dB): the same samples from the same arithmetic.
        assert np.abs(heard - expected).max(initial=0.0) < 1e-6
    assert reader.skipped_packets == 0
    reader.close()


def test_noise_of_aac_differs_and_nothing_else_does() -> None:
    reader = opened(encode("aac", "ipod", seconds=SECONDS))
    whole = samples(reader)
    for position_s in (6.12345, 2.0):
        reader.seek(position_s)
        heard, expected = samples(reader), whole[round(position_s * 48_000) :]
        assert heard.shape == expected.shape
        # -30 dB; one sample beside, this sweep would be at -6 dB.
        assert np.square(heard - expected).mean() < np.square(expected).mean() * 10 ** (-30 / 10)
    reader.close()


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [("vorbis", "webm", {"codec_options": EXPERIMENTAL}), ("flac", "matroska", {"rate_hz": 44_100})],
)
def test_matroska_is_exact_to_half_a_millisecond(codec: str, container: str, options: dict[str, Any]) -> None:
    reader = opened(encode(codec, container, seconds=SECONDS, **options))
    whole = samples(reader)
    for position_s in POSITIONS:
        reader.seek(position_s)
        heard, start = samples(reader), round(position_s * 48_000)
        assert abs(len(heard) - max(0, len(whole) - start)) <= 25
        if len(heard) < 4_800:
            continue
        offsets = range(max(-25, -start), 26)
        errors = [np.abs(heard[:4_000] - whole[start + n : start + n + 4_000]).max() for n in offsets]
        # At 44.1 kHz it may lie between two samples, half a one away from either.
        assert min(errors) < 0.12
    reader.close()


@pytest.mark.parametrize("container", ["ogg", "webm", "mp4"])
def test_opus_goes_on_with_the_packet_that_holds_the_position(container: str) -> None:
    reader = opened(opus(container, seconds=SECONDS))
    whole = frames(reader)
    for position_s in (*POSITIONS, 0.06, 0.02 * 399):
        number = int(position_s * 50 + 1e-6)
        assert reader.seek(position_s) == pytest.approx(number / 50)
        assert reader.kind == "opus"
        if number < len(whole):
            assert list(reader.preroll_packets) == whole[max(0, number - 4) : number]
        assert frames(reader) == whole[number:]
    reader.close()


def test_position_follows_what_is_read() -> None:
    for data in (wav(np.zeros((48_000, 2), np.int16)), opus(seconds=1.0)):
        reader = opened(data)
        assert reader.position_s == 0.0
        reader.read()
        assert reader.position_s == 0.0
        reader.read()
        assert reader.position_s == pytest.approx(0.02)
        reader.seek(0.5)
        assert reader.position_s == pytest.approx(0.5)
        reader.read()
        reader.read()
        assert reader.position_s == pytest.approx(0.52)
        reader.close()


def test_seek_before_the_first_read_and_in_the_midst() -> None:
    data = encode("flac", "flac", seconds=SECONDS, rate_hz=44_100)
    first, second = opened(data), opened(data)
    first.seek(3.3)
    for _ in range(7):
        second.read()
    second.seek(3.3)
    expected = samples(first)
    assert np.array_equal(samples(second), expected)
    assert len(expected) == round((SECONDS - 3.3) * 48_000)
    first.close()
    second.close()


@pytest.mark.parametrize(
    "data", [wav(np.zeros((48_000, 2), np.int16)), opus(seconds=1.0)], ids=["pcm", "opus"]
)
def test_behind_the_end_is_the_end_and_the_way_back_is_open(data: bytes) -> None:
    reader = opened(data)
    whole = len(frames(reader))
    reader.seek(1e6)
    assert reader.read() is None
    assert reader.read() is None
    reader.seek(0.5)
    assert len(frames(reader)) == whole - 25
    reader.close()


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_position_that_is_none(wrong: float) -> None:
    reader = opened(opus())
    with pytest.raises(ValueError, match="0 s or more"):
        reader.seek(wrong)
    assert reader.read() is not None
    reader.close()


def test_nothing_to_seek_in() -> None:
    reader = opened(wav(np.zeros((0, 2), np.int16)))
    reader.seek(1.0)
    assert reader.read() is None
    reader.close()
    reader.seek(0.0)
    assert reader.read() is None


def test_interrupted_reader_stays_ended() -> None:
    reader = opened(opus())
    reader.interrupt()
    reader.seek(1.0)
    assert reader.read() is None
    reader.close()


def test_truncation_is_told_after_a_seek_too() -> None:
    data = encode("flac", "flac", seconds=SECONDS)
    reader = opened(data[: len(data) // 2])
    for position_s in (3.0, 0.0):
        reader.seek(position_s)
        with pytest.raises(SourceError, match=r"announces 12\.0 s") as caught:
            frames(reader)
        assert caught.value.code is ErrorCode.SOURCE_TRUNCATED
        assert 5.0 < float(caught.value.data["played_s"]) < 7.0
    reader.close()


def test_damage_before_the_place_is_not_counted() -> None:
    data = bytearray(encode("libmp3lame", "mp3", seconds=SECONDS, bitrate_bps=128_000))
    reader = opened(bytes(data))
    reader.seek(6.0)
    frames(reader)
    # The frames before 6 s lean on others that were not read, and so cannot be decoded.
    assert reader.skipped_packets == 0
    reader.close()


def test_decoder_that_cannot_be_opened_is_damage() -> None:
    data = bytearray(encode("pcm_s16le", "wav", seconds=0.5))
    # The number of channels: FFmpeg notices before PyAV 19 does, and then there is no decoder at all.
    data[22:24] = b"\xff\xff"
    with pytest.raises(SourceError) as caught:
        frames(opened(bytes(data)))
    assert caught.value.code in {ErrorCode.SOURCE_FAILED, ErrorCode.SOURCE_UNREADABLE}


URL_FILES: Final = {
    "song.mp3": encode("libmp3lame", "mp3", seconds=SECONDS, bitrate_bps=128_000),
    "song.wav": encode("pcm_s16le", "wav", seconds=SECONDS),
    "song.flac": encode("flac", "flac", seconds=SECONDS),
    "song.webm": opus("webm", seconds=SECONDS),
    "song.ogg": opus("ogg", seconds=SECONDS),
}


@pytest.mark.parametrize("how", ["ranges", "file"])
def test_url_whether_or_not_its_server_can_send_from_the_middle(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with serving(Site(dict(URL_FILES))) as site:
        for name, data in URL_FILES.items():
            direct, reader = opened(data), opened(site.url(f"/{how}/{name}"))
            for position_s in (8.0, 2.0):
                reader.read()
                reader.seek(position_s)
                direct.seek(position_s)
                heard, expected = frames(reader), frames(direct)
                assert len(heard) == len(expected), name
                assert all(np.array_equal(a, b) for a, b in zip(heard, expected, strict=True)), name
            direct.close()
            reader.close()


def test_live_stream_cannot_seek_and_plays_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with serving(Site(dict(URL_FILES))) as site:
        for name in ("song.mp3", "song.ogg"):
            straight = opened(site.url(f"/live/{name}"))
            expected = frames(straight)
            straight.close()
            reader = opened(site.url(f"/live/{name}?secret"))
            heard: list[Frame | None] = [reader.read(), reader.read()]
            with pytest.raises(UnseekableError, match="live stream") as caught:
                reader.seek(4.0)
            assert "secret" not in caught.value.text
            heard += frames(reader)
            assert len(heard) == len(expected)
            assert all(np.array_equal(a, b) for a, b in zip(heard, expected, strict=True))  # type: ignore[arg-type]
            reader.close()


def test_file_that_ffmpeg_cannot_seek_in_plays_on(tmp_path: Path) -> None:
    reader = opened(encode("pcm_s16le", "wav"))
    first = reader.read()
    reader._packets._container = _Stubborn(reader._packets._container)  # type: ignore[assignment]
    with pytest.raises(UnseekableError, match="no way to another position"):
        reader.seek(1.0)
    rest = frames(reader)
    assert first is not None
    assert len(rest) == 99
    reader.close()


class _Stubborn:
    """A container that refuses to seek."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def seek(self, *_args: object, **_kw: object) -> None:
        import av

        raise av.error.PermissionError(1, "Operation not permitted")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
