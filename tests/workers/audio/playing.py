"""A playback filled by hand: no thread, no clock, codecs that write down what they are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import numpy.typing as npt

from voicepool.ipc.errors import ErrorInfo
from voicepool.workers.audio import playback as playback_module
from voicepool.workers.audio.arrivals import Arrival
from voicepool.workers.audio.deck import DeckTrack
from voicepool.workers.audio.feed import Feed, FeedDecoder
from voicepool.workers.audio.frame import FRAME_NS, SILENCE, Mark, Note
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.audio.playback import Playback
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["CLOSING", "END", "NOW_NS", "Bench", "Outlet", "Step", "loudness", "marked", "packets", "pcm"]

Pcm = npt.NDArray[np.float32]
Step = bytes | Pcm | NotYet | Exception

NOW_NS = 7_000_000_000
END = Mark()
CLOSING = [SILENCE] * 5 + [END]


def pcm(value: float = 0.5) -> Pcm:
    return np.full((960, 2), value, np.float32)


def packets(count: int) -> list[Step]:
    return [b"packet %d" % number for number in range(count)]


def mark(number: int, out: Pcm) -> None:
    """Write sound that tells its number whatever its volume: the right channel is a part of the left."""
    out[:, 0] = 0.5
    out[:, 1] = 0.5 * (number + 1) / 1_000


def marked(count: int) -> list[Step]:
    frames: list[Step] = []
    for number in range(count):
        frame = np.empty((960, 2), np.float32)
        mark(number, frame)
        frames.append(frame)
    return frames


class ScriptedSource:
    """Hands out its steps in order; raises those that are errors; ends after the last."""

    def __init__(self, steps: Sequence[Step], *, breaks_on_close: bool = False) -> None:
        self.steps = list(steps)
        self.skipped_packets = 0
        self.polls = 0
        self.closes = 0
        self.handed_out = 0
        self.at_poll: Callable[[], object] = lambda: None
        self._breaks_on_close = breaks_on_close

    def poll(self) -> bytes | Pcm | NotYet | None:
        self.polls += 1
        self.at_poll()
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if step is not NOT_YET:
            self.handed_out += 1
        return step

    @property
    def position_s(self) -> float:
        return (self.handed_out - 1) * 0.02

    def take_packets(self, most: int) -> list[bytes]:
        self.at_poll()
        taken: list[bytes] = []
        while self.steps and len(taken) < most and isinstance(step := self.steps[0], bytes):
            taken.append(step)
            del self.steps[0]
        self.polls += len(taken)
        self.handed_out += len(taken)
        return taken

    def close(self) -> None:
        self.closes += 1
        if self._breaks_on_close:
            raise OSError("the disk is gone")


class RecordingEncoder:
    """Keeps a copy of every frame it would have encoded."""

    def __init__(self, buffer: Pcm) -> None:
        self.buffer = buffer
        self.frames: list[Pcm] = []
        self.resets = 0
        self.closes = 0

    def set_independent(self, independent: bool) -> None:  # noqa: FBT001  # as the real one
        """It takes nothing from the packets before."""

    def encode_bound(self) -> bytes:
        self.frames.append(self.buffer.copy())
        return b"encoded %d" % len(self.frames)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closes += 1


class RecordingDecoder:
    """Decodes every packet to its number."""

    concealed = 0

    def __init__(self) -> None:
        self.packets: list[bytes | None] = []
        self.closes = 0

    def decode_float(self, packet: bytes | None, out: Pcm) -> int:
        self.packets.append(packet)
        assert packet is not None
        mark(int(packet.split()[1]), out)
        return 960

    def close(self) -> None:
        self.closes += 1


@dataclass
class Outlet:
    active: bool = True
    due_ns: int = NOW_NS
    nulled_run: int = 0
    dry: bool = False
    queue: deque[bytes | Mark] = field(default_factory=deque)


@dataclass
class Bench:
    """A playback and all that is around it."""

    steps: Sequence[Step]
    gain: float = 1.0
    capacity: int = 8
    breaks_on_close: bool = False
    make_decoder: Callable[[], FeedDecoder] | None = None
    outlet: Outlet = field(default_factory=Outlet)
    decoders: list[RecordingDecoder] = field(default_factory=list)
    primings: list[int] = field(default_factory=list)
    ends: int = 0
    skip_patience_ns: int = 0
    early_samples: int = 0
    passing: int = 0
    arrives: bool = False
    """Whether the track comes by `Playback.arrive`; else it is in the deck already."""
    refusals: list[ErrorInfo] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    endings: list[ErrorInfo | None] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    """What each skip that is done has told."""
    at_end: Callable[[], object] = lambda: None
    now_ns: int = NOW_NS
    """Moved on by 20 ms with each frame that is taken."""

    def __post_init__(self) -> None:
        buffer = np.zeros((960, 2), np.float32)
        self.source = ScriptedSource(self.steps, breaks_on_close=self.breaks_on_close)
        self.encoder = RecordingEncoder(buffer)
        with mock.patch.object(playback_module, "PASSING_FRAMES", self.passing):
            self.playback = Playback(
                encoder=self.encoder,
                buffer=buffer,
                outlet=self.outlet,
                capacity_frames=self.capacity,
                gain=self.gain,
                end=self._end,
                on_stuck=self.stuck.append,
            )
        self.outlet.queue = self.playback.ring
        self.feed = Feed(
            self.source,
            make_decoder=self.make_decoder or self._decoder,
            kept_frames=Program.kept_frames(max(self.capacity, self.passing)),
            early_samples=self.early_samples,
        )
        self.track = DeckTrack(self.feed, on_started=lambda: None, on_ended=self.endings.append)
        self.arrival = Arrival(
            self.feed,
            lambda deck: deck.start(self.track),
            on_ready=lambda: self.primings.append(len(self.ring)),
            on_refused=self.refusals.append,
        )
        if self.arrives:
            self.playback.arrive(self.arrival)
        else:
            self.playback._deck.start(self.track)
            # A note takes up a place in the ring, which would be in the way of counting frames.
            self.playback.program.frames._notes.clear()

    def _decoder(self) -> RecordingDecoder:
        self.decoders.append(RecordingDecoder())
        return self.decoders[-1]

    def _end(self) -> list[bytes | Mark]:
        self.ends += 1
        self.at_end()
        return list(CLOSING)

    @property
    def ring(self) -> list[bytes | Mark]:
        return [item for item in self.playback.ring if not isinstance(item, Note)]

    @property
    def frames_made(self) -> int:
        return self.playback.program.frames.frames_made

    @property
    def frames_sent(self) -> int:
        return self.playback.program.frames.frames_sent

    @property
    def position_frames(self) -> int:
        return self.playback.heard_frames(self.track)

    @property
    def ended(self) -> bool:
        return self.playback.program.ended

    def fill(self) -> int | None:
        return self.playback.fill(self.now_ns)

    def dismiss(self) -> None:
        self.playback.cancelled = True
        assert self.fill() is None

    def pcm_of(self, item: bytes | Mark) -> Pcm:
        """What an encoded frame was made of."""
        assert isinstance(item, bytes)
        name, number = item.split()
        assert name == b"encoded"
        return self.encoder.frames[int(number) - 1]

    def number_of(self, item: bytes | Mark) -> int:
        """Which frame of a marked source, or of packets, it is."""
        assert isinstance(item, bytes)
        if item.startswith(b"packet"):
            return int(item.split()[1])
        frame = self.pcm_of(item)
        return round(float(frame[-1, 1] / frame[-1, 0]) * 1_000) - 1

    def numbers_of(self, items: Sequence[bytes | Mark]) -> list[int]:
        return [self.number_of(item) for item in items if item is not SILENCE and item is not END]

    def skip(self, frames: int) -> list[bool]:
        self.playback.skip(self.track, frames, self.skip_patience_ns, self.told.append)
        return self.told

    def fill_until_told(self) -> None:
        """Fill until a skip that is under way is done."""
        for _ in range(1_000):
            if self.told:
                return
            self.fill()
        raise AssertionError("the skip is never done")

    def fill_up(self) -> None:
        """Fill until there is no room for another burst, or nothing more to come."""
        for _ in range(2 * self.capacity):
            self.fill()

    def take(self, count: int) -> list[bytes | Mark]:
        self.now_ns += count * FRAME_NS
        taken: list[bytes | Mark] = []
        while self.playback.ring and len(taken) < count:
            item = self.playback.ring.popleft()
            if isinstance(item, Note):
                item.report()
            else:
                taken.append(item)
        return taken

    def play_to_the_end(self) -> list[bytes | Mark]:
        heard: list[bytes | Mark] = []
        while not self.ended or self.playback.ring:
            if not self.ended:
                self.fill()
            heard += self.take(1)
        return heard


def loudness(bench: Bench, items: Sequence[bytes | Mark]) -> list[float]:
    """How loud the frames of a marked source end, 1 being as they are."""
    return [
        1.0 if item.startswith(b"packet") else round(float(bench.pcm_of(item)[-1, 0] / 0.5), 2)
        for item in items
        if isinstance(item, bytes) and item is not SILENCE
    ]
