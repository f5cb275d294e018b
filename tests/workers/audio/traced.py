"""A deck whose every frame tells, in whatever mix it is sent, which frame of which track is in it.

Each track has a sample of its own in a frame, at which all others are silent. Its left channel is the same in
each frame and its right channel tells the number, so that the two can be told apart at any gain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tests.workers.audio.shaped import Item, Listed
from voicepool.ipc.errors import ErrorInfo
from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import FRAME_SAMPLES, SILENCE, Mark, Note
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET

__all__ = ["CAPACITY", "PASSING", "Traced", "TracedTrack"]

CAPACITY = 8
PASSING = 24
END = Mark()
_FIRST_SAMPLE = 100
_STEP = 20
_LEVEL = 0.5
_NUMBERS = 1_000


def sound(track: int, number: int) -> PcmFrame:
    frame = np.zeros((FRAME_SAMPLES, 2), dtype=np.float32)
    frame[_FIRST_SAMPLE + _STEP * track] = _LEVEL, _LEVEL * (number + 1) / _NUMBERS
    # It sounds to its end, so that what follows begins with a frame of its own.
    frame[-1] = _LEVEL
    return frame


def packet(track: int, number: int) -> bytes:
    return b"packet %d %d" % (track, number)


def parts_of(frame: PcmFrame) -> dict[int, int]:
    """Return the numbers of the frames in a mix, by track."""
    found = {}
    for sample in np.flatnonzero(frame[:-1, 0]):
        left, right = frame[sample]
        track, rest = divmod(int(sample) - _FIRST_SAMPLE, _STEP)
        assert rest == 0
        found[track] = round(float(right / left) * _NUMBERS) - 1
    return found


class TracingEncoder:
    def __init__(self, buffer: PcmFrame) -> None:
        self._buffer = buffer
        self.frames: list[PcmFrame] = []

    def set_independent(self, independent: bool) -> None:  # noqa: FBT001  # as the real one
        """It takes nothing from the packets before."""

    def encode_bound(self) -> bytes:
        self.frames.append(self._buffer.copy())
        return b"encoded %d" % (len(self.frames) - 1)

    def reset(self) -> None:
        pass


class TracingDecoder:
    concealed = 0

    def decode_float(self, packet: bytes | None, out: PcmFrame) -> int:
        assert packet is not None
        _, track, number = packet.split()
        np.copyto(out, sound(int(track), int(number)))
        return FRAME_SAMPLES

    def close(self) -> None:
        pass


class Raced(deque[Any]):
    """A queue from which the pacing thread takes `races` times between two steps of the encoder thread."""

    def __init__(self, stage: Traced) -> None:
        super().__init__()
        self.races: list[int] = []
        self._stage = stage

    def pop(self) -> Any:  # type: ignore[override]
        item = super().pop()
        self._race()
        return item

    def extend(self, items: Iterable[Any]) -> None:
        super().extend(items)
        self._race()

    def _race(self) -> None:
        if self.races:
            self._stage.take(self.races.pop())


class TracedTrack:
    """A track, and what was heard and told of it."""

    def __init__(self, feed: Feed, deck: DeckTrack, source: Listed, frames: int) -> None:
        self.deck = deck
        self.source = source
        self.frames = frames
        self.feed = feed


class Traced:
    """A deck, its program, and a pacing thread that is played by hand."""

    def __init__(self, *, capacity: int = CAPACITY, passing: int = PASSING) -> None:
        buffer = np.zeros((FRAME_SAMPLES, 2), dtype=np.float32)
        self.encoder = TracingEncoder(buffer)
        self.program = Program(
            encoder=self.encoder,
            buffer=buffer,
            capacity_frames=capacity,
            passing_frames=passing,
            end=lambda: [SILENCE, END],
        )
        self.queue = Raced(self)
        self.program.frames.queue = self.queue
        self.deck = Deck(self.program)
        self.tracks: list[TracedTrack] = []
        self.feeds: list[Feed] = []
        self.sources: list[Listed] = []
        self.heard: list[dict[int, int]] = []
        """What was in each frame that was sent."""
        self.told: list[tuple[str, int, int]] = []
        """What was told, of which track, after how many frames."""
        self.ends = 0
        self._capacity, self._passing = capacity, passing

    def feed(self, kind: str, frames: int, *, waits_before: Sequence[int] = ()) -> Feed:
        """Make a feed of PCM or packets, that has nothing ready before some of its frames."""
        number, items = len(self.feeds), list[Item]()
        for at in range(frames):
            items += [NOT_YET] * waits_before.count(at)
            items.append(packet(number, at) if kind == "packets" else sound(number, at))
        source = Listed(items)
        self.sources.append(source)
        feed = Feed(
            source,
            make_decoder=TracingDecoder,
            kept_frames=Program.kept_frames(self._capacity),
            kept_packets=Program.kept_frames(max(self._passing, self._capacity)),
            early_samples=0,
        )
        self.feeds.append(feed)
        return feed

    def track(
        self,
        kind: str,
        frames: int,
        *,
        waits_before: Sequence[int] = (),
        knows_length: bool = True,
        **how: Any,
    ) -> TracedTrack:
        feed = self.feed(kind, frames, waits_before=waits_before)
        number = len(self.tracks)

        def on_ended(error: ErrorInfo | None) -> None:
            self.told.append(("ended" if error is None else "failed", number, len(self.heard)))

        deck = DeckTrack(
            feed,
            on_started=lambda: self.told.append(("started", number, len(self.heard))),
            on_ended=on_ended,
            length_frames=frames if knows_length else None,
            **how,
        )
        made = TracedTrack(feed, deck, self.sources[-1], frames)
        self.tracks.append(made)
        return made

    def wish(self, wish: Any) -> None:
        self.program.change(lambda _: wish(self.deck))

    def fill(self) -> None:
        self.deck.collect()
        if self.program.fill() is NOT_YET:
            self.deck.give_up_starving()

    def fill_up(self) -> None:
        for _ in range(PASSING):
            self.fill()

    def take(self, frames: int) -> None:
        """Send so many frames, if they are there, as the pacing thread does."""
        while frames and self.queue:
            item = self.queue.popleft()
            if isinstance(item, Note):
                item.report()
            elif item is END:
                self.ends += 1
            else:
                frames -= 1
                if item is not SILENCE:
                    self.heard.append(self.parts(item))

    def parts(self, item: bytes) -> dict[int, int]:
        name, *numbers = item.split()
        if name == b"packet":
            return {int(numbers[0]): int(numbers[1])}
        return parts_of(self.encoder.frames[int(numbers[0])])

    def play_to_the_end(self) -> None:
        for _ in range(10_000):
            self.fill()
            if self.program.ended and not self.queue:
                return
            self.take(1)
        raise AssertionError("it never ends")

    def numbers(self, feed: Feed) -> list[int]:
        """Return which frames of a feed were heard, in order."""
        number = self.feeds.index(feed)
        return [parts[number] for parts in self.heard if number in parts]

    def place(self, feed: Feed) -> tuple[int, int]:
        """Return after how many frames a feed was first heard, and after how many no more."""
        number = self.feeds.index(feed)
        at = [index for index, parts in enumerate(self.heard) if number in parts]
        return at[0], at[-1] + 1
