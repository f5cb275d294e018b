"""A 2-hour album in virtual time: 40 tracks of 3 minutes, each frame of which carries its number.

Most tracks are Opus packets that pass, the others are PCM, at times two in a row; so there are joints of each
kind with each. What was put into the encoder says which frame it was, to the bit. Packets are really encoded
around the joints; elsewhere, an hour of the same would show nothing more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tests.fakes.running import asyncio_test
from tests.golden.driver import Stage
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import EndReason, MediaInfo, TrackStarted
from voicepool.ipc.sources import FileSource
from voicepool.workers.audio.assembling import OpenedTrack
from voicepool.workers.audio.frame import SILENCE

TRACKS: Final = 40
FRAMES: Final = 9_000
"""Of each track: 3 minutes."""
NEAR: Final = 100
"""Frames of a track that count as next to a joint: 2 s."""
_CELT_20_MS_STEREO: Final = 0xFC
"""The first byte of a packet with one frame (RFC 6716 §3.1)."""
_SCALE: Final = 1.0 / (1 << 20)


def is_pcm(track: int) -> bool:
    return track % 8 in (1, 2, 5)


class Numbered:
    """A track whose frames say which they are."""

    skipped_packets = 0
    preroll_packets: tuple[bytes, ...] = ()

    def __init__(self, track: int, stage: Stage) -> None:
        self._stage = stage
        self._first = track * FRAMES
        self._given = 0
        self._is_pcm = is_pcm(track)
        self.closed = False

    @property
    def position_s(self) -> float:
        return max(0, self._given - 1) / 50

    def poll(self) -> Any:
        if self._given == FRAMES:
            return None
        number = self._first + self._given
        self._given += 1
        self._stage.encodes = not NEAR < self._given < FRAMES - NEAR
        if self._is_pcm:
            return np.full((960, 2), (number + 1) * _SCALE, np.float32)
        return bytes([_CELT_20_MS_STEREO]) + number.to_bytes(4, "big")

    def take_packets(self, most: int) -> list[bytes]:
        if self._is_pcm:
            return []
        return [self.poll() for _ in range(min(most, FRAMES - self._given))]

    def close(self) -> None:
        self.closed = True


@asyncio_test
async def test_an_album_of_two_hours_plays_without_one_missing_or_repeated_frame() -> None:
    numbers: list[int] = []

    async with Stage(bitrate_bps=128_000) as stage:
        tracks = [Numbered(track, stage) for track in range(TRACKS)]

        def take(packet: bytes) -> None:
            made = stage.take_made(packet)
            if made is not None:
                assert made.min() == made.max(), "a frame of two"
                numbers.append(round(float(made[0, 0]) / _SCALE) - 1)
            elif packet is SILENCE:
                numbers.append(-1)
            else:
                numbers.append(int.from_bytes(packet[1:], "big"))

        stage.bind(take)

        async def put(track: int) -> None:
            name = str(track)
            kind = "pcm" if is_pcm(track) else "opus"
            info = MediaInfo(
                codec=kind,
                container="",
                sample_rate_hz=48_000,
                channels=2,
                passthrough=kind == "opus",
                duration_s=FRAMES / 50,
            )
            reader: Any = tracks[track]
            stage.opener.ready[name] = OpenedTrack(reader, info, FileSource(name), 0.0)
            role = TrackRole.NEXT if track else TrackRole.MAIN
            await stage.play(FileSource(name), name, role=role)

        await put(0)
        for track in range(1, TRACKS):
            await put(track)
            while sum(isinstance(event, TrackStarted) for event in stage.events) <= track:
                await stage.turn(20)
        await stage.listen_to_end()
        assert stage.ended == {str(track): (EndReason.FINISHED, FRAMES) for track in range(TRACKS)}
        assert stage.pacer.nulled == 0

    assert numbers == [*range(TRACKS * FRAMES), *[-1] * 5]
    assert all(track.closed for track in tracks)
