"""What the tests of shaping share: a source out of a list, and what one chain makes of the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tests.workers.audio.media_files import signal
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.filters import FilterChain
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.shaping import ShapedFeed

EARLY_SAMPLES = 312
KEPT = 10
Item = bytes | PcmFrame | NotYet | Exception


class Listed:
    """A source with these frames, which says that it begins at `start_s`."""

    def __init__(self, items: Iterable[Item], *, start_s: float = 0.0) -> None:
        self.items = list(items)
        self.polled = 0
        self.handed_out = 0
        self.closed = 0
        self.skipped_packets = 3
        self._start_s = start_s

    @property
    def position_s(self) -> float:
        return self._start_s + (self.handed_out - 1) * 0.02

    def poll(self) -> bytes | PcmFrame | NotYet | None:
        if self.polled == len(self.items):
            return None
        item = self.items[self.polled]
        self.polled += 1
        if isinstance(item, Exception):
            raise item
        if item is not NOT_YET:
            self.handed_out += 1
        return item

    def take_packets(self, most: int) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < most and self.polled < len(self.items):
            item = self.items[self.polled]
            if not isinstance(item, bytes):
                break
            taken.append(item)
            self.polled += 1
            self.handed_out += 1
        return taken

    def close(self) -> None:
        self.closed += 1


def feed_of(source: Listed, *, kept_frames: int = 10, kept_packets: int = 26) -> Feed:
    return Feed(
        source,
        make_decoder=OpusPacketDecoder,
        kept_frames=kept_frames,
        kept_packets=kept_packets,
        early_samples=EARLY_SAMPLES,
    )


def cut(sound: PcmFrame) -> list[PcmFrame]:
    whole = len(sound) // FRAME_SAMPLES * FRAME_SAMPLES
    return [np.ascontiguousarray(sound[at : at + FRAME_SAMPLES]) for at in range(0, whole, FRAME_SAMPLES)]


def packets_of(sound: PcmFrame) -> list[bytes]:
    encoder = Encoder()
    return [encoder.encode_float(frame) for frame in cut(sound)]


def taken(feed: Any, count: int) -> list[PcmFrame]:
    found = []
    for _ in range(count):
        frame = feed.next_frame()
        assert isinstance(frame, np.ndarray), frame
        assert frame.shape == (FRAME_SAMPLES, 2)
        assert frame.dtype == np.float32
        found.append(frame)
    return found


def packets_from(feed: Any, most: int = 10_000) -> list[bytes]:
    """Return the packets that come next; what was kept comes apart from what is new."""
    found: list[bytes] = []
    while len(found) < most and (packets := feed.take_packets(min(24, most - len(found)))):
        found += packets
    return found


def rest(feed: Any) -> Iterator[PcmFrame]:
    while (frame := feed.next_frame()) is not None:
        assert isinstance(frame, np.ndarray)
        yield frame


def through(chain: str, sound: PcmFrame) -> PcmFrame:
    """Return what a chain makes of the whole, pushed in one piece."""
    filters, heard = FilterChain(chain), []
    filters.push(np.ascontiguousarray(sound))
    filters.finish()
    while (frame := filters.take()) is not None:
        heard.append(frame)
    return np.concatenate(heard)


def error_db(heard: PcmFrame, expected: PcmFrame) -> float:
    """Return the power of the difference against that of the expected, in dB."""
    difference = np.square(heard.astype(np.float64) - expected).sum()
    return float(10 * np.log10(difference / np.square(expected.astype(np.float64)).sum() + 1e-30))


def shaped(items: list[Item] | list[PcmFrame] | list[bytes], *, start_s: float = 0.0) -> ShapedFeed:
    source = Listed(items, start_s=start_s)
    return ShapedFeed(feed_of(source, kept_frames=KEPT), kept_frames=KEPT)


def decoded_early(packets: list[bytes]) -> PcmFrame:
    """Return what a feed of these packets gives as PCM."""
    decoder, frames = OpusPacketDecoder(), []
    for packet in packets:
        out = np.empty((FRAME_SAMPLES, 2), dtype=np.float32)
        decoder.decode_float(packet, out)
        frames.append(out)
    return np.concatenate(frames)[EARLY_SAMPLES:]


SWEEP = signal(seconds=6.0)
PACKETS = packets_of(SWEEP)
