"""A program without threads: the pacing thread's part is played by hand, and what it sent is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import Item, Listed
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import FRAME_SAMPLES, SILENCE, Mark, Note
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.opus_decoder import Decoder, OpusPacketDecoder
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["CAPACITY", "END", "Stage", "error_db", "music", "volume_to"]

CAPACITY = 8
END = Mark()


def music(count: int, *, seed: float = 0.0) -> list[PcmFrame]:
    sound = signal(seconds=count * 0.02 + 1.0).astype(np.float32)[round(seed * 48_000) :]
    return [
        np.ascontiguousarray(sound[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES] * np.float32(0.4))
        for n in range(count)
    ]


class Stage:
    """A program, the pacing thread's part played by hand, and a listener."""

    def __init__(self, capacity: int = CAPACITY, *, passing: int = 0) -> None:
        self.passing = passing
        self.encoder = Encoder()
        buffer = np.zeros((FRAME_SAMPLES, 2), dtype=np.float32)
        self.encoder.bind(buffer)
        self.program = Program(
            encoder=self.encoder,
            buffer=buffer,
            capacity_frames=capacity,
            passing_frames=passing,
            end=lambda: [SILENCE, END],
        )
        self.sent: list[bytes] = []
        self.reported = 0
        self.over = False

    def feed(self, frames: Sequence[Item]) -> Feed:
        return Feed(
            Listed(frames),
            make_decoder=OpusPacketDecoder,
            kept_frames=Program.kept_frames(CAPACITY),
            kept_packets=Program.kept_frames(max(CAPACITY, self.passing)),
            early_samples=self.encoder.lookahead_samples,
        )

    def add(self, feed: Feed, *, gain: GainEnvelope | None = None) -> MixerInput:
        return self.program.mixer.add(feed, gain=gain, on_end=lambda _: self.program.note(self.report))

    def report(self) -> None:
        self.reported += 1

    def fill(self) -> NotYet | None:
        """Fill the ring to the brim, or as far as it goes."""
        program = self.program
        while not program.ended:
            before = program.frames.frames_made
            if program.fill() is NOT_YET:
                return NOT_YET
            if program.frames.frames_made == before and not program.has_changes:
                break
        if program.has_changes:
            program.fill()
        return None

    def send(self, frames: int) -> None:
        """Let so many frames leave, with the ring filled to the brim before each."""
        for _ in range(frames):
            self.fill()
            assert self.program.ring, "starved"
            while isinstance(self.program.ring[0], Note):
                note = self.program.ring.popleft()
                assert isinstance(note, Note)
                note.report()
            item = self.program.ring.popleft()
            if not isinstance(item, bytes):
                self.over = True
                return
            self.sent.append(item)

    def send_all(self) -> None:
        while not self.over:
            self.send(1)

    def heard(self) -> PcmFrame:
        decoder, out, blocks = Decoder(), np.empty((FRAME_SAMPLES, 2), dtype=np.float32), []
        for packet in self.sent:
            decoder.decode_float(packet, out)
            blocks.append(out.copy())
        return np.concatenate(blocks)[self.encoder.lookahead_samples :]


def volume_to(track: MixerInput, volume: float) -> Callable[[Mixer], None]:
    return lambda _: track.gain.set_volume(volume)


def error_db(heard: PcmFrame, expected: PcmFrame) -> float:
    size = min(len(heard), len(expected))
    error = float(np.mean((heard[:size] - expected[:size]) ** 2))
    return 10.0 * float(np.log10(max(error, 1e-20) / float(np.mean(expected[:size] ** 2))))
