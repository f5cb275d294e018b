"""A listener with a watch: what comes of one call, packet by packet, each with the moment of its arrival."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from voicepool.testing import VoiceSession

__all__ = ["HIGH_HZ", "LOW_HZ", "Ear", "Heard", "level", "share"]

LOW_HZ: Final = 500.0
HIGH_HZ: Final = 1_500.0
"""Tones with a whole number of periods in 20 ms: neither shows in the other's share."""
_RATE_HZ: Final = 48_000
_SILENCE: Final = b"\xf8\xff\xfe"
_SILENCES: Final = 5
_KEPT: Final = 30
"""Packets that a decoder is given before those that count, so that it sounds like the listener's."""
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """20 ms of sound.

    Attributes
    ----------
    arrival_ns
        When its packet came, monotonic.
    samples
        float64, mono, full scale 1.0.
    is_silence
        Whether the packet was the silence that ends a sound.
    """

    arrival_ns: int
    samples: NDArray[np.float64]
    is_silence: bool


class Ear:
    """Hears one call that is not end-to-end encrypted.

    Parameters
    ----------
    session
        The stand-in's end of it, with ``inspect="full"``.
    """

    def __init__(self, session: VoiceSession) -> None:
        self._session = session
        self._packets: list[tuple[int, bytes]] = []
        # The hook where an end-to-end encrypted call is decrypted: it is given each frame as it arrives.
        session.media.listen = self._take

    async def wait_for(self, packets: int) -> None:
        """Wait until as many more packets have come."""
        wanted = len(self._packets) + packets
        await self._wait(lambda: len(self._packets) >= wanted)

    async def wait_for_sound(self) -> None:
        """Wait until the last packet is none of silence."""
        await self._wait(lambda: bool(self._packets) and self._packets[-1][1] != _SILENCE)

    async def wait_for_silence(self) -> None:
        """Wait until a sound has ended as it should: with five frames of silence."""
        await self._wait(lambda: [opus for _, opus in self._packets[-_SILENCES:]] == [_SILENCE] * _SILENCES)

    def forget(self) -> None:
        """Drop what was heard long ago."""
        del self._packets[:-_KEPT]

    async def sound(self) -> list[Heard]:
        """Decode what was not forgotten."""
        return await asyncio.to_thread(_decode, tuple(self._packets))

    def _take(self, timestamp: int, frame: bytes) -> bytes:
        del timestamp
        self._packets.append((time.monotonic_ns(), frame))
        return frame

    async def _wait(self, predicate: Callable[[], bool]) -> None:
        await self._session.wait_until(lambda _: predicate(), timeout_s=_PATIENCE_S)


def level(frames: Sequence[Heard]) -> float:
    """Return the root mean square of all samples."""
    return float(np.sqrt(np.mean(np.square(np.concatenate([frame.samples for frame in frames])))))


def share(frame: Heard, frequency_hz: float) -> float:
    """Return how much of a frame's energy is in a tone, 0 to 1; 0 of silence."""
    samples = frame.samples
    energy = float(np.sum(np.square(samples))) * len(samples) / 2
    wave = np.exp(-2j * np.pi * frequency_hz / _RATE_HZ * np.arange(len(samples)))
    return 0.0 if not energy else min(1.0, abs(complex(samples @ wave)) ** 2 / energy)


def _decode(packets: Sequence[tuple[int, bytes]]) -> list[Heard]:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = _RATE_HZ
    decoder.layout = "stereo"
    decoded = []
    for arrival_ns, opus in packets:
        (frame,) = decoder.decode(av.Packet(opus))
        pcm = frame.to_ndarray().reshape(-1, 2).astype(np.float64) / 32_768
        decoded.append(Heard(arrival_ns, pcm.mean(axis=1), opus == _SILENCE))
    return decoded
