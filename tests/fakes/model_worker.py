"""What a worker does with the tracks of one call, as a model: no sound, no time, and each step on its own.

Commands wait in ``inbox`` until the test lets one be read, events wait in ``outbox`` until the test hands one
over, and sources open when the test says so. Between any two of these anything may happen on either side.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from voicepool.ipc.commands import (
    ChangeTrack,
    Encoding,
    Pause,
    Play,
    Resume,
    Seek,
    SetEncoding,
    SetVolume,
    Skip,
    Stop,
    TrackRole,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import (
    Done,
    EndReason,
    Event,
    Failed,
    MediaInfo,
    TrackEnded,
    TrackReady,
    TrackStarted,
)
from voicepool.ipc.ids import PlaybackId

__all__ = ["ModelWorker"]

INFO: Final = MediaInfo(
    codec="flac", container="flac", sample_rate_hz=48_000, channels=2, duration_s=100.0, title="a song"
)
SUPERSEDED: Final = ErrorInfo(code=ErrorCode.SUPERSEDED, text="a newer command came first")
NOT_FOUND: Final = ErrorInfo(code=ErrorCode.SOURCE_NOT_FOUND, text="no such file")
NO_SUCH_TRACK: Final = ErrorInfo(code=ErrorCode.NO_SUCH_TRACK, text="it does not play")


class ModelWorker:
    """Satisfies what a `voicepool._process.link.Link` uses of the bot's end."""

    def __init__(self) -> None:
        self.inbox: deque[Any] = deque()
        self.outbox: deque[Event] = deque()
        self.read: list[Any] = []
        """All commands that were read."""
        self.openings: dict[PlaybackId, Play] = {}
        self.main: Play | None = None
        self.waiting: Play | None = None
        self.overlays: dict[PlaybackId, Play] = {}
        self.started: list[Play] = []
        """Whatever was heard, in order."""
        self.obeyed: list[Seek | ChangeTrack] = []
        """Those of the commands read that concerned a track which is there."""
        self.paused = False
        self.volume = 1.0
        self.encoding: Encoding | None = None
        self._start_paused = False

    def post(self, message: Any, attachments: Any = (), *, lossy: bool = False) -> None:
        self.inbox.append(message)

    @property
    def there(self) -> set[PlaybackId]:
        """All that is played, waits or is being opened."""
        played = [each.playback for each in (self.main, self.waiting) if each is not None]
        return {*played, *self.openings, *self.overlays}

    # Steps.

    def read_one(self) -> None:  # noqa: C901, PLR0912 - one case a command
        """Carry out the oldest command."""
        command = self.inbox.popleft()
        self.read.append(command)
        match command:
            case Pause() | Resume():
                self.paused = self._start_paused = isinstance(command, Pause)
            case SetVolume():
                self.volume = command.volume
            case SetEncoding():
                self.encoding = command.encoding
            case Play():
                if not self.there:
                    self.paused = command.paused
                if command.role is TrackRole.MAIN:
                    self._start_paused = command.paused
                    self.volume = command.volume
                for other in list(self.openings.values()):
                    if other.role is command.role is not TrackRole.OVERLAY:
                        self._give_up(other)
                self.openings[command.playback] = command
            case Stop():
                self._stop(command)
            case Skip() if self.waiting is None:
                self.say(Failed(request=command.request, error=NO_SUCH_TRACK))
            case Skip():
                if self.main is not None and self.main.playback == command.playback:
                    self.end_main(EndReason.REPLACED)
                self.say(Done(request=command.request))
            case Seek() | ChangeTrack():
                played = {each.playback for each in (self.main, self.waiting) if each is not None}
                if command.playback in played | set(self.overlays):
                    self.obeyed.append(command)
                    self.say(Done(request=command.request))
                else:
                    self.say(Failed(request=command.request, error=NO_SUCH_TRACK))

    def open_one(
        self, playback: PlaybackId, *, error: ErrorInfo | None = None, info: MediaInfo = INFO
    ) -> None:
        """Let a source be open, or fail."""
        play = self.openings.pop(playback)
        if error is not None:
            self.say(Failed(request=play.request, error=error))
            return
        self.say(TrackReady(request=play.request, call=play.call, playback=playback, info=info))
        if play.role is TrackRole.OVERLAY:
            self.overlays[playback] = play
            self._start(play)
        elif play.role is TrackRole.MAIN:
            before, self.main = self.main, play
            self.paused = self._start_paused
            if before is not None:
                self._end(before, EndReason.REPLACED)
            self._start(play)
        else:
            before, self.waiting = self.waiting, play
            if before is not None:
                self._end(before, EndReason.REPLACED)
            if self.main is None:
                self._go_on()

    def end_main(
        self, reason: EndReason = EndReason.FINISHED, error: ErrorInfo | None = None, *, crossed: bool = False
    ) -> None:
        """End the main track; what waits follows, first of both if they are crossed."""
        before, self.main = self.main, None
        assert before is not None
        if crossed:
            self._go_on()
        self._end(before, reason, error)
        if not crossed:
            self._go_on()

    def say(self, event: Event) -> None:
        self.outbox.append(event)

    # How it is done.

    def _stop(self, command: Stop) -> None:
        wanted = command.playback
        for opening in [each for each in self.openings.values() if wanted in {None, each.playback}]:
            self._give_up(opening)
        if self.waiting is not None and wanted in {None, self.waiting.playback}:
            waiting, self.waiting = self.waiting, None
            self._end(waiting, EndReason.STOPPED)
        for overlay in [each for each in self.overlays.values() if wanted in {None, each.playback}]:
            del self.overlays[overlay.playback]
            self._end(overlay, EndReason.STOPPED)
        if self.main is not None and wanted in {None, self.main.playback}:
            self.end_main(EndReason.STOPPED)
        self.say(Done(request=command.request))

    def _give_up(self, opening: Play) -> None:
        del self.openings[opening.playback]
        self.say(Failed(request=opening.request, error=SUPERSEDED))

    def _go_on(self) -> None:
        if self.waiting is not None:
            self.main, self.waiting = self.waiting, None
            self._start(self.main)

    def _start(self, play: Play) -> None:
        self.started.append(play)
        options = play.options
        place_s = options.start_s if options.position_s is None else options.position_s
        self.say(TrackStarted(call=play.call, playback=play.playback, position_s=place_s))

    def _end(self, play: Play, reason: EndReason, error: ErrorInfo | None = None) -> None:
        self.say(
            TrackEnded(call=play.call, playback=play.playback, reason=reason, frames_sent=1, error=error)
        )
