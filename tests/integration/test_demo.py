"""``voicepool demo`` as a user runs it: a command, its exit code, what it prints and leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.workers.audio.media_files import encode


def demo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voicepool", "demo", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_every_frame_arrives_and_sounds_like_the_source(tmp_path: Path) -> None:
    done = demo("--guilds", "3", "--workers", "2", "--seconds", "2", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures["ok"] is True
    assert figures["frames_sent"] == figures["frames_received"] >= 3 * 100
    assert figures["correlation_min"] >= 0.98
    assert figures["sequence_gaps"] == figures["nonce_reuses"] == 0
    assert figures["mode"] == "aead_aes256_gcm_rtpsize"
    wavs = sorted((tmp_path / "demo-out").glob("*.wav"))
    assert len(wavs) == 3
    for file in wavs:
        with wave.open(str(file)) as wav:
            assert (wav.getframerate(), wav.getnchannels()) == (48_000, 2)
            assert wav.getnframes() >= 2 * 48_000


def test_a_source_that_is_shorter_ends_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "short.m4a"
    file.write_bytes(encode("aac", "ipod", bitrate_bps=192_000))
    done = demo("--guilds", "1", "--workers", "1", "--source", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "frames received" in done.stdout


@pytest.mark.parametrize("content", [None, "this is no music"])
def test_a_bad_source_is_one_sentence(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "song.mp3"
    if content is not None:
        file.write_text(content)
    done = demo("--guilds", "2", "--workers", "1", "--source", str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "song.mp3" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
