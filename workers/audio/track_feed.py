"""What a program needs of a track's frames, and what a feed is made from [pure]."""

from __future__ import annotations

from typing import Protocol

from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NotYet

__all__ = ["FeedDecoder", "FeedSource", "TrackFeed"]


class FeedSource(Protocol):
    """Where frames come from: a reader, or a read-ahead before one."""

    @property
    def skipped_packets(self) -> int:
        """Packets that could not be decoded, so far."""

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was handed out last began, in seconds."""

    def poll(self) -> bytes | PcmFrame | NotYet | None:
        """Return a frame, `NOT_YET`, or None at the end; never wait long. An array is the taker's to keep."""

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are there; none if what comes next is no packet."""

    def close(self) -> None:
        """Release the source."""


class FeedDecoder(Protocol):
    """An Opus decoder that gives a frame for each packet, also for one that it cannot decode."""

    @property
    def concealed(self) -> int:
        """Packets that could not be decoded."""

    def decode_float(self, packet: bytes | None, out: PcmFrame) -> int:
        """Decode one packet into `out`, shape (960, 2)."""

    def close(self) -> None:
        """Release it."""


class TrackFeed(Protocol):
    """What a program needs of a track's frames; see `Feed` for each."""

    @property
    def position_frames(self) -> int:
        """How many frames it has handed out, those taken back not counted."""

    @property
    def is_early(self) -> bool:
        """Whether it hands out PCM earlier than the source gives it."""

    @property
    def skipped_packets(self) -> int:
        """Packets of the source that could not be decoded, so far."""

    def keeps(self, number: int) -> bool:
        """Return whether the frame of this number can still be `heard`."""

    def peek(self) -> bytes | PcmFrame | NotYet | None:
        """Return the next frame if it can be sent as it is."""

    def go_on(self) -> None:
        """Go on after `peek`."""

    def last_sounding_samples(self) -> int | None:
        """Return how much of the next frame sounds, if it is the last."""

    def begin_late(self, samples: int) -> bool:
        """Begin so many samples after the start of the first frame; return whether that can be done."""

    def take_packets(self, most: int) -> list[bytes]:
        """Hand out packets as they are."""

    def next_frame(self) -> PcmFrame | NotYet | None:
        """Return the next frame as PCM."""

    def skip(self, frames: int) -> int:
        """Leave out frames that are there; return how many that were. A station goes to its live edge: 0."""

    def rewind(self, frames: int) -> None:
        """Hand out the last frames again."""

    def heard(self, back: int) -> PcmFrame:
        """Return the PCM of a frame that was handed out."""

    def source_position_s(self, number: int) -> float:
        """Return where in the source a frame begins."""

    def close(self) -> None:
        """Release it."""
