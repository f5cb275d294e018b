"""What the tests of stations share: readers that follow a script, and a station filled by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.station import Station, StationReader
from voicepool.workers.audio.station_tap import StationTap

Pcm = npt.NDArray[np.float32]
R = TypeVar("R", bound=StationReader)
Step = bytes | Pcm | NotYet | Exception

START_NS = 7_000_000_000
FILE = MediaInfo(codec="opus", container="ogg", sample_rate_hz=48_000, channels=2, duration_s=60.0)
BROADCAST = MediaInfo(codec="mp3", container="mp3", sample_rate_hz=44_100, channels=2, live=True)


@dataclass(frozen=True)
class Title:
    position_s: float
    title: str | None
    artist: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


def packets(count: int, first: int = 0) -> list[Step]:
    return [b"packet %d" % number for number in range(first, first + count)]


def numbers(taken: Iterable[bytes]) -> list[int]:
    return [int(packet.split()[1]) for packet in taken]


class ScriptedReader:
    """Hands out its steps in order, raises those that are errors, and ends after the last."""

    def __init__(self, steps: Iterable[Step], *, breaks_on_close: bool = False) -> None:
        self.steps = list(steps)
        self.skipped_packets = 0
        self.position_s = 0.0
        self.frames_read = 0
        self.closes = 0
        self.titles: list[Title] = []
        self._breaks_on_close = breaks_on_close

    def poll(self) -> bytes | Pcm | NotYet | None:
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if step is not NOT_YET:
            self.position_s = self.frames_read / 50
            self.frames_read += 1
        return step

    @property
    def padding_samples(self) -> int:
        return 0

    def take_titles(self) -> list[Title]:
        titles, self.titles = self.titles, []
        return titles

    def close(self) -> None:
        self.closes += 1
        if self._breaks_on_close:
            raise OSError("the disk is gone")


class PlainReader:
    """No titles: the least that a station can be made from. It never ends."""

    skipped_packets = 0
    padding_samples = 0

    def __init__(self) -> None:
        self.position_s = 0.0

    def poll(self) -> bytes:
        return b"packet 0"

    def close(self) -> None:
        pass


@dataclass
class Opened:
    reader: StationReader
    info: MediaInfo = FILE


class NumberingEncoder:
    """Encodes each frame to the number of its first sample, and remembers the frames."""

    def __init__(self) -> None:
        self.frames: list[Pcm] = []
        self.closes = 0

    def encode_float(self, frame: Pcm) -> bytes:
        self.frames.append(frame.copy())
        return b"packet %d" % round(float(frame[0, 0]))

    def close(self) -> None:
        self.closes += 1


class HandEncoders:
    """Encoder threads without threads: they write down what they are asked for."""

    def __init__(self) -> None:
        self.items: list[EncoderItem] = []
        self.nudged: list[EncoderItem] = []

    def submit(self, item: EncoderItem) -> None:
        self.items.append(item)

    def nudge(self, item: EncoderItem) -> None:
        self.nudged.append(item)


@dataclass
class Bench(Generic[R]):
    """A station, filled by hand, and its taps."""

    reader: R
    info: MediaInfo = FILE
    repeats: bool = False
    reopenings: int = 0
    starts: int = 0
    closes: int = 0
    now_ns: int = START_NS
    heard_in_ns: int = 0
    is_listened_to: bool = True
    """Whether some other call takes packets, too."""
    encoders: list[NumberingEncoder] = field(default_factory=list)
    make_encoder: Callable[[], NumberingEncoder] | None = None

    def __post_init__(self) -> None:
        self.station = Station(
            "jazz",
            Opened(self.reader, self.info),
            make_encoder=self.make_encoder or self._make_encoder,
            reopen=self._reopen if self.repeats else None,
        )
        self.log = self.station.log

    def _make_encoder(self) -> NumberingEncoder:
        self.encoders.append(NumberingEncoder())
        return self.encoders[-1]

    def _reopen(self) -> None:
        self.reopenings += 1

    def tap(self) -> StationTap:
        return StationTap(
            self.log,
            info=self.info,
            now_ns=lambda: self.now_ns,
            heard_in_ns=lambda: self.heard_in_ns,
            on_start=self._on_start,
            on_close=self._on_close,
        )

    def _on_start(self) -> None:
        self.starts += 1

    def _on_close(self) -> None:
        self.closes += 1

    def fill(self) -> int:
        """Fill it until it wants to be left alone for now; when it is to be filled again."""
        while True:
            again_ns = self.station.fill(self.now_ns)
            assert again_ns is not None
            if again_ns > self.now_ns or self.station.may_park:
                return again_ns

    def go(self, frames: int) -> None:
        """Let time pass, frame by frame; the station is filled when it wants to be."""
        again_ns = self.fill()
        for _ in range(frames):
            self.now_ns += FRAME_NS
            if self.is_listened_to:
                self.log.ask(self.now_ns)
            if again_ns <= self.now_ns:
                again_ns = self.fill()
