"""A studio without threads: the test opens the sources, fills the rings and turns the wheel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from tests.fakes.jumping_clock import JumpingClock
from voicepool.ipc.commands import Play, Seek, TrackOptions, TrackRole, WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import Event, MediaInfo, TrackEnded, TrackFigures, TrackStarted
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.ipc.sources import FileSource, Source
from voicepool.workers.audio.assembling import OpenedTrack
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import FRAME_NS, FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE_HZ, SILENCE
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.player import Player
from voicepool.workers.sound import Studio
from voicepool.workers.sourcing import Sourcing

__all__ = [
    "CALL",
    "MIX",
    "TAIL",
    "Ear",
    "HandOpener",
    "HandPlayer",
    "HandSource",
    "HandStudio",
    "Step",
    "code_of",
    "name_of",
    "packet",
    "play_command",
    "tone",
]

T = TypeVar("T", bound=Event)

CALL: Final = CallId("call")
_OPTIONS: Final = {"start_s", "end_s", "repeats", "position_s", "fade_in_s", "fade_out_s", "speed", "filters"}
_INFO: Final = MediaInfo(
    codec="opus",
    container="ogg",
    sample_rate_hz=48_000,
    channels=2,
    title="Song",
    artist="Us",
    passthrough=True,
)

Step = bytes | npt.NDArray[np.float32] | NotYet | Exception

MIX: Final = "mix"
"""Stands for a frame that was encoded here."""
TAIL: Final = ["silence"] * 5


def packet(name: str) -> bytes:
    """Return an Opus packet of 20 ms of silence that bears a name, in its padding (RFC 6716 §3.2.5)."""
    return b"\xfb\x41" + bytes([len(name)]) + b"\xff\xfe" + name.encode()


def name_of(sent: bytes) -> str:
    """Return the name that a packet bears; or what it is, if it bears none."""
    if sent.startswith(b"\xfb\x41"):
        return sent[5:].decode()
    return "silence" if sent == SILENCE else MIX


def tone(frequency_hz: int, frames: int, amplitude: float = 0.4) -> list[npt.NDArray[np.float32]]:
    """Return a sine in frames; one of a multiple of 50 Hz leaves others of the kind alone in `Ear`."""
    samples = amplitude * np.sin(
        np.arange(FRAME_SAMPLES * frames) * (2 * np.pi * frequency_hz / SAMPLE_RATE_HZ)
    )
    stereo = np.repeat(samples.astype(np.float32)[:, np.newaxis], 2, axis=1)
    return [frame.copy() for frame in np.split(stereo, frames)]


class Ear:
    """Listens to all that was sent: how loud a tone is in each frame."""

    def __init__(self, sent: Sequence[bytes]) -> None:
        decoder, out = Decoder(), np.empty((FRAME_SAMPLES, 2), np.float32)
        self._frames = []
        for one in sent:
            decoder.decode_float(one, out)
            self._frames.append(out[:, 0].copy())
        decoder.close()

    def amplitudes(self, frequency_hz: int) -> list[float]:
        """Return the amplitude of a tone in each frame."""
        wave = np.exp(-2j * np.pi * frequency_hz / SAMPLE_RATE_HZ * np.arange(FRAME_SAMPLES))
        return [float(2 * abs(frame @ wave) / FRAME_SAMPLES) for frame in self._frames]


class HandSource:
    """An opened source that gives packets named ``name 0``, ``name 1``, …, or what it is told to."""

    info = _INFO
    kind = "opus"
    skipped_packets = 0
    preroll_packets: tuple[bytes, ...] = ()

    def __init__(self, name: str, count: int = 0, steps: Sequence[Step] | None = None) -> None:
        self.name = name
        self.steps = list(steps) if steps is not None else list[Step](self.packets(count))
        self.closes = 0
        self.given = 0

    def packets(self, count: int, first: int = 0) -> list[bytes]:
        return [packet(name) for name in self.names(count, first)]

    def names(self, count: int, first: int = 0) -> list[str]:
        return [f"{self.name} {number}" for number in range(first, first + count)]

    def poll(self) -> Any:
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        self.given += step is not NOT_YET
        return step

    def take_packets(self, most: int) -> list[bytes]:
        taken: list[bytes] = []
        for step in self.steps[:most]:
            if not isinstance(step, bytes):
                break
            taken.append(step)
        del self.steps[: len(taken)]
        self.given += len(taken)
        return taken

    def take_titles(self) -> list[TitleChange]:
        return []

    @property
    def position_s(self) -> float:
        return max(0, self.given - 1) / FRAMES_PER_S

    def close(self) -> None:
        self.closes += 1


class HandOpener(Opener):
    """Opens what the test has put there: a source, an error, or a future of one of them."""

    def __init__(self) -> None:
        super().__init__(open_timeout_s=1.0, read_timeout_s=1.0, read_ahead_s=1.0)
        self.sources: dict[str, Any] = {}
        self.places: list[tuple[str, float | None]] = []
        """What was opened, and from which position in seconds on."""
        self.repeats: list[int | None] = []
        """How many rounds were to follow, of each."""
        self.opened: list[HandSource] = []
        """What was handed out, and is to be closed by whoever has it."""

    async def open(
        self,
        source: Source,
        options: TrackOptions,
        attachments: Sequence[bytes],
        *,
        position_s: float | None = None,
    ) -> Any:
        assert isinstance(source, FileSource)
        self.places.append((source.path, position_s))
        self.repeats.append(options.repeats)
        found = self.sources[source.path]
        if isinstance(found, asyncio.Future):
            found = await asyncio.shield(found)
        if isinstance(found, Exception):
            raise found
        self.opened.append(found)
        return OpenedTrack(found, found.info, source, position_s or 0.0)


class HandEncoders(EncoderThreads):
    """Fills when `work` is called, on the calling thread."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(make_clock=JumpingClock, lower_priority=lambda: "normal", role="normal")
        self.clock = clock
        self.held: list[EncoderItem] = []
        self.submitted: list[EncoderItem] = []

    def submit(self, playback: EncoderItem) -> None:
        self.submitted.append(playback)
        self.held.append(playback)

    def nudge(self, playback: EncoderItem) -> None:
        if playback.parked:
            playback.parked = False
            self.held.append(playback)

    def hurry(self, playback: EncoderItem) -> None:
        playback.parked = False
        if playback not in self.held:
            self.held.append(playback)

    def work(self) -> None:
        """Fill every ring as far as it goes."""
        self.held = [playback for playback in self.held if self._fill_up(playback)]

    def _fill_up(self, playback: EncoderItem) -> bool:
        # More often than any ring is deep: if the wheel has stood still for long, it is always overdue.
        for _ in range(200):
            again_ns = playback.fill(self.clock.now_ns())
            if again_ns is None:
                return False
            if playback.may_park and not playback.cancelled:
                playback.parked = True
                return False
            if again_ns > self.clock.now_ns():
                return True
        return True


@dataclass
class HandStudio:
    """What players of a worker share, and what they reported."""

    settings: WorkerSettings = field(default_factory=lambda: WorkerSettings(ring_frames=4, complexity=0))
    events: list[Event] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = JumpingClock()
        self.pacer = Pacer(self.clock)
        self.encoders = HandEncoders(self.clock)
        self.opener = HandOpener()
        stations: Any = None
        sourcing = Sourcing(self.opener, stations, ring_frames=self.settings.ring_frames, early_samples=312)
        self.studio = Studio(self.settings, sourcing, self.encoders, self.pacer)

    async def settle(self, rounds: int = 10) -> None:
        """Let the encoder and the control loop do all there is to do."""
        for _ in range(rounds):
            self.encoders.work()
            await asyncio.sleep(0)

    async def tick(self, count: int = 1) -> None:
        """Let so many ticks of the (one) call that sends go by; without one, nothing happens."""
        for _ in range(count):
            self.clock.woken = False
            self.pacer.turn_once()
            await self.settle()


class HandPlayer:
    """A player in a hand-driven studio, bound from the start unless told otherwise."""

    def __init__(self, *, bound: bool = True) -> None:
        self.hand = HandStudio()
        self.sent: list[bytes] = []
        self.ssrcs: list[int] = []
        self.sources: dict[str, HandSource] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.player = Player(
            CALL,
            self.hand.studio,
            report=self.hand.events.append,
            on_failure=self.hand.failures.append,
            now_ns=self.hand.clock.now_ns,
        )
        if bound:
            self.bind()

    def bind(self, ssrc: int = 1) -> None:
        def send(packet: bytes) -> None:
            self.sent.append(packet[12:])
            self.ssrcs.append(ssrc)

        self.player.bind(lambda header, frame: header + frame, send, ssrc)

    def source(self, name: str, count: int = 0, steps: Sequence[Step] | None = None) -> HandSource:
        """Put a source there to be opened."""
        source = self.sources[name] = HandSource(name, count, steps)
        self.hand.opener.sources[name] = source
        return source

    def slow_source(self, name: str, count: int) -> asyncio.Future[HandSource]:
        """A source that opens when the returned future is given `HandSource`."""
        opening: asyncio.Future[HandSource] = asyncio.get_running_loop().create_future()
        self.sources[name] = HandSource(name, count)
        self.hand.opener.sources[name] = opening
        return opening

    async def start(self, name: str, **options: Any) -> asyncio.Task[Any]:
        """Begin to play, and do all that can be done at once."""
        task = asyncio.create_task(self.player.play(play_command(name, **options), []))
        self.tasks.append(task)
        await self.hand.settle()
        return task

    async def play(
        self, name: str, count: int = 0, steps: Sequence[Step] | None = None, **options: Any
    ) -> HandSource:
        """Put a source there and play it."""
        source = self.source(name, count, steps)
        await (await self.start(name, **options))
        return source

    async def follow(self, name: str, count: int = 0, **options: Any) -> HandSource:
        """Put a source there that is to follow what plays."""
        return await self.play(name, count, role=TrackRole.NEXT, **options)

    async def overlay(self, name: str, count: int = 0, **options: Any) -> HandSource:
        """Put a source there and play it beside what plays."""
        return await self.play(name, count, role=TrackRole.OVERLAY, **options)

    async def begin_seek(self, name: str, position_s: float) -> asyncio.Task[None]:
        """Begin to seek, and do all that can be done at once."""
        command = Seek(request=RequestId(2), call=CALL, playback=PlaybackId(name), position_s=position_s)
        task = asyncio.create_task(self.player.seek(command))
        self.tasks.append(task)
        await self.hand.settle()
        return task

    async def tick(self, count: int = 1) -> list[str]:
        """Let ticks go by; the names of what was sent meanwhile."""
        before = len(self.sent)
        await self.hand.tick(count)
        return [name_of(sent) for sent in self.sent[before:]]

    def pass_frames(self, count: float) -> None:
        """Let the time of so many frames go by, in which nothing is done."""
        self.hand.clock.time_ns += round(count * FRAME_NS)

    async def gap(self, frames: float) -> None:
        """Lose the transport, get another after so many frames, and do all that follows."""
        self.player.unbind()
        await self.hand.settle()
        self.pass_frames(frames)
        self.bind(ssrc=2)
        await self.hand.settle()

    def of(self, kind: type[T]) -> list[T]:
        """The events of one kind."""
        return [event for event in self.hand.events if isinstance(event, kind)]

    @property
    def ended(self) -> list[tuple[str, str, int]]:
        """Playback, reason and frames of each `TrackEnded`."""
        return [(event.playback, event.reason.value, event.frames_sent) for event in self.of(TrackEnded)]

    @property
    def started(self) -> list[str]:
        """Playback of each `TrackStarted`."""
        return [event.playback for event in self.of(TrackStarted)]

    @property
    def figures(self) -> dict[str, TrackFigures]:
        """Of those that play."""
        return {figures.playback: figures for figures in self.player.stats().tracks}

    def position_frames(self, name: str) -> int:
        """Where a track is in its source, in frames."""
        return round(self.figures[name].position_s * FRAMES_PER_S)

    async def close(self) -> None:
        """Close the player and see that nothing is held by anyone."""
        self.player.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.hand.settle()
        assert not self.hand.encoders.held
        assert not any(self.hand.pacer._wheel)


def play_command(name: str, **options: Any) -> Play:
    """Return a `Play` of the file of this name; what is no field of it goes to its track's options."""
    track = {key: options.pop(key) for key in list(options) if key in _OPTIONS}
    fields: dict[str, Any] = {"source": FileSource(name), "options": TrackOptions(**track), **options}
    return Play(request=RequestId(1), call=CALL, playback=PlaybackId(name), **fields)


async def code_of(task: asyncio.Task[Any]) -> ErrorCode:
    """Return what a command fails with."""
    with pytest.raises(SourceError) as caught:
        await task
    return caught.value.code
