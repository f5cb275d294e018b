"""A worker that answers by script: inside the test's own loop, or as a process of its own.

`ScriptedWorker` speaks the real wire over a real socket; a test sees each command and decides the answers.
`InProcess` is a launcher that runs it in the test's loop. As a program (``worker.py MODE``) it is a real
process for what only processes can do: be slow, die, refuse to leave. It shares no code with the workers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import zmq.asyncio

from voicepool.ipc.channel import WorkerEnd
from voicepool.ipc.commands import (
    AlignTracks,
    ChangeTrack,
    CloseCall,
    Command,
    OpenCall,
    Ping,
    Play,
    PrepareCall,
    ReleaseCall,
    ReportStats,
    Seek,
    ServerGone,
    Setup,
    Shutdown,
    Skip,
    Stop,
    TrackRole,
    Verify,
)
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import (
    Bye,
    CallOpened,
    CallReleased,
    CallRestored,
    CallStats,
    Done,
    EndReason,
    Event,
    Failed,
    Hello,
    MediaInfo,
    Ready,
    ServerWanted,
    StartFailed,
    Stats,
    TrackEnded,
    TrackFigures,
    TrackPlace,
    TrackReady,
    TrackStarted,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.ipc.version import WIRE_VERSION

__all__ = ["INFO", "InProcess", "ScriptedWorker", "TaskProcess", "command_line"]

INFO: Final = MediaInfo(codec="pcm_s16le", container="wav", sample_rate_hz=48_000, channels=2)
NO_SUCH_TRACK: Final = ErrorInfo(code=ErrorCode.NO_SUCH_TRACK, text="there is no such track")
_READY: Final = Ready(libopus="libopus 9.9", libopus_origin="system", loop="asyncio", encoder_class="idle")

_CommandT = TypeVar("_CommandT")


class ScriptedWorker:
    """One worker's end of the wire.

    Parameters
    ----------
    bootstrap
        From the bot.
    obeys_shutdown
        Whether it leaves when asked.
    """

    def __init__(self, bootstrap: Bootstrap, *, obeys_shutdown: bool = True) -> None:
        self.bootstrap = bootstrap
        self.setup: Setup | None = None
        self.commands: list[Command] = []
        self.attachments: list[list[bytes]] = []
        self.open_calls: dict[CallId, int] = {}
        self.playing: dict[CallId, PlaybackId] = {}
        """The main track of each call."""
        self.waiting: dict[CallId, PlaybackId] = {}
        """The one that is to follow it."""
        self.overlays: dict[CallId, list[PlaybackId]] = {}
        self.info = INFO
        """Of every source."""
        self.position_s = 1.0
        """Where all tracks are."""
        self.prepared: dict[CallId, list[Play]] = {}
        """What is not heard yet, of calls that are up at another worker."""
        self.places: dict[CallId, list[TrackPlace]] = {}
        """Where tracks are to go on, as was told last."""
        self.serverless: set[CallId] = set()
        """Calls whose voice server is gone."""
        self.silent_about: set[type] = set()
        """Commands of these types are not answered."""
        self.refusals: dict[type, ErrorInfo] = {}
        """Commands of these types fail with this."""
        self.cpu_s = 0.0
        self.uptime_s = 0.0
        self._obeys_shutdown = obeys_shutdown
        self._context = zmq.asyncio.Context()
        self._link = WorkerEnd(self._context, bootstrap.address, curve=bootstrap.curve)
        self._heard = asyncio.Condition()

    async def greet(self, *, token: str | None = None, version: int = WIRE_VERSION) -> None:
        """Say Hello and wait for the Setup."""
        self.say(
            Hello(
                wire_version=version,
                worker=self.bootstrap.worker,
                start_token=self.bootstrap.start_token if token is None else token,
                pid=os.getpid(),
            )
        )
        command, _ = await self._link.receive()
        assert isinstance(command, Setup)
        self.setup = command

    async def serve(self) -> None:
        """Say Ready and answer until told to leave."""
        self.say(_READY)
        while True:
            command, attachments = await self._link.receive()
            async with self._heard:
                self.commands.append(command)
                self.attachments.append(attachments)
                self._answer(command)
                self._heard.notify_all()
            if isinstance(command, Shutdown) and self._obeys_shutdown:
                self.say(Bye())
                return

    async def close(self) -> None:
        """Deliver what was said, and hang up."""
        await self._link.flush()
        await self._link.close(linger_ms=1_000)
        self._context.term()

    def abandon(self) -> None:
        """Hang up as a killed process does."""
        self._context.destroy(linger=0)

    def say(self, event: Event) -> None:
        """Send an event."""
        self._link.post(event)

    async def send_raw(self, frame: bytes) -> None:
        """Send bytes that are no message."""
        self._link._socket.send_multipart([frame])

    def heard(self, kind: type[_CommandT]) -> list[_CommandT]:
        """The commands of a kind, in order."""
        return [command for command in self.commands if isinstance(command, kind)]

    async def hear(self, kind: type[_CommandT], count: int = 1) -> list[_CommandT]:
        """Wait until so many commands of a kind have come."""
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.heard(kind)) >= count)
        return self.heard(kind)

    def finish(
        self, call: CallId, reason: EndReason = EndReason.FINISHED, error: ErrorInfo | None = None
    ) -> None:
        """End the main track of a call; what waits follows it."""
        self.end(call, self.playing.pop(call), reason, error)
        self.go_on(call)

    def end(
        self, call: CallId, playback: PlaybackId, reason: EndReason, error: ErrorInfo | None = None
    ) -> None:
        """Say that a track is over."""
        self.say(TrackEnded(call=call, playback=playback, reason=reason, frames_sent=50, error=error))

    def go_on(self, call: CallId) -> None:
        """Have the track that waits take the main place."""
        if call in self.waiting:
            self.playing[call] = self.waiting.pop(call)
            self.say(TrackStarted(call=call, playback=self.playing[call]))

    def restore(self, call: CallId, *, gap_ms: float = 40.0) -> None:
        """Say that sound can be sent again in a call."""
        generation = self.open_calls[call]
        self.say(
            CallRestored(
                call=call,
                generation=generation,
                gap_ms=gap_ms,
                resumed=False,
                mode="aead_aes256_gcm_rtpsize",
                ssrc=1000 + generation,
            )
        )

    def stats(self, **more: Any) -> Stats:
        """Figures as a worker would report them now."""
        fields: dict[str, Any] = {
            "worker": self.bootstrap.worker,
            "cpu_s": self.cpu_s,
            "uptime_s": self.uptime_s,
            "rss_bytes": 1 << 20,
            "frames_sent": 100,
            "frames_nulled": 1,
            "ticks_skipped": 2,
            "lateness_counts": [0, 90, 10],
            "lateness_max_us": 2,
            "encoder_class": "idle",
            "calls": [
                CallStats(
                    call=call,
                    frames_sent=50,
                    tracks=[
                        TrackFigures(playback=playback, position_s=self.position_s)
                        for playback in (self.playing.get(call), *self.overlays.get(call, []))
                        if playback is not None
                    ],
                )
                for call in self.open_calls
            ],
        }
        return Stats(**(fields | more))

    def _answer(self, command: Command) -> None:  # noqa: C901, PLR0912, PLR0915  # one case a command
        if type(command) in self.silent_about:
            return
        refusal = self.refusals.get(type(command))
        if refusal is not None:
            self.say(Failed(request=command.request, error=refusal))  # type: ignore[union-attr]
            return
        match command:
            case Ping():
                self.say(Done(request=command.request))
            case PrepareCall():
                self.prepared[command.call] = []
                self.say(Done(request=command.request))
            case AlignTracks():
                self.places[command.call] = command.places
                self.say(Done(request=command.request))
            case ReleaseCall():
                self._release(command)
            case OpenCall():
                self.open_calls[command.call] = command.generation
                self.say(
                    CallOpened(
                        request=command.request,
                        call=command.call,
                        generation=command.generation,
                        mode="aead_aes256_gcm_rtpsize",
                        ssrc=1000 + command.generation,
                    )
                )
                if command.call in self.serverless:
                    self.serverless.discard(command.call)
                    self.restore(command.call)
                for play in self.prepared.pop(command.call, []):
                    self._begin(play)
            case ServerGone():
                if command.call not in self.serverless:
                    self.serverless.add(command.call)
                    self.say(ServerWanted(call=command.call, generation=command.generation, rejoin=False))
            case CloseCall():
                self._stop(command.call, None)
                self.open_calls.pop(command.call, None)
                self.prepared.pop(command.call, None)
                self.say(Done(request=command.request))
            case Play():
                self.say(
                    TrackReady(
                        request=command.request, call=command.call, playback=command.playback, info=self.info
                    )
                )
                if command.call in self.prepared:
                    self.prepared[command.call].append(command)
                else:
                    self._begin(command)
            case Stop() if command.call in self.prepared:
                kept = [
                    play
                    for play in self.prepared[command.call]
                    if command.playback not in {None, play.playback}
                ]
                self.prepared[command.call] = kept
                self.say(Done(request=command.request))
            case Stop():
                self._stop(command.call, command.playback)
                self.say(Done(request=command.request))
            case Skip() if command.call not in self.waiting:
                self.say(Failed(request=command.request, error=NO_SUCH_TRACK))
            case Skip():
                if self.playing.get(command.call) == command.playback:
                    self.end(command.call, self.playing.pop(command.call), EndReason.REPLACED)
                    self.go_on(command.call)
                self.say(Done(request=command.request))
            case Seek() | ChangeTrack():
                there = {self.playing.get(command.call), self.waiting.get(command.call)}
                if command.playback in there | set(self.overlays.get(command.call, [])):
                    self.say(Done(request=command.request))
                else:
                    self.say(Failed(request=command.request, error=NO_SUCH_TRACK))
            case Verify():
                self.say(VerificationCode(request=command.request, code=f"{command.user:045d}"))
            case ReportStats():
                self.say(self.stats(request=command.request))
            case _:
                pass

    def _release(self, command: ReleaseCall) -> None:
        call = command.call
        there = [self.playing.pop(call, None), self.waiting.pop(call, None), *self.overlays.pop(call, [])]
        self.open_calls.pop(call, None)
        self.say(
            CallReleased(
                request=command.request,
                call=call,
                places=[
                    TrackPlace(playback=each, position_s=self.position_s)
                    for each in there
                    if each is not None
                ],
            )
        )

    def _begin(self, command: Play) -> None:
        call, playback = command.call, command.playback
        if command.role is TrackRole.NEXT:
            if call in self.waiting:
                self.end(call, self.waiting.pop(call), EndReason.REPLACED)
            self.waiting[call] = playback
            if call not in self.playing:
                self.go_on(call)
            return
        if command.role is TrackRole.OVERLAY:
            self.overlays.setdefault(call, []).append(playback)
        else:
            if call in self.playing:
                self.end(call, self.playing.pop(call), EndReason.REPLACED)
            self.playing[call] = playback
        options = command.options
        place_s = options.start_s if options.position_s is None else options.position_s
        for place in self.places.get(call, []):
            place_s = place.position_s if place.playback == playback else place_s
        self.say(TrackStarted(call=call, playback=playback, position_s=place_s))

    def _stop(self, call: CallId, wanted: PlaybackId | None) -> None:
        for places in (self.waiting, self.playing):
            if call in places and wanted in {None, places[call]}:
                self.end(call, places.pop(call), EndReason.STOPPED)
                if wanted is not None and places is self.playing:
                    self.go_on(call)
        for playback in [each for each in self.overlays.get(call, []) if wanted in {None, each}]:
            self.overlays[call].remove(playback)
            self.end(call, playback, EndReason.STOPPED)


class TaskProcess:
    """A scripted worker in the test's loop, as `LaunchedProcess`."""

    def __init__(self, worker: ScriptedWorker, script: Callable[[ScriptedWorker], Any]) -> None:
        self._worker = worker
        self._status = 0
        self._killed = asyncio.Event()
        self._script = asyncio.create_task(script(worker), name="scripted worker")
        self.pid = os.getpid()
        self.last_lines: Sequence[str] = ("scripted",)
        self.signals: list[str] = []

    async def wait(self) -> int:
        killed = asyncio.create_task(self._killed.wait())
        await asyncio.wait({self._script, killed}, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        if self._script.done():
            await self._worker.close()
            self._script.result()
        else:
            self._script.cancel()
            await asyncio.wait({self._script})
            await self._worker._link.close()
            self._worker.abandon()
        return self._status

    def say_goodbye(self) -> None:
        self.signals.append("goodbye")

    def terminate(self) -> None:
        self._end("terminate", -signal.SIGTERM)

    def kill(self) -> None:
        self._end("kill", -9)

    def _end(self, name: str, status: int) -> None:
        if not self._script.done() and not self._killed.is_set():
            self.signals.append(name)
            self._status = status
            self._killed.set()


async def _behave(worker: ScriptedWorker) -> None:
    await worker.greet()
    await worker.serve()


class InProcess:
    """A launcher of scripted workers in the test's loop.

    Parameters
    ----------
    script
        What each worker does.
    """

    def __init__(self, script: Callable[[ScriptedWorker], Any] = _behave) -> None:
        self.script = script
        self.workers: list[ScriptedWorker] = []
        self.processes: list[TaskProcess] = []

    async def launch(self, bootstrap: Bootstrap) -> TaskProcess:
        worker = ScriptedWorker(bootstrap)
        process = TaskProcess(worker, self.script)
        self.workers.append(worker)
        self.processes.append(process)
        return process


def command_line(mode: str) -> tuple[str, ...]:
    """How to run this file as a process."""
    return (sys.executable, "-m", "tests.fakes.worker", mode)


async def _run(mode: str, bootstrap: Bootstrap) -> int:
    worker = ScriptedWorker(bootstrap, obeys_shutdown=mode not in {"stubborn", "immortal"})
    try:
        if mode == "old":
            await worker.greet(version=WIRE_VERSION + 1)
        await worker.greet()
        if mode == "dies-after-hello":
            return 7
        if mode in {"fails", "no-libopus"}:
            code = ErrorCode.LIBOPUS_MISSING if mode == "no-libopus" else ErrorCode.INTERNAL
            worker.say(StartFailed(error=ErrorInfo(code=code, text="there is no sound in this machine")))
            return 1
        if mode == "mute-after-hello":
            await asyncio.Event().wait()
        await worker.serve()
    finally:
        await worker.close()
    return 0


def main() -> None:
    """Be a worker process in one of the modes above, or ``silent``, ``dies``, ``chatty``."""
    mode = sys.argv[1]
    if mode.startswith("immortal"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = sys.stdin.readline()
    if mode == "dies":
        sys.stderr.write("first line\nlast line of a dying worker\n")
        sys.exit(3)
    if mode == "chatty":
        sys.stderr.write("".join(f"line {number} {'x' * 1000}\n" for number in range(2_000)))
    if mode == "immortal-and-silent":
        threading.Event().wait()
    if mode == "silent":
        _wait_for_the_end_of_the_bot()
        return
    if mode not in {"stubborn", "immortal"}:

        def leave_with_the_bot() -> None:
            _wait_for_the_end_of_the_bot()
            os._exit(0)

        threading.Thread(target=leave_with_the_bot, daemon=True).start()
    code = asyncio.run(_run(mode, Bootstrap.from_line(line.encode())))
    sys.stderr.flush()
    os._exit(code)


def _wait_for_the_end_of_the_bot() -> None:
    while os.read(0, 4_096):
        pass


if __name__ == "__main__":
    main()
