"""Keeps the worker supplied from a queue: which track is the main one, and which waits to follow it.

The worker goes on by itself from the main track to the one that waits, so what the bot knows is late. Two
rules keep both sides in step whatever crosses on the way:

* What waits is always what the queue says comes next. If that changes, the old one is stopped and forgotten
  at once; should it have begun meanwhile, it is stopped all the same.
* A track that ends or begins counts only if it is the queue's own main one, or the one that waits. Whatever
  else the worker says is about tracks that were given up.

Sources that open in no time wait from when the track before them is heard; others are opened shortly before
their turn, so that the queue holds no connection for an hour. A stream that the bot writes is attached to one
track in its life, so it is sent when its turn has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from voicepool import events
from voicepool._playing.playback import EndReason, Playback
from voicepool._subject_log import about
from voicepool.errors import VoicePoolError, WorkerError
from voicepool.events import ConnectionEvent
from voicepool.ipc.commands import TrackRole
from voicepool.player import Player
from voicepool.queue import QueueChange, TrackQueue
from voicepool.queued import QueuedTrack
from voicepool.source import AudioSource, SourceKind

__all__ = ["MAX_FAILURES", "QueueDriver"]

_LOGGER: Final = logging.getLogger("voicepool.player")

MAX_FAILURES: Final = 10
"""So many in a row, and something else than the tracks is wrong."""
LEAD_S: Final = 20.0
"""How long before its turn a source is opened that may take time."""
_AT_ONCE: Final = {SourceKind.FILE, SourceKind.BYTES, SourceKind.SILENCE}


class QueueDriver:
    """Plays a queue.

    Parameters
    ----------
    queue
        What is to be played. Its changes are to be handed to `on_change`.
    player
        Plays; the driver becomes its watcher.
    tell
        Takes events for whoever listens.
    now
        The clock, in seconds.

    Attributes
    ----------
    stopped
        Whether what is upcoming waits for `start`.
    """

    def __init__(
        self,
        queue: TrackQueue[QueuedTrack],
        player: Player,
        *,
        tell: Callable[[Iterable[ConnectionEvent]], None],
        now: Callable[[], float],
        place: str,
    ) -> None:
        self.stopped = False
        self._queue = queue
        self._player = player
        self._tell = tell
        self._now = now
        self._place = place
        self._crossfade_s = 0.0
        self._main: Playback | None = None
        self._before: Playback | None = None
        """The main one that `_main` is to replace, for the case that it cannot."""
        self._next: Playback | None = None
        self._next_item: QueuedTrack | None = None
        self._not_ahead: QueuedTrack | None = None
        """What could not be opened ahead; it is tried again when its turn has come."""
        self._turning = False
        """Whether a track is being begun, and what is told meanwhile must not begin another."""
        self._displaced = False
        """Whether another main track came in between, after which the queue goes on."""
        self._failures = 0
        player.watcher = self

    @property
    def crossfade_s(self) -> float:
        """How long a track and the one after it are heard together, in seconds."""
        return self._crossfade_s

    @crossfade_s.setter
    def crossfade_s(self, crossfade_s: float) -> None:
        if crossfade_s != self._crossfade_s:
            self._crossfade_s = crossfade_s
            self._forget_next()
            self.refresh()

    @property
    def main(self) -> Playback | None:
        """The queue's own main playback; None while it is idle, or another track has the main place."""
        return self._main

    # What the bot author wants.

    def on_change(self, change: QueueChange) -> None:
        """Follow a change of the queue."""
        if change is not QueueChange.CURRENT:
            self.refresh()

    def refresh(self) -> None:
        """Play what is to be played now, and prepare what follows."""
        if not self._alive or self.stopped or self._turning:
            return
        self._forget_next_unless(self._queue.following)
        if self._main is not None:
            self._prepare()
        elif not self._others_turn() and (
            self._queue.following is not None or self._queue.current is not None
        ):
            # A current one that does not play was stopped.
            self._turn_to(self._queue.advance())

    def start(self) -> None:
        """Go on after `halt`, or after too many failures."""
        if not self.stopped or not self._alive:
            return
        self.stopped = False
        self._failures = 0
        if self._main is None and self._queue.current is not None:
            self._go_on()
        else:
            self.refresh()

    def halt(self) -> None:
        """Begin nothing any more. What plays is the caller's to stop."""
        self.stopped = True
        self._displaced = False
        # It stays upcoming: nobody is to be told that it has ended.
        self._forget_next()
        self._main = self._before = None

    async def skip(self, count: int = 1) -> None:
        """Go on to another track, and return when it can be heard or has failed."""
        if not self._alive or self.stopped:
            self._queue.skip(count)
            return
        await self._change_to(self._queue.skip(count))

    async def back(self) -> None:
        """Play the track before once more."""
        item = self._queue.back()
        if self._alive and not self.stopped and item is not None:
            await self._change_to(item)

    # What the player tells.

    def on_started(self, playback: Playback) -> None:
        """Take note that a track is heard."""
        if playback is self._next:
            # The worker has gone on by itself; that the one before is over comes later, or has come.
            self._queue.advance()
            self._promote()
        if playback is self._main:
            self._before = None
            self._prepare()

    def on_ended(self, playback: Playback) -> None:
        """Take note that a track is over."""
        if playback.queued and playback.reason is EndReason.FINISHED:
            self._failures = 0
        if playback is self._next:
            self._next_ended(playback)
        elif playback is self._main:
            self._main_ended(playback)
        elif not playback.queued and self._main is None and not self._others_turn():
            # Whatever came in between is over.
            if self._displaced:
                self._go_on()
            else:
                self.refresh()

    def on_report(self) -> None:
        """Take note that positions are sure again, so the time of the next one may have come."""
        if self._main is not None:
            self._prepare()

    # How it is done.

    @property
    def _alive(self) -> bool:
        return self._player.watcher is self

    def _others_turn(self) -> bool:
        """Tell whether a track that is not the queue's has the main place, or is about to."""
        return any(each.role is TrackRole.MAIN and not each.queued for each in self._player.roster.playbacks)

    def _main_ended(self, playback: Playback) -> None:
        self._main = None
        failed = playback.reason is EndReason.FAILED or playback.reason is EndReason.WORKER_LOST
        if self.stopped or (failed and self._too_many_failed(playback)):
            return
        if failed:
            self._go_on(skipping=True)
        elif playback.reason is EndReason.REPLACED and self._others_turn():
            self._displaced = True
        else:
            self._go_on(skipping=playback.reason is EndReason.STOPPED)

    def _next_ended(self, playback: Playback) -> None:
        """Go without the one that waited: it cannot be opened, or someone stopped it."""
        item, self._next, self._next_item = self._next_item, None, None
        if playback.error is not None and self._too_many_failed(playback):
            return
        self._not_ahead = item
        if playback.reason is not EndReason.REPLACED and self._queue.upcoming(1) == (item,):
            # Changes the queue, and so prepares another.
            self._queue.remove(0)

    def _too_many_failed(self, playback: Playback) -> bool:
        """Count a failure; stop if there were too many in a row."""
        self._failures += 1
        if self._failures < MAX_FAILURES:
            return False
        failures, self._failures = self._failures, 0
        assert playback.error is not None
        _LOGGER.warning(
            "%s: the queue stops after %d failures in a row",
            self._place,
            failures,
            extra=about(place=self._place),
        )
        self.stopped = True
        self._forget_next()
        self._forget_before()
        self._tell([events.QueueGaveUp(failures, playback.error)])
        return True

    def _go_on(self, *, skipping: bool = False) -> None:
        """Play what comes after a track that is over."""
        if self._others_turn():
            self._displaced = True
            return
        self._displaced = False
        item = self._queue.skip() if skipping else self._queue.advance()
        if item is not None and item is self._next_item:
            # It waits at the worker, which goes on to it by itself.
            self._promote()
        else:
            self._turn_to(item)

    def _turn_to(self, item: QueuedTrack | None) -> None:
        """Have a track take the main place."""
        self._forget_next()
        self._displaced = False
        self._not_ahead = None
        old, self._main = self._main, None
        if item is None:
            self._before = old if old is not None else self._before
            self._forget_before()
            if self._main is None:
                self._tell([events.QueueEmpty()])
            return
        self._turning = True
        self._main = self._player.begin(item.source, item.settings, queued=True)
        if old is not None and old.started:
            self._before = old
        elif old is not None:
            self._player.cancel(old)
        self._turning = False

    async def _change_to(self, item: QueuedTrack | None) -> None:
        old, line = self._main, self._player.line
        ready = self._next is not None and self._next.present.is_set() and not line.away
        if item is None and old is None:
            return
        if item is None or old is None or not ready or item is not self._next_item:
            self._turn_to(item)
            if self._main is not None:
                await self._main.settled.wait()
            return
        request = line.skip(old.ident)
        old.skipped = True
        self._promote()
        if self._player.roster.held:
            self._player.resume()
        try:
            # If the worker is lost now, the one that goes on begins with the next track.
            await line.carried_out(request)
        except WorkerError:
            raise
        except VoicePoolError as error:
            # Its end, which was told before, has been dealt with.
            _LOGGER.debug("%s: nothing to skip to: %s", self._place, error, extra=about(place=self._place))

    def _promote(self) -> None:
        """Take the one that waits for the main one. The queue has advanced to it."""
        self._before, self._main = self._main, self._next
        self._next = self._next_item = self._not_ahead = None
        self._displaced = False

    def _prepare(self) -> None:
        """See to it that what follows waits at the worker, if it is time."""
        item, main = self._queue.following, self._main
        self._forget_next_unless(item)
        if self.stopped or item is None or self._next is not None:
            return
        if main is None or not main.started or main.over.is_set():
            return
        if item is not self._not_ahead and self._is_due(item, main):
            settings = item.settings.with_crossfade(self._crossfade_s)
            self._next_item = item
            self._next = self._player.begin(item.source, settings, role=TrackRole.NEXT, queued=True)

    def _is_due(self, item: QueuedTrack, main: Playback) -> bool:
        if not isinstance(item.source, AudioSource):
            return False
        if item.source.kind in _AT_ONCE:
            return True
        left_s = main.position.left_s(self._now())
        return left_s is None or left_s <= LEAD_S + self._player.line.config.stats_interval_s

    def _forget_next_unless(self, item: QueuedTrack | None) -> None:
        """Keep up the rule that what waits is what comes next."""
        if self._next is not None and self._next_item is not item:
            self._forget_next()

    def _forget_next(self) -> None:
        given_up, self._next, self._next_item = self._next, None, None
        if given_up is not None:
            self._player.cancel(given_up, quietly=True)

    def _forget_before(self) -> None:
        given_up, self._before = self._before, None
        if given_up is not None:
            self._player.cancel(given_up)
