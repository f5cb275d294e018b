"""What one call plays, seen from the bot: which tracks are wanted, and how each of them ends.

The worker decides what really happens: a source that replaces another takes over when it is ready, and if it
cannot be played, the other one plays on. So a track here ends when the worker says so, and the main track is
the newest that has not ended, those that wait for their turn not counted.

How another worker goes on with all of it is in `voicepool._calls.relaying`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from voicepool._calls.relaying import Adopted, Relaying, Spawn
from voicepool._playing.options import Gap, PlaySettings, checked_gap, checked_volume
from voicepool._playing.playback import EndReason, Playback, Watcher
from voicepool._playing.suspicion import Suspicion
from voicepool._playing.tidings import Tidings
from voicepool._process.link import Link, TrackEvent
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.errors import (
    SupersededError,
    VoicePoolError,
    WorkerError,
)
from voicepool.events import ConnectionEvent, TrackEnded
from voicepool.ipc import commands
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import CallStats
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.source import AudioSource, Pushed

__all__ = ["Adopted", "Gap", "Player", "Spawn", "checked_gap", "checked_volume"]

_LOGGER: Final = logging.getLogger("voicepool.player")


class Player(Relaying):
    """All that one call plays.

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
    tell
        Takes events for whoever listens.
    now
        The clock, in seconds.
    suspicion
        The pool's; told what is opened and heard where, and says what is refused.

    Attributes
    ----------
    roster
        The playbacks that have not ended.
    line
        To the worker.
    watcher
        Who is told what happens to playbacks, and may begin others.
    """

    def __init__(
        self,
        call: CallId,
        config: PoolConfig,
        *,
        place: str,
        spawn: Spawn,
        tell: Callable[[Iterable[ConnectionEvent]], None] = lambda _events: None,
        now: Callable[[], float] = time.monotonic,
        suspicion: Suspicion | None = None,
    ) -> None:
        self._suspicion = suspicion = Suspicion() if suspicion is None else suspicion
        super().__init__(call, config, place=place, spawn=spawn, now=now, suspicion=suspicion)
        self._tell = tell
        self.watcher: Watcher | None = None
        self._tidings = Tidings(self.roster, tell, now, suspicion)

    @property
    def volume(self) -> float:
        """Linear gain of all that is played now and later."""
        return self._volume

    def use(self, link: Link | None) -> None:
        """Send commands there from now on; None refuses them."""
        self.line.use(link)

    # Playing.

    def begin(
        self,
        source: AudioSource | Pushed,
        settings: PlaySettings | None = None,
        *,
        role: TrackRole = TrackRole.MAIN,
        duck_db: float = 0.0,
        queued: bool = False,
    ) -> Playback:
        """Ask the worker to play. What goes wrong later is the playback's end.

        Parameters
        ----------
        source, settings, role, duck_db
            As for `Playback`.
        queued
            Whether it comes from the queue; then also what goes wrong at once is the playback's end.

        Raises
        ------
        CallGoneError
            The call has ended.
        SourceRefusedError
            It is given as bytes, and more of them than ``max_source_bytes``.
        SourceQuarantinedError
            Workers have died of it.
        StreamClosedError
            It is pushed, and was played before.
        WorkerError
            The worker cannot be reached.
        """
        settings = settings if settings is not None else PlaySettings()
        playback = Playback(source, settings, role=role, duck_db=duck_db, queued=queued)
        failure: VoicePoolError | None = None
        resolves = getattr(source, "needs_resolving", False)
        try:
            self.line.check(source)
            if not resolves and self._may_send(playback):
                # What is held now does not hold a new main track; see `Roster.add`.
                playback.paused = self.roster.holds and role is not TrackRole.MAIN
                self._send(playback)
        except VoicePoolError as error:
            if not queued:
                raise
            failure = error
        found_late = self.roster.add(playback)
        for older in found_late:
            self._end(older, EndReason.REPLACED)
        if failure is not None:
            self._watch(playback, self._fail(playback, failure))
        elif resolves:
            playback.resolving = self._watch(playback, self._resolve(playback))
        elif playback.request is not None:
            self._watch(playback, self._await_opening(playback, playback.request))
        self._end_overtaken()
        return playback

    async def stop(self, fade_out_s: float = 0.0) -> None:
        """End what plays and what is being opened. A call that ends meanwhile has stopped too.

        Raises
        ------
        WorkerError
            The worker does not answer.
        """
        await self._stop(list(self.roster.playbacks), None, fade_out_s)

    async def stop_one(self, playback: Playback, fade_out_s: float = 0.0) -> None:
        """End one playback; without effect if it has ended.

        Raises
        ------
        WorkerError
            The worker does not answer.
        """
        await self._stop([] if playback.over.is_set() else [playback], playback.ident, fade_out_s)

    def cancel(
        self, playback: Playback, error: VoicePoolError | None = None, *, quietly: bool = False
    ) -> None:
        """End a playback that the worker does not know to be over, without waiting for it.

        Parameters
        ----------
        playback
            Which.
        error
            What went wrong, if something did.
        quietly
            Tell nobody: it was opened ahead, and is not needed.
        """
        if playback.over.is_set():
            return
        was_sent = playback.request is not None
        reason = EndReason.STOPPED if error is None else _reason_of(error)
        self._end(playback, reason, error, quietly=quietly)
        if was_sent and self.line.up:
            # Not waited for: who is cancelled has no time, and whatever follows comes after it anyway.
            try:
                self.line.stop(playback.ident).abandon()
            except WorkerError as failure:
                _LOGGER.warning(
                    "%s: cannot stop %s: %s",
                    self.line.place,
                    playback.source.label,
                    failure,
                    extra=about(place=self.line.place),
                )

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
        if self.roster.playbacks and not self.line.away:
            self.line.set_volume(volume)

    def set_encoding(self, encoding: commands.Encoding) -> None:
        """Encode like this from now on.

        Raises
        ------
        WorkerError
            The worker cannot be reached.
        """
        self._encoding = encoding
        if self.line.up:
            self.line.set_encoding(encoding)

    # What the worker says.

    def on_track_event(self, event: TrackEvent) -> None:
        """Take news of a playback."""
        playback = self._tidings.playback_of(event)
        if playback is None:
            return
        was_started = playback.started
        ended = self._tidings.take(event, playback)
        if ended is not None:
            self._end(playback, ended.reason, ended.error)
            return
        if playback.started and not was_started:
            self._on_started(playback)
        if playback is self._front and playback.present.is_set():
            self._let_follow()

    def on_stats(self, stats: CallStats) -> None:
        """Take the figures of the call."""
        self._tidings.report(stats)
        if self.watcher is not None:
            self.watcher.on_report()

    def end_all(self, error: VoicePoolError | None) -> None:
        """End everything: as if stopped, or with an error. Later commands are refused."""
        self.line.use(None)
        # Nobody is to begin anything on a call that has ended.
        if self.watcher is not None:
            self.watcher.halt()
            self.watcher = None
        reason = EndReason.STOPPED if error is None else _reason_of(error)
        for playback in self.roster.playbacks:
            self._end(playback, reason, error)

    # How it is done.

    async def _resolve(self, playback: Playback) -> None:
        try:
            assert isinstance(playback.source, AudioSource)
            source = await playback.source.resolve()
            playback.resolving = None
            if playback.over.is_set():
                return
            playback.source = source
            self.line.check(source)
            self._end_overtaken()
            if not self._may_send(playback):
                return
            self._send(playback)
            assert playback.request is not None
        except VoicePoolError as error:
            await self._fail(playback, error)
            return
        await self._await_opening(playback, playback.request)

    def _on_started(self, playback: Playback) -> None:
        self.roster.on_started(playback)
        if self.watcher is not None:
            self.watcher.on_started(playback)

    async def _stop(self, wanted: list[Playback], ident: PlaybackId | None, fade_out_s: float) -> None:
        for playback in wanted:
            if playback.request is None or self.line.away:
                self._end(playback, EndReason.STOPPED)
        left = [playback for playback in wanted if not playback.over.is_set()]
        if not left:
            return
        for playback in left:
            playback.stopping = True
        try:
            done = await self.line.carried_out(self.line.stop(ident, fade_out_s=fade_out_s))
            if done and fade_out_s:
                await self._fade_out(left, fade_out_s)
        except VoicePoolError:
            if not all(playback.over.is_set() for playback in left):
                raise
        for playback in left:
            self._end(playback, EndReason.STOPPED)

    async def _fade_out(self, playbacks: list[Playback], fade_out_s: float) -> None:
        try:
            async with asyncio.timeout(fade_out_s + self.line.config.command_timeout_s):
                for playback in playbacks:
                    await playback.over.wait()
        except TimeoutError:
            _LOGGER.warning(
                "%s: what was faded out has not ended in time",
                self.line.place,
                extra=about(place=self.line.place),
            )

    def _hold(self, *, paused: bool) -> None:
        if self.roster.playbacks:
            if not self.line.away:
                self.line.hold(paused=paused)
            self.roster.hold(paused=paused)

    def _end(
        self,
        playback: Playback,
        reason: EndReason,
        error: VoicePoolError | None = None,
        *,
        quietly: bool = False,
    ) -> None:
        if playback.over.is_set():
            return
        playback.end(reason, error, self.now())
        self._suspicion.on_ended(playback.ident, finished=reason is EndReason.FINISHED)
        may_release = self.roster.holds and playback.role is TrackRole.MAIN and not playback.paused
        track = self.roster.remove(playback)
        self._let_go(playback, error)
        if may_release and self.roster.held and self.line.up:
            # It may be ready all the same, which nobody here would learn. One that is stuck will be lost.
            with contextlib.suppress(WorkerError):
                self.line.hold(paused=True)
        if error is not None and not playback.watchers:
            text = "%s: cannot play %s: %s: %s"
            _LOGGER.warning(
                text,
                self.line.place,
                playback.source.label,
                type(error).__name__,
                error,
                extra=about(place=self.line.place),
            )
        if not quietly:
            self._tell([TrackEnded(track, reason, error)])
        if self.watcher is not None:
            self.watcher.on_ended(playback)
        if playback is self._front:
            self._let_follow()
        # Only now: whoever watches may have begun another.
        self.roster.settle()

    @staticmethod
    def _let_go(playback: Playback, error: VoicePoolError | None) -> None:
        if playback.request is not None:
            # Whoever waits for it to open learns that it is over.
            playback.request.fail(SupersededError("the playback has ended"))
        if playback.sent and (detach := getattr(playback.source, "detach", None)) is not None:
            detach(error)
        if playback.resolving is not None and playback.resolving is not asyncio.current_task():
            playback.resolving.cancel()


def _reason_of(error: VoicePoolError) -> EndReason:
    return EndReason.WORKER_LOST if isinstance(error, WorkerError) else EndReason.FAILED
