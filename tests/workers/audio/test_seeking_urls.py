"""Seeks in URLs whose servers cannot send from the middle: the sound is that of the place asked for."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.breaking_server import Answer, Breaking, breaking
from tests.workers.audio.media_files import encode
from voicepool.workers.audio.media import MediaReader, open_media

SECONDS = 20.0
FORMATS = {
    "wav": partial(encode, "pcm_s16le", "wav", rate_hz=44_100, seconds=SECONDS),
    "aiff": partial(encode, "pcm_s16be", "aiff", seconds=SECONDS),
    "au": partial(encode, "pcm_s16be", "au", seconds=SECONDS),
    "w64": partial(encode, "pcm_s16le", "w64", seconds=SECONDS),
    "caf": partial(encode, "pcm_s16le", "caf", seconds=SECONDS),
    "mp3": partial(encode, "libmp3lame", "mp3", bitrate_bps=128_000, seconds=SECONDS),
    "flac": partial(encode, "flac", "flac", seconds=SECONDS),
    "mka": partial(encode, "flac", "matroska", seconds=SECONDS),
}
PLACES_S = (15.5, 3.0, 0.2)
"""Far ahead, behind that, and near the start."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def opened(location: str | bytes, headers: dict[str, str] | None = None) -> MediaReader:
    return open_media(location, open_timeout_s=10.0, read_timeout_s=10.0, headers=headers)


def heard(reader: MediaReader, frames: int) -> npt.NDArray[np.float32]:
    found = []
    for _ in range(frames):
        frame = reader.read()
        assert isinstance(frame, np.ndarray)
        found.append(frame)
    return np.concatenate(found)


@pytest.mark.parametrize("headers", [None, {"X-Own": "client"}])
@pytest.mark.parametrize("name", FORMATS)
def test_without_ranges_a_seek_lands_where_it_should(name: str, headers: dict[str, str] | None) -> None:
    data = FORMATS[name]()
    with breaking(Breaking(data, lambda _: Answer(ranges=False))) as site:
        far, near = opened(site.url, headers), opened(data)
        heard(far, 30)
        for place_s in PLACES_S:
            assert far.seek(place_s) == near.seek(place_s) == place_s
            # -80 dB: a lossy decoder may converge to the last bit only after a while.
            assert np.abs(heard(far, 10) - heard(near, 10)).max() < 1e-4
        far.close()
        near.close()
