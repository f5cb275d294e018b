"""A real call in virtual time: real sources, mixer, Opus encoder and pacer, and the listener's decoder.

The call is looked at in two places. `Stage.made` is what was put into the encoder for each packet that was
sent; what was made and taken back again is not in it. `Stage.heard` is what a listener's decoder makes of
the packets, moved back by the encoder's delay, so that its sample n is sample n of what was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from unittest.mock import patch

import numpy as np

from tests.fakes.jumping_clock import JumpingClock
from tests.golden.sounds import Sound
from voicepool.ipc.commands import ChangeTrack, Play, Seek, TrackOptions, TrackRole, WorkerSettings
from voicepool.ipc.events import EndReason, Event, TrackEnded, TrackPlace
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.ipc.sources import BytesSource, Source
from voicepool.workers.audio.assembling import Assembler, OpenedTrack
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SILENCE
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.player import Player
from voicepool.workers.sound import Studio
from voicepool.workers.sourcing import Sourcing

__all__ = ["LOOKAHEAD_SAMPLES", "WISH_FRAMES", "Stage"]

LOOKAHEAD_SAMPLES: Final = 312
"""libopus' delay at 48 kHz with application "audio" (opus_encoder_ctl, OPUS_GET_LOOKAHEAD)."""
WISH_FRAMES: Final = 1
"""After so many more frames a wish is heard that comes right after a frame was sent."""
_CALL: Final = CallId("call")
_ROUNDS: Final = 6
_TIMEOUT_S: Final = 60.0
_Result = TypeVar("_Result")


class _OpenerAtOnce(Opener):
    """Opens sources as a worker does, but on the caller's thread, so that the order is always the same."""

    def __init__(self) -> None:
        super().__init__(open_timeout_s=_TIMEOUT_S, read_timeout_s=_TIMEOUT_S, read_ahead_s=1.0)
        self._at_once = Assembler(_TIMEOUT_S, _TIMEOUT_S, 1.0)
        self.ready: dict[str, OpenedTrack] = {}

    async def open(
        self,
        source: Source,
        options: TrackOptions,
        attachments: Sequence[bytes],
        *,
        position_s: float | None = None,
    ) -> OpenedTrack:
        if (name := getattr(source, "path", None)) in self.ready:
            return self.ready.pop(name)
        wanted_s = options.position_s if position_s is None else position_s
        return self._at_once.open(cast("Any", source), options, attachments, position_s=wanted_s)


class _EncodersByHand(EncoderThreads):
    """Fills on the caller's thread when it is time to."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(make_clock=JumpingClock, lower_priority=lambda: "normal", role="normal")
        self._clock = clock
        self._due_ns: dict[EncoderItem, int] = {}

    @property
    def holds_any(self) -> bool:
        return bool(self._due_ns)

    def submit(self, playback: EncoderItem) -> None:
        self._due_ns[playback] = 0

    def nudge(self, playback: EncoderItem) -> None:
        if playback.parked:
            self.hurry(playback)

    def hurry(self, playback: EncoderItem) -> None:
        playback.parked = False
        self._due_ns[playback] = 0

    def work(self) -> bool:
        """Fill every ring as far as it goes; tell whether there was anything to do."""
        due = [playback for playback, at_ns in self._due_ns.items() if at_ns <= self._clock.now_ns()]
        for playback in due:
            del self._due_ns[playback]
            while (again_ns := playback.fill(self._clock.now_ns())) is not None:
                if playback.may_park and not playback.cancelled:
                    playback.parked = True
                    break
                if again_ns > self._clock.now_ns():
                    self._due_ns[playback] = again_ns
                    break
        return bool(due)


class Stage:
    """One call, its time and its listener; an async context manager.

    Parameters
    ----------
    bitrate_bps, complexity
        Of the Opus encoder.
    bound
        Whether it can send from the start; if not, it sends after `open`.

    Attributes
    ----------
    encodes
        Whether what is made is really encoded. While not, packets are only good for asking what is in them.
    sent
        The packets that were sent, those of silence included.
    opener
        Its `ready` gives what is not read from bytes.
    """

    def __init__(self, *, bitrate_bps: int = 256_000, complexity: int = 10, bound: bool = True) -> None:
        self.clock = JumpingClock()
        self.pacer = Pacer(self.clock)
        self.encoders = _EncodersByHand(self.clock)
        self.opener = _OpenerAtOnce()
        self.settings = WorkerSettings(bitrate_bps=bitrate_bps, complexity=complexity)
        self.events: list[Event] = []
        self.sent: list[bytes] = []
        self._inputs: list[Sound | None] = []
        self._made: dict[int, tuple[bytes, Sound]] = {}
        """By the packet's id; the packet is kept, so that the id stays its own."""
        self._failures: list[Exception] = []
        self._bound = bound
        self.encodes = True
        self._numbers = iter(range(1 << 40))

    async def __aenter__(self) -> Self:
        encode = Encoder.encode_bound

        def encode_bound(encoder: Encoder) -> bytes:
            packet = encode(encoder) if self.encodes else next(self._numbers).to_bytes(8, "big")
            self._made[id(packet)] = (packet, encoder._input.copy())
            return packet

        self._patch = patch.object(Encoder, "encode_bound", encode_bound)
        self._patch.start()
        stations: Any = None
        sourcing = Sourcing(
            self.opener, stations, ring_frames=self.settings.ring_frames, early_samples=LOOKAHEAD_SAMPLES
        )
        self.player = Player(
            _CALL,
            Studio(self.settings, sourcing, self.encoders, self.pacer),
            report=self.events.append,
            on_failure=self._failures.append,
            now_ns=self.clock.now_ns,
        )
        if self._bound:
            self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.player.close()
        await self.settle()
        self._patch.stop()
        if error is None:
            assert not self._failures
            assert not self.encoders.holds_any, "an encoder thread would still hold the playback"

    def open(self) -> None:
        """Have packets sent from now on, to the stage itself."""
        self.bind(self._take)

    def bind(self, take: Callable[[bytes], object]) -> None:
        """Have the packets taken by another than the stage; that one calls `take_made` for each."""
        self.player.bind(lambda _, frame: frame, take, 1)

    def take_made(self, packet: bytes) -> Sound | None:
        """Return what a packet was encoded from, once; None if it was passed through."""
        made = self._made.pop(id(packet), None)
        return None if made is None else made[1]

    # What the bot does. Each is carried out before any time goes by.

    async def play(
        self,
        song: bytes | Source,
        name: str = "song",
        *,
        role: TrackRole = TrackRole.MAIN,
        volume: float = 1.0,
        track_volume: float = 1.0,
        duck_db: float = 0.0,
        crossfade_s: float = 0.0,
        **options: Any,
    ) -> None:
        """Play a file's bytes; `options` are those of `TrackOptions`, the rest is of `Play`."""
        source = BytesSource(len(song)) if isinstance(song, bytes) else song
        command = Play(
            request=RequestId(1),
            call=_CALL,
            playback=PlaybackId(name),
            source=source,
            role=role,
            options=TrackOptions(volume=track_volume, **options),
            volume=volume,
            duck_db=duck_db,
            crossfade_s=crossfade_s,
        )
        await self._carry_out(self.player.play(command, [song] if isinstance(song, bytes) else []))

    async def follow(self, song: bytes, name: str = "next", *, crossfade_s: float = 0.0) -> None:
        await self.play(song, name, role=TrackRole.NEXT, crossfade_s=crossfade_s)

    async def seek(self, position_s: float, name: str = "song") -> None:
        command = Seek(request=RequestId(1), call=_CALL, playback=PlaybackId(name), position_s=position_s)
        await self._carry_out(self.player.seek(command))

    async def release(self) -> list[TrackPlace]:
        """Let go of what plays, to go on at another stage."""
        return await self._carry_out(self.player.release())

    async def align(self, places: Sequence[TrackPlace]) -> None:
        """Have what is prepared go on where another stage has let go of it."""
        await self._carry_out(self.player.align(places))

    async def change(self, name: str = "song", **how: Any) -> None:
        self.player.change_track(
            ChangeTrack(request=RequestId(1), call=_CALL, playback=PlaybackId(name), **how)
        )
        await self.settle()

    async def set_volume(self, volume: float) -> None:
        self.player.set_volume(volume)
        await self.settle()

    async def skip(self, name: str = "song") -> None:
        self.player.skip(PlaybackId(name))
        await self.settle()

    # Time.

    async def listen(self, frames: int) -> None:
        """Let so many frames be sent, 20 ms each."""
        for _ in range(frames):
            before = len(self.sent)
            await self.turn()
            assert len(self.sent) == before + 1, "nothing was sent in this tick"

    async def listen_to_end(self) -> None:
        """Let all be sent that there is to send, and the silence behind it."""
        while self._sends:
            await self.turn()

    async def turn(self, ticks: int = 1) -> None:
        """Let up to so many ticks go by; in all but the last, the encoder has its turn, but not the loop."""
        for _ in range(ticks - 1):
            self._tick()
            self.encoders.work()
        self._tick()
        await self.settle()

    @property
    def _sends(self) -> bool:
        return any(self.pacer._wheel)

    def _tick(self) -> None:
        if self._sends:
            self.clock.woken = False
            self.pacer.turn_once()

    async def settle(self) -> None:
        """Let encoder and control loop do all that can be done by now."""
        for _ in range(_ROUNDS):
            self.encoders.work()
            await asyncio.sleep(0)

    # What came of it.

    @property
    def now_frames(self) -> int:
        """How many frames were sent."""
        return len(self.sent)

    @property
    def passed(self) -> list[bool]:
        """Of each frame sent, but for those of silence: whether it is a packet as the source had it."""
        return [pcm is None for packet, pcm in self._frames()]

    @property
    def ended(self) -> dict[str, tuple[EndReason, int]]:
        """Of each track that has ended: why, and how many of its frames were sent."""
        return {
            event.playback: (event.reason, event.frames_sent)
            for event in self.events
            if isinstance(event, TrackEnded)
        }

    def made(self, first: int = 0, end: int | None = None) -> Sound:
        """Return what was encoded for the frames sent, from one number to another; none may have passed."""
        frames = [pcm for _, pcm in self._frames()[first:end]]
        assert frames
        assert all(pcm is not None for pcm in frames), "a packet was passed through"
        return np.concatenate(cast("list[Sound]", frames))

    def heard(self) -> Sound:
        """Return what a listener hears: as long as what was sent, silence at the end included."""
        decoder, pieces = Decoder(), []
        try:
            for packet in self.sent:
                out = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
                assert decoder.decode_float(packet, out) == FRAME_SAMPLES
                pieces.append(out)
        finally:
            decoder.close()
        return np.concatenate(pieces)[LOOKAHEAD_SAMPLES:]

    # How it is done.

    def _frames(self) -> list[tuple[bytes, Sound | None]]:
        return [pair for pair in zip(self.sent, self._inputs, strict=True) if pair[0] is not SILENCE]

    def _take(self, packet: bytes) -> None:
        self.sent.append(packet)
        self._inputs.append(self.take_made(packet))

    async def _carry_out(self, command: Coroutine[Any, Any, _Result]) -> _Result:
        async with asyncio.timeout(_TIMEOUT_S):
            task = asyncio.create_task(command)
            while not task.done():
                self.encoders.work()
                await asyncio.sleep(0)
            result = await task
        await self.settle()
        return result
