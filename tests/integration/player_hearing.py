"""What the player's integration tests play, and what they hear of it: tones, told apart by their pitch.

A tone of a multiple of 50 Hz has whole periods in a frame of 20 ms, so `Hearing.levels` of one of them is
blind to all others of the kind.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from tests.workers.audio.media_files import wav
from voicepool.connection import BaseVoiceConnection
from voicepool.events import ConnectionEvent
from voicepool.testing import VoiceSession
from voicepool.workers.audio.frame import SILENCE

__all__ = ["AMPLITUDE", "FRAME_S", "Hearing", "News", "middle", "tone", "tone_wav"]

FRAME_S: Final = 0.02
FRAME_SAMPLES: Final = 960
RATE_HZ: Final = 48_000
AMPLITUDE: Final = 0.3
"""Of a tone, unless a test says otherwise; full scale is 1."""
PATIENCE_S: Final = 30.0

T = TypeVar("T", bound=ConnectionEvent)


def tone(
    frequency_hz: float, seconds: float, *, rate_hz: int = RATE_HZ, amplitude: float = AMPLITUDE
) -> npt.NDArray[np.float32]:
    """Return one channel of a sine."""
    times_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


def tone_wav(frequency_hz: float, seconds: float, **options: Any) -> bytes:
    """Return a WAV file of a sine, in both channels; options as of `tone`."""
    samples = tone(frequency_hz, seconds, **options)
    stereo = np.repeat(np.round(samples * 32_767).astype(np.int16)[:, np.newaxis], 2, axis=1)
    return wav(stereo, rate_hz=options.get("rate_hz", RATE_HZ))


def middle(values: list[float], edge: int = 5) -> float:
    """Return the median of what is not at an edge."""
    assert len(values) > 2 * edge, f"{len(values)} values have no middle"
    return float(np.median(values[edge:-edge]))


class Hearing:
    """What a session has received up to now, frame by frame, in the order of sending.

    Attributes
    ----------
    packets
        Opus packets, those of silence too.
    samples
        Decoded, shape (samples, 2), from -1 to 1.
    """

    def __init__(self, session: VoiceSession) -> None:
        self._kept = tuple(session.media.kept)
        self.samples = session.pcm().astype(np.float32) / np.float32(32_768)

    @property
    def packets(self) -> list[bytes]:
        """Opus packets, those of silence too."""
        return [payload for _, payload in self._kept]

    @property
    def audio(self) -> list[bytes]:
        """Opus packets without those of silence."""
        return [payload for payload in self.packets if payload != SILENCE]

    def levels(self, frequency_hz: float, *, channel: int = 0) -> list[float]:
        """Return the amplitude of a tone in each frame."""
        whole = len(self.samples) // FRAME_SAMPLES * FRAME_SAMPLES
        frames = self.samples[:whole, channel].reshape(-1, FRAME_SAMPLES)
        wave = np.exp(-2j * np.pi * frequency_hz / RATE_HZ * np.arange(FRAME_SAMPLES))
        return [float(level) for level in 2 * np.abs(frames @ wave) / FRAME_SAMPLES]

    def count(self, frequency_hz: float, *, above: float = AMPLITUDE / 2) -> int:
        """Return in how many frames a tone is heard."""
        return sum(level > above for level in self.levels(frequency_hz))

    def assert_no_gap(self) -> None:
        """See that, but for the silence at the end, there is no silence and the timestamps are one row."""
        silent = [payload == SILENCE for payload in self.packets]
        assert silent == sorted(silent), f"silence in the middle: {silent}"
        times = [timestamp for timestamp, _ in self._kept]
        assert {after - before for before, after in itertools.pairwise(times)} == {FRAME_SAMPLES}


class News:
    """All events of a connection from now on, and a way to wait for one of them."""

    def __init__(self, voice: BaseVoiceConnection) -> None:
        self.all: list[ConnectionEvent] = []
        self._came = asyncio.Event()
        voice.listen(self._take)

    def _take(self, event: ConnectionEvent) -> None:
        self.all.append(event)
        self._came.set()

    def of(self, kind: type[T]) -> list[T]:
        """Return those of one kind, oldest first."""
        return [event for event in self.all if isinstance(event, kind)]

    async def wait_for(
        self, kind: type[T], count: int = 1, *, where: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Return the event of a kind that makes it so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [event for event in self.of(kind) if where(event)]) < count:
                self._came.clear()
                await self._came.wait()
        return found[count - 1]
