"""What one call plays, seen from the bot: which playbacks are wanted, and how each of them ends.

The worker decides what really happens: a source that replaces another takes over when it is ready, and if it
cannot be played, the other one plays on. So a playback here ends when the worker says so, and what counts as
current is the newest that has not ended.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine
from typing import Final, Literal, Protocol

from voicepool._link import Link, Request, fresh_copy
from voicepool.config import PoolConfig
from voicepool.errors import (
    CallGoneError,
    InternalError,
    SourceRefusedError,
    SupersededError,
    VoicePoolError,
    WorkerError,
    from_info,
)
from voicepool.ipc.commands import Pause, Play, Resume, SetVolume, Stop
from voicepool.ipc.events import CallStats, Done, EndReason, MediaInfo, TrackEnded, TrackStarted
from voicepool.ipc.ids import CallId, PlaybackId, new_playback_id
from voicepool.source import AudioFile

__all__ = ["Gap", "Playback", "Player", "Spawn", "checked_gap", "checked_volume"]

_LOGGER: Final = logging.getLogger("voicepool.player")

ANSWER_MARGIN_S: Final = 5.0
"""How much longer than the worker's own limit an answer is waited for; the worker's error says more."""
FRAME_S: Final = 0.02

Gap = Literal["continue", "skip"]
"""What follows a time in which the call could not send; see `voicepool.ipc.commands.Play`."""
_GAPS: Final[dict[object, Gap]] = {"continue": "continue", "skip": "skip"}


def checked_gap(on_gap: object) -> Gap:
    """Return what is to follow a gap.

    Raises
    ------
    ValueError
        It is another word, or none.
    """
    gap = _GAPS.get(on_gap) if isinstance(on_gap, str) else None
    if gap is None:
        raise ValueError(f"on_gap must be {' or '.join(map(repr, _GAPS))}; it is {on_gap!r}")
    return gap


def checked_volume(volume: object) -> float:
    """Return a linear gain as a float.

    Raises
    ------
    ValueError
        It is negative, infinite, NaN or no number.
    """
    if isinstance(volume, bool) or not isinstance(volume, int | float):
        raise ValueError(f"volume must be a number, not {type(volume).__name__}")  # noqa: TRY004 - one type for all
    if not math.isfinite(volume) or volume < 0:
        raise ValueError(f"volume must be a finite number, 0 or more; it is {volume}")
    return float(volume)


class Spawn(Protocol):
    """Starts a task."""

    def __call__(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Start one."""


class Playback:
    """One ``play``, from the wish to the end.

    Attributes
    ----------
    ident
        Its name on the wire.
    audio
        What is played.
    paused
        Whether it is held.
    info
        What the source says of itself; None while it is being opened.
    position_frames
        Where in the source it is, in frames of 20 ms, as of the last report.
    """

    def __init__(self, audio: AudioFile, request: Request[TrackStarted], ident: PlaybackId) -> None:
        self.ident: Final = ident
        self.audio: Final = audio
        self.request: Final = request
        self.paused = False
        self.info: MediaInfo | None = None
        self.position_frames = 0
        self.over = asyncio.Event()
        self.error: VoicePoolError | None = None
        """Why it failed; None if it has not ended, or ended otherwise."""


class Player:
    """All playbacks of one call.

    Parameters
    ----------
    call
        Whose.
    config
        The pool's.
    place
        Where it plays, for log lines: ``guild 1234``.
    spawn
        Starts a task that someone else sees to the end of.
    """

    def __init__(self, call: CallId, config: PoolConfig, *, place: str, spawn: Spawn) -> None:
        self._call = call
        self._config = config
        self._place = place
        self._spawn = spawn
        self._link: Link | None = None
        self._volume = 1.0
        self._active: dict[PlaybackId, Playback] = {}
        self._silent = asyncio.Event()
        self._silent.set()

    @property
    def current(self) -> Playback | None:
        """The newest playback that has not ended."""
        return next(reversed(self._active.values()), None)

    @property
    def volume(self) -> float:
        """Linear gain of this and all later playbacks."""
        return self._volume

    @property
    def position_s(self) -> float:
        """Where in the current source the last report saw it, in seconds; 0.0 without one."""
        return self.current.position_frames * FRAME_S if self.current is not None else 0.0

    def use(self, link: Link | None) -> None:
        """Send commands there from now on; None refuses them."""
        self._link = link

    # Playing.

    def begin(self, audio: AudioFile, *, on_gap: Gap = "continue") -> Playback:
        """Ask the worker to play. The caller then awaits `run`, or gives it to `run_detached`.

        Raises
        ------
        CallGoneError
            The call has ended.
        SourceRefusedError
            It is given as bytes, and more of them than ``max_source_bytes``.
        WorkerError
            The worker cannot be reached.
        """
        link = self._require_link()
        if audio.size_bytes > self._config.max_source_bytes:
            raise SourceRefusedError(
                f"{audio.label} are more than max_source_bytes = {self._config.max_source_bytes} allows; "
                "raise it, or pass a path or URL",
                size_bytes=audio.size_bytes,
            )
        ident = new_playback_id()
        source, attachments = audio.to_wire()
        request = link.request(
            lambda number: Play(
                request=number,
                call=self._call,
                playback=ident,
                source=source,
                volume=self._volume,
                on_gap=on_gap,
            ),
            TrackStarted,
            timeout_s=self._config.source_open_timeout_s + ANSWER_MARGIN_S,
            attachments=attachments,
        )
        playback = Playback(audio, request, ident)
        self._active[ident] = playback
        self._silent.clear()
        return playback

    async def run(self, playback: Playback) -> None:
        """Wait until a playback has ended. When cancelled, stop it.

        Raises
        ------
        VoicePoolError
            It could not be played, or broke off.
        """
        try:
            await self._open(playback)
            await playback.over.wait()
        except asyncio.CancelledError:
            self._cancel(playback)
            raise
        if playback.error is not None:
            raise fresh_copy(playback.error)

    def run_detached(self, playback: Playback) -> asyncio.Task[None]:
        """Let a task wait for the end of a playback; cancelling the task stops it.

        A failure is logged once, as one line, whether or not anyone awaits the task.
        """
        task = self._spawn(self.run(playback), name="play")

        def on_done(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before its first step never enters `run`.
            self._cancel(playback)
            # Asking for the exception is what keeps asyncio from logging it a second time.
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOGGER.warning(
                    "%s: cannot play %s: %s: %s",
                    self._place,
                    playback.audio.label,
                    type(error).__name__,
                    error,
                )

        task.add_done_callback(on_done)
        return task

    async def stop(self) -> None:
        """End what plays and what is being opened. A call that ends meanwhile has stopped too.

        Raises
        ------
        WorkerError
            The worker does not answer.
        """
        wanted = list(self._active.values())
        if not wanted:
            return
        request = self._require_link().request(
            lambda number: Stop(request=number, call=self._call),
            Done,
            timeout_s=self._config.command_timeout_s,
        )
        try:
            await request.answer()
        except VoicePoolError:
            if not all(playback.over.is_set() for playback in wanted):
                raise
        for playback in wanted:
            self._end(playback)

    def pause(self) -> None:
        """Hold what plays; without effect when nothing does.

        Raises
        ------
        WorkerError
            The worker cannot be reached.
        """
        self._hold(paused=True)

    def resume(self) -> None:
        """Go on with what is held; without effect when nothing is.

        Raises
        ------
        WorkerError
            The worker cannot be reached.
        """
        self._hold(paused=False)

    def set_volume(self, volume: float) -> None:
        """Use another linear gain, which `checked_volume` has seen, from now on.

        Raises
        ------
        WorkerError
            The worker cannot be reached.
        """
        self._volume = volume
        if self._active:
            self._require_link().post(SetVolume(call=self._call, volume=volume))

    async def wait_for_stopped(self) -> None:
        """Wait until nothing plays and nothing is being opened."""
        await self._silent.wait()

    # What the worker says.

    def on_track_ended(self, event: TrackEnded) -> None:
        """Take the end of a playback."""
        playback = self._active.get(event.playback)
        if playback is None:
            return
        if event.reason is not EndReason.FAILED:
            self._end(playback)
        elif event.error is not None:
            self._end(playback, from_info(event.error))
        else:
            self._end(playback, InternalError(f"{playback.audio.label} broke off for no reason given"))

    def on_stats(self, stats: CallStats) -> None:
        """Take the figures of the call."""
        if stats.playback is not None and (playback := self._active.get(stats.playback)) is not None:
            playback.position_frames = stats.position_frames

    def end_all(self, error: VoicePoolError | None) -> None:
        """End everything: as if stopped, or with an error. Later commands are refused."""
        self._link = None
        for playback in list(self._active.values()):
            self._end(playback, error)

    # How it is done.

    async def _open(self, playback: Playback) -> None:
        try:
            started = await playback.request.answer()
        except SupersededError:
            # A newer play or stop overtook it, which is a normal end.
            self._end(playback)
        except WorkerError as error:
            self._cancel(playback, error)
        except VoicePoolError as error:
            self._end(playback, error)
        else:
            playback.info = started.info

    def _hold(self, *, paused: bool) -> None:
        if not self._active:
            return
        self._require_link().post(Pause(call=self._call) if paused else Resume(call=self._call))
        for playback in self._active.values():
            playback.paused = paused

    def _cancel(self, playback: Playback, error: VoicePoolError | None = None) -> None:
        """End a playback that the worker does not know to be over."""
        if playback.over.is_set():
            return
        self._end(playback, error)
        if self._link is not None and self._link.lost is None:
            # Not waited for: who is cancelled has no time, and whatever follows comes after it anyway.
            try:
                self._link.request(
                    lambda number: Stop(request=number, call=self._call, playback=playback.ident),
                    Done,
                    timeout_s=self._config.command_timeout_s,
                ).abandon()
            except WorkerError as failure:
                _LOGGER.warning("%s: cannot stop %s: %s", self._place, playback.audio.label, failure)

    def _end(self, playback: Playback, error: VoicePoolError | None = None) -> None:
        if playback.over.is_set():
            return
        playback.error = error
        playback.over.set()
        # Whoever waits for it to open learns that it is over.
        playback.request.fail(SupersededError("the playback has ended"))
        del self._active[playback.ident]
        if not self._active:
            self._silent.set()

    def _require_link(self) -> Link:
        if self._link is None:
            raise CallGoneError(f"the connection in {self._place} has ended; connect again")
        return self._link
