"""Sound files as samples: the demo's own look at what it plays, and at what came out.

Decoded here by PyAV once more, independently of the workers, so that a mistake of theirs shows.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from voicepool.errors import SourceNotFoundError, SourceRefusedError, SourceUnreadableError

__all__ = ["DEMO_MUSIC", "decode", "read_wav"]

DEMO_MUSIC: Final = Path(__file__).with_name("demo.mp3")
"""Made by ``examples/make_demo_music.py``: ours, under the licence of voicepool."""

_RATE_HZ: Final = 48_000


def decode(path: Path, seconds: float) -> NDArray[np.int16]:
    """Decode the beginning of an audio file.

    Parameters
    ----------
    path
        Of anything that FFmpeg reads.
    seconds
        How much of it, at most.

    Returns
    -------
    NDArray
        int16, shape (samples, 2), 48 kHz.

    Raises
    ------
    SourceNotFoundError, SourceRefusedError, SourceUnreadableError
        There is no such file; it is not a file, or may not be read; there is no sound in it.
    """
    if not path.exists():
        raise SourceNotFoundError(f"there is no file {str(path)!r}; name one with --source")
    if not path.is_file():
        # A pipe would hang, a device never end.
        raise SourceRefusedError(f"{str(path)!r} is not a regular file; name one with --source")
    wanted = round(seconds * _RATE_HZ)
    pieces: list[NDArray[np.int16]] = []
    try:
        for piece in _decoded(path):
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
    except PermissionError:
        raise SourceRefusedError(f"{str(path)!r} may not be read by this user") from None
    except av.FFmpegError as error:
        # Broken further on: what a worker makes of it is told by `play`.
        if not pieces:
            raise SourceUnreadableError(f"{str(path)!r} cannot be read as audio: {error.strerror}") from None
    if not pieces:
        raise SourceUnreadableError(f"there is no sound in {str(path)!r}; name another file with --source")
    return np.concatenate(pieces)[: round(seconds * _RATE_HZ)]


def _decoded(path: Path) -> Iterator[NDArray[np.int16]]:
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=_RATE_HZ)
    with av.open(str(path)) as container:
        for stream in container.streams.audio[:1]:
            for frame in container.decode(stream):
                yield from map(_samples, resampler.resample(frame))
            yield from map(_samples, resampler.resample(None))


def _samples(frame: av.AudioFrame) -> NDArray[np.int16]:
    return frame.to_ndarray().astype(np.int16, copy=False).reshape(-1, 2)


def read_wav(path: Path) -> NDArray[np.int16]:
    """Read a 48 kHz stereo WAV file as the stand-in writes it."""
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (_RATE_HZ, 2, 2)
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False).reshape(-1, 2)
