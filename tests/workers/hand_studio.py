"""A studio without threads: the test opens the sources, fills the rings and turns the wheel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tests.fakes.jumping_clock import JumpingClock
from voicepool.ipc.commands import FileSource, Play, Source, WorkerSettings
from voicepool.ipc.events import Event, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.media import MediaInfo
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.playback import Playback
from voicepool.workers.audio.readahead import NotYet
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.player import Player, Studio

__all__ = ["CALL", "HandPlayer", "HandSource", "HandStudio", "Step", "play_command"]

CALL: Final = CallId("call")
_INFO: Final = MediaInfo("Song", "Us", 1.0, "opus", "ogg", 48_000, 2)

Step = bytes | npt.NDArray[np.float32] | NotYet | Exception


class HandSource:
    """An opened source that gives ``name 0``, ``name 1``, … as Opus packets, or what it is told to."""

    info = _INFO
    kind = "opus"
    skipped_packets = 0

    def __init__(self, name: str, count: int = 0, steps: Sequence[Step] | None = None) -> None:
        self.name = name
        self.steps = list(steps) if steps is not None else list[Step](self.packets(count))
        self.closes = 0

    def packets(self, count: int, first: int = 0) -> list[bytes]:
        return [f"{self.name} {number}".encode() for number in range(first, first + count)]

    def poll(self) -> Any:
        if not self.steps:
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closes += 1


class HandOpener(Opener):
    """Opens what the test has put there: a source, an error, or a future of one of them."""

    def __init__(self) -> None:
        super().__init__(open_timeout_s=1.0, read_timeout_s=1.0, read_ahead_s=1.0)
        self.sources: dict[str, Any] = {}

    async def open(self, source: Source, attachments: list[bytes]) -> Any:
        assert isinstance(source, FileSource)
        found = self.sources[source.path]
        if isinstance(found, asyncio.Future):
            found = await asyncio.shield(found)
        if isinstance(found, Exception):
            raise found
        return found


class HandEncoders(EncoderThreads):
    """Fills when `work` is called, on the calling thread."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(make_clock=JumpingClock, lower_priority=lambda: "normal", role="normal")
        self.clock = clock
        self.held: list[Playback] = []

    def submit(self, playback: Playback) -> None:
        self.held.append(playback)

    def nudge(self, playback: Playback) -> None:
        if playback.parked:
            playback.parked = False
            self.held.append(playback)

    def hurry(self, playback: Playback) -> None:
        playback.parked = False
        if playback not in self.held:
            self.held.append(playback)

    def work(self) -> None:
        """Fill every ring as far as it goes."""
        self.held = [playback for playback in self.held if self._fill_up(playback)]

    def _fill_up(self, playback: Playback) -> bool:
        while True:
            before = len(playback.ring)
            if playback.fill(self.clock.now_ns()) is None:
                return False
            if playback.may_park and not playback.cancelled:
                playback.parked = True
                return False
            if len(playback.ring) == before:
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
        self.studio = Studio(self.settings, self.opener, self.encoders, self.pacer)

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

    async def play(self, name: str, count: int = 0, **options: Any) -> HandSource:
        """Put a source there and play it."""
        source = self.source(name, count)
        await (await self.start(name, **options))
        return source

    async def tick(self, count: int = 1) -> list[bytes]:
        """Let ticks go by; what was sent meanwhile."""
        before = len(self.sent)
        await self.hand.tick(count)
        return self.sent[before:]

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

    @property
    def ended(self) -> list[tuple[str, str, int]]:
        """Playback, reason and frames of each `TrackEnded`."""
        assert all(isinstance(event, TrackEnded) for event in self.hand.events)
        return [
            (event.playback, event.reason.value, event.frames_sent)
            for event in self.hand.events
            if isinstance(event, TrackEnded)
        ]

    async def close(self) -> None:
        """Close the player and see that nothing is held by anyone."""
        self.player.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.hand.settle()
        assert not self.hand.encoders.held
        assert not any(self.hand.pacer._wheel)


def play_command(name: str, **options: Any) -> Play:
    return Play(
        request=RequestId(1), call=CALL, playback=PlaybackId(name), source=FileSource(name), **options
    )
