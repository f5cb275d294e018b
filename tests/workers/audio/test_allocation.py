"""How much FFmpeg may ask for at once. In processes of their own, since the limit is the process's."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from voicepool.workers.audio import allocation

_SCRIPT = """
import sys
from pathlib import Path
from voicepool.workers.audio.allocation import limit_allocations
from voicepool.workers.audio.media import open_media
from voicepool.workers.errors import SourceError
from tests.workers.audio.media_files import encode

def peak_kib():
    # Not by getrusage: its peak is that of whoever started this, if that was higher.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

if sys.argv[1] == "limited":
    print(limit_allocations(4 << 20), file=sys.stderr)
media = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=1.0)
before_kib = peak_kib()
reader = open_media(media + bytes(48 << 20), open_timeout_s=10.0, read_timeout_s=10.0)
frames = 0
try:
    while reader.read() is not None:
        frames += 1
except SourceError as error:
    print(error.info.code, file=sys.stderr)
reader.close()
print(frames, (peak_kib() - before_kib) >> 10)
"""


def run(how: str) -> tuple[int, int]:
    """Frames that were read of a song with 48 MiB of zeros behind it, and by how many MiB memory grew."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SCRIPT), how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if how == "limited":
        assert "at most 4,194,304 bytes at once" in done.stderr
    frames, grown_mib = done.stdout.split()
    return int(frames), int(grown_mib)


@pytest.mark.skipif(sys.platform != "linux", reason="measured by /proc")
def test_a_parser_that_finds_nothing_keeps_no_more_than_the_limit() -> None:
    frames, grown_mib = run("limited")
    assert frames >= 48
    # The song itself and the zeros are in memory twice; a parser's hoard is not.
    unlimited_frames, unlimited_mib = run("unlimited")
    assert unlimited_frames == frames
    assert grown_mib < unlimited_mib - 24


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_libraries", lambda: iter(["/missing/libavutil.so"]))
    with pytest.raises(OSError, match="cannot be reached"):
        allocation.limit_allocations()
