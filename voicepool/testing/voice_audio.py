"""From received Opus packets to samples: what a listener would have heard."""

from __future__ import annotations

__all__ = ("CHANNELS", "MAX_GAP_S", "Pcm", "decode_packets", "write_wav")

import wave
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np

from voicepool.testing.voice_rtp import SAMPLE_RATE_HZ

CHANNELS = 2
MAX_GAP_S = 5.0
_SAMPLE_BYTES = 2

Pcm: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.int16]]
"""Shape (samples, 2): signed 16 bit, left and right, 48 kHz."""


def decode_packets(packets: Iterable[tuple[int, bytes]], max_gap_s: float = MAX_GAP_S) -> Pcm:
    """Decode Opus packets in the order of their timestamps.

    Where timestamps leap, as after a lost packet or over a pause, silence fills the hole, at most
    `max_gap_s`. A packet libopus cannot decode leaves such a hole. Takes about 60 µs a frame; on an event
    loop call it through `asyncio.to_thread`.

    Parameters
    ----------
    packets : Iterable[tuple[int, bytes]]
        Extended RTP timestamp in samples and Opus packet; any order, repeated timestamps are skipped.
    max_gap_s : float
        Longest silence, in seconds, to put into one hole.

    Returns
    -------
    Pcm
        int16, shape (samples, 2), 48 kHz.
    """
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = SAMPLE_RATE_HZ
    decoder.layout = "stereo"
    max_gap = round(max_gap_s * SAMPLE_RATE_HZ)
    pieces: list[np.ndarray[tuple[int, int], np.dtype[np.int16]]] = []
    end: int | None = None
    last: int | None = None
    for timestamp, payload in sorted(packets, key=lambda packet: packet[0]):
        if timestamp == last:
            continue
        last = timestamp
        samples = _decode(decoder, payload)
        if samples is None:
            continue
        if end is not None and timestamp > end:
            pieces.append(np.zeros((min(timestamp - end, max_gap), CHANNELS), dtype=np.int16))
        pieces.append(samples)
        end = timestamp + len(samples)
    return np.concatenate(pieces) if pieces else np.zeros((0, CHANNELS), dtype=np.int16)


def write_wav(path: str | Path, pcm: Pcm) -> None:
    """Write samples as a 48 kHz stereo WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(CHANNELS)
        file.setsampwidth(_SAMPLE_BYTES)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm.astype("<i2", copy=False).tobytes())


def _decode(decoder: av.AudioCodecContext, payload: bytes) -> Pcm | None:
    try:
        frames = decoder.decode(av.Packet(payload))
    except av.FFmpegError:
        return None
    decoded = [frame.to_ndarray().reshape(-1, CHANNELS) for frame in frames]
    return np.concatenate(decoded).astype(np.int16, copy=False) if decoded else None
