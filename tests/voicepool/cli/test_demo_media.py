"""What the demo reads: sources of every kind, WAV files, and the music it brings along."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import av
import numpy as np
import pytest

from tests.workers.audio.media_files import delay_and_correlation, encode, opus, signal
from voicepool.cli._demo_compare import compare
from voicepool.cli._demo_media import DEMO_MUSIC, decode, read_wav
from voicepool.errors import SourceNotFoundError, SourceRefusedError, SourceUnreadableError
from voicepool.testing.voice_audio import write_wav

GENERATOR = Path(__file__).parents[3] / "examples" / "make_demo_music.py"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("song.wav", lambda: encode("pcm_s16le", "wav")),
        ("song.flac", lambda: encode("flac", "flac", rate_hz=44_100)),
        ("song.mp3", lambda: encode("libmp3lame", "mp3", rate_hz=44_100, bitrate_bps=192_000)),
        ("song.m4a", lambda: encode("aac", "ipod", bitrate_bps=192_000)),
        ("song.opus", opus),
        ("song.webm", lambda: opus("webm")),
        ("mono.flac", lambda: encode("flac", "flac", layout="mono")),
    ],
)
def test_any_source_becomes_48_khz_stereo(name: str, content: object, tmp_path: Path) -> None:
    file = tmp_path / name
    assert callable(content)
    file.write_bytes(content())
    pcm = decode(file, 60.0)
    assert (pcm.dtype, pcm.shape[1]) == (np.dtype(np.int16), 2)
    assert len(pcm) == pytest.approx(2 * 48_000, abs=3_000)
    _, correlation = delay_and_correlation(pcm[:, 0].astype(np.float32), signal()[:, 0])
    assert correlation > 0.99


def test_no_more_is_decoded_than_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "song.flac"
    file.write_bytes(encode("flac", "flac"))
    assert decode(file, 0.5).shape == (24_000, 2)


def test_what_cannot_be_played_is_one_sentence_with_its_name(tmp_path: Path) -> None:
    text, empty, cover = tmp_path / "notes.txt", tmp_path / "empty.mp3", tmp_path / "cover.png"
    text.write_text("no music\n" * 100)
    empty.touch()
    with av.open(str(cover), "w", format="image2", options={"update": "1"}) as image:
        stream = image.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgb24"
        image.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8))))
        image.mux(stream.encode(None))
    for file in (text, empty, cover):
        with pytest.raises(SourceUnreadableError, match=file.name) as caught:
            decode(file, 1.0)
        assert "\n" not in str(caught.value)
        assert "Errno" not in str(caught.value)
    with pytest.raises(SourceNotFoundError, match="missing"):
        decode(tmp_path / "missing.mp3", 1.0)
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(SourceRefusedError, match="regular file"):
            decode(place, 1.0)


def test_what_is_broken_further_on_is_decoded_up_to_there(tmp_path: Path) -> None:
    whole = encode("flac", "flac")
    file = tmp_path / "cut.flac"
    file.write_bytes(whole[: len(whole) // 2])
    assert 0 < len(decode(file, 60.0)) < 2 * 48_000


def test_a_wav_file_reads_back(tmp_path: Path) -> None:
    pcm = (signal() * 32_767).astype(np.int16)
    write_wav(tmp_path / "heard.wav", pcm)
    assert np.array_equal(read_wav(tmp_path / "heard.wav"), pcm)


def test_the_demo_music_is_what_its_generator_makes(tmp_path: Path) -> None:
    """Its licence rests on that. Encoders differ by machine, so it is compared by ear."""
    generator = runpy.run_path(str(GENERATOR))
    assert generator["TARGET"] == DEMO_MUSIC
    samples = generator["synthesise"]()
    assert np.array_equal(samples, generator["synthesise"]())
    assert np.abs(samples).max() == pytest.approx(0.7)
    again = tmp_path / "again.mp3"
    generator["encode"](again, samples)
    shipped = decode(DEMO_MUSIC, 60.0)
    assert compare(decode(again, 60.0), shipped).correlation > 0.999
    assert len(shipped) == pytest.approx(20 * 48_000, abs=100)
    # Different left and right, and never silent: a second of it suffices to notice a mistake.
    seconds = shipped.reshape(20, -1, 2).astype(np.float64)
    assert seconds.std(axis=1).min() > 300
    assert compare(shipped[:, ::-1], shipped).correlation < 0.95


def test_the_demo_music_is_small_and_says_whose_it_is() -> None:
    assert DEMO_MUSIC.stat().st_size < 400_000
    with av.open(str(DEMO_MUSIC)) as container:
        assert container.streams.audio[0].codec_context.name.startswith("mp3")
        assert "MIT" in container.metadata["copyright"]
        assert "make_demo_music.py" in container.metadata["comment"]
