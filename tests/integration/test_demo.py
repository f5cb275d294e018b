"""``voicepool demo`` as a user runs it: a command, its exit code, what it prints and leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.voicepool.cli.test_demo_report import KEYS_OF_THE_ISSUE
from tests.workers.audio.media_files import encode, opus
from voicepool import PoolConfig, VoicePool
from voicepool.cli._demo_bot import join_all, running_bot
from voicepool.cli._demo_progress import Progress
from voicepool.testing import StandInProcess

COMMAND = (sys.executable, "-m", "voicepool", "demo")


def demo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_frame_arrives_and_sounds_like_the_source(tmp_path: Path) -> None:
    done = demo("--guilds", "3", "--workers", "2", "--seconds", "2", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures.keys() >= KEYS_OF_THE_ISSUE
    assert figures["ok"] is True
    assert (figures["guilds"], figures["workers"], figures["seconds"]) == (3, 2, 2)
    assert figures["frames_sent"] == figures["frames_received"] >= 3 * 100
    assert figures["correlation_min"] >= 0.98
    assert figures["sequence_gaps"] == figures["nonce_reuses"] == 0
    assert figures["violations"] == []
    assert figures["mode"] == "aead_aes256_gcm_rtpsize"
    assert (figures["dave_protocol_version"], figures["dave_failures"]) == (1, 0)
    assert figures["bot_cpu_us_per_frame"] > 0
    assert figures["worker_cpu_us_per_frame"] > 0
    wavs = sorted((tmp_path / "demo-out").glob("*.wav"))
    assert (
        [file.name for file in wavs] == figures["wav_files"] == [f"guild-{index}.wav" for index in range(3)]
    )
    for file in wavs:
        with wave.open(str(file)) as wav:
            assert (wav.getframerate(), wav.getnchannels()) == (48_000, 2)
            assert wav.getnframes() >= 2 * 48_000


def test_without_end_to_end_encryption_it_sounds_the_same(tmp_path: Path) -> None:
    done = demo("--guilds", "1", "--workers", "1", "--seconds", "1", "--no-dave", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert (figures["dave_protocol_version"], figures["dave_failures"]) == (0, 0)
    assert figures["frames_sent"] == figures["frames_received"] >= 50
    assert figures["correlation_min"] >= 0.98


@asyncio_test
async def test_the_stand_in_does_without_encryption_even_if_the_bot_offers_it() -> None:
    async with (
        StandInProcess(dave=False) as discord,
        VoicePool(PoolConfig(workers=1, ca_file=discord.ca_file)) as pool,
        running_bot(discord) as bot,
    ):
        with Progress() as progress:
            await join_all(bot, pool, discord, progress)
        (report,) = await discord.reports()
    assert (report.max_dave_protocol_version, report.dave_protocol_version) == (1, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.m4a", encode("aac", "ipod", bitrate_bps=192_000, seconds=1.0)),
        ("short.webm", opus("webm", seconds=1.0)),
    ],
)
def test_a_source_that_is_shorter_ends_by_itself(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    done = demo("--guilds", "1", "--workers", "1", "--source", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"{name}, 1.0 s" in done.stdout
    assert "Every frame arrived" in done.stdout


def test_silence_is_no_stumbling_block(tmp_path: Path) -> None:
    file = tmp_path / "silence.flac"
    file.write_bytes(encode("flac", "flac", seconds=1.0, loud_s=0.0))
    done = demo("--guilds", "1", "--workers", "1", "--source", str(file), "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["correlation_min"] == 1.0


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


def test_a_source_that_breaks_off_is_one_sentence(tmp_path: Path) -> None:
    """The demo's own decoder takes what is there; the worker says that something is missing."""
    whole = encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.2)
    file = tmp_path / "cut.mp3"
    file.write_bytes(whole[: len(whole) // 2])
    done = demo("--guilds", "2", "--workers", "1", "--source", str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cut.mp3" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and POSIX signals")
def test_ctrl_c_in_the_middle_of_the_music_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    arguments = ("--guilds", "2", "--workers", "2", "--seconds", "60")
    # A session of its own, as a terminal gives it; so that the signal goes to the command alone, as the
    # sessions of its children see to it that Ctrl-C does.
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        # A test run in the background of a shell has SIGINT ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    ) as process:
        os.close(theirs)
        shown = b""
        while b"playing [" not in shown:
            shown += os.read(ours, 4_096)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        shown = drained(ours)
        assert process.wait(SAFETY_S) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert len(children) >= 3
    _, alive = psutil.wait_procs(children, timeout=SAFETY_S)
    assert not alive
    assert b"Traceback" not in shown
    # The progress line is gone from the terminal.
    assert shown.endswith(b"\x1b[2K")


def drained(terminal: int) -> bytes:
    """Read a pseudo-terminal until nobody holds its other end."""
    data = b""
    with os.fdopen(terminal, "rb", buffering=0) as file:
        while True:
            try:
                chunk = file.read(4_096)
            except OSError:  # EIO, Linux' way to say it
                return data
            if not chunk:
                return data
            data += chunk
