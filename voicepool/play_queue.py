"""`PlayQueue`: the tracks that a connection plays one after the other, without a gap."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Unpack

from voicepool._playing.options import PlayOptions, checked_seconds
from voicepool._playing.queueing import QueueDriver
from voicepool.config import PoolConfig
from voicepool.events import ConnectionEvent
from voicepool.player import Player
from voicepool.queue import Loop, QueueChange, TrackQueue
from voicepool.queued import QueuedTrack
from voicepool.source import Playable
from voicepool.track import Track

__all__ = ["PlayQueue"]


class PlayQueue:
    """What is played next on a connection, as ``voice.queue``.

    ::

        voice.queue.add("a.opus", "b.opus")  # plays at once if nothing does
        voice.queue.add(voicepool.QueuedTrack("https://…/c.webm", volume=0.5))
        voice.queue.loop = voicepool.Loop.QUEUE
        await voice.queue.skip()

    Its length, iteration and indices are about what is upcoming: ``queue[0]`` comes next. A track that fails
    is told of (`TrackEnded`), logged, and left out; after ten in a row the queue stops (`QueueGaveUp`). A
    ``voice.play`` takes the main place from it, and it goes on afterwards; ``voice.stop`` stops it, and keeps
    what is upcoming. It holds ``queue_max_tracks`` of `PoolConfig`.

    Parameters
    ----------
    player
        Of the connection.
    tell
        Takes events for whoever listens.
    now
        The clock, in seconds.
    place
        Where it plays, for log lines: ``guild 1234``.
    """

    def __init__(
        self,
        player: Player,
        *,
        tell: Callable[[Iterable[ConnectionEvent]], None],
        now: Callable[[], float],
        place: str,
    ) -> None:
        self._player = player
        self._tracks: TrackQueue[QueuedTrack] = TrackQueue(
            max_length=player.line.config.queue_max_tracks, on_change=self._on_change
        )
        self._driver = QueueDriver(self._tracks, player, tell=tell, now=now, place=place)

    def configure(self, config: PoolConfig) -> None:
        """Go by other settings from now on. For the pool."""
        self._tracks.max_length = config.queue_max_tracks

    def __len__(self) -> int:
        return len(self._tracks)

    def __iter__(self) -> Iterator[QueuedTrack]:
        """Iterate over what is upcoming, as it is now."""
        return iter(self._tracks)

    def __getitem__(self, index: int) -> QueuedTrack:
        return self._tracks[index]

    def __repr__(self) -> str:
        return f"<PlayQueue of {len(self)}, loop {self.loop.value}{', stopped' if self.stopped else ''}>"

    # What is in it.

    @property
    def current(self) -> QueuedTrack | None:
        """What plays, or did when it was stopped or something else took the main place; None when idle."""
        return self._tracks.current

    @property
    def track(self) -> Track | None:
        """The playback of `current`; None while it does not play."""
        main = self._driver.main
        return None if main is None else self._player.roster.track_of(main)

    @property
    def upcoming(self) -> tuple[QueuedTrack, ...]:
        """What comes next, in order."""
        return self._tracks.upcoming()

    @property
    def history(self) -> tuple[QueuedTrack, ...]:
        """What has been, the oldest first; the last 100 are remembered."""
        return self._tracks.history()

    @property
    def stopped(self) -> bool:
        """Whether what is upcoming waits for `start`, after ``voice.stop`` or too many failures.

        Also once the connection has ended. What was in it stays in it, for another connection's queue.
        """
        return self._driver.stopped

    def add(self, *sources: Playable | QueuedTrack, **options: Unpack[PlayOptions]) -> None:
        """Put tracks at the end. If nothing plays, the first of them does at once.

        One that was stopped and is not empty waits on; one that is empty begins anew.

        Parameters
        ----------
        *sources
            What ``play`` takes, or `QueuedTrack`, which has options of its own.
        **options
            As for ``play``, for those that are no `QueuedTrack`.

        Raises
        ------
        QueueFullError
            They do not all fit; none has been added.
        TypeError, ValueError
            Something cannot be played, or an option is not allowed; none has been added.
        """
        self._tracks.check_room(len(sources))
        new = [_queued(source, options) for source in sources]
        self._wake_if_empty()
        self._tracks.extend(new)

    def insert(self, index: int, source: Playable | QueuedTrack, **options: Unpack[PlayOptions]) -> None:
        """Put a track before the one at an index; 0 plays it next.

        Raises
        ------
        QueueFullError
            There is no room.
        TypeError, ValueError
            As for `add`.
        """
        track = _queued(source, options)
        self._wake_if_empty()
        self._tracks.insert(index, track)

    def remove(self, index: int) -> QueuedTrack:
        """Take out the track at an index and return it.

        Raises
        ------
        IndexError
            There is none.
        """
        return self._tracks.remove(index)

    def move(self, index: int, to: int) -> None:
        """Move the track at an index so that it stands at another.

        Raises
        ------
        IndexError
            Either index is outside the queue.
        """
        self._tracks.move(index, to)

    def shuffle(self, rng: random.Random | None = None) -> None:
        """Put what is upcoming in a random order; the same one each time with a generator of your own."""
        self._tracks.shuffle(rng)

    def clear(self) -> None:
        """Drop what is upcoming. What plays plays on."""
        self._tracks.clear()

    # How it is played.

    @property
    def loop(self) -> Loop:
        """What is played again: nothing, the track, or the queue."""
        return self._tracks.loop

    @loop.setter
    def loop(self, loop: Loop) -> None:
        self._tracks.loop = loop

    @property
    def crossfade_s(self) -> float:
        """How long a track and the one after it are heard together, in seconds; 0.0 joins them exactly.

        Raises
        ------
        ValueError
            When set to anything but a finite number of 0 or more.
        """
        return self._driver.crossfade_s

    @crossfade_s.setter
    def crossfade_s(self, crossfade_s: float) -> None:
        self._driver.crossfade_s = checked_seconds("crossfade_s", crossfade_s)

    async def skip(self, count: int = 1) -> None:
        """Go on to the next track, and return when it can be heard. Goes on if it is held.

        Parameters
        ----------
        count
            How many tracks to go on: 3 leaves out the next two. Past the end, playback stops.

        Raises
        ------
        ValueError
            The count is below 1.
        WorkerError
            The worker does not answer.
        """
        await self._driver.skip(count)

    async def back(self) -> None:
        """Play the track before once more; the current one comes next. At the start it begins anew.

        Raises
        ------
        WorkerError
            The worker does not answer.
        """
        await self._driver.back()

    def start(self) -> None:
        """Go on after ``voice.stop`` or too many failures, with the next track. Without effect otherwise."""
        self._driver.start()

    def halt(self) -> None:
        """Begin nothing any more; for ``voice.stop``, which ends what plays."""
        self._driver.halt()

    def _on_change(self, change: QueueChange) -> None:
        self._driver.on_change(change)

    def _wake_if_empty(self) -> None:
        if self.stopped and not self._tracks:
            # Before something is in it: there is nothing that waits for `start`.
            self._driver.stopped = False


def _queued(source: Playable | QueuedTrack, options: PlayOptions) -> QueuedTrack:
    if not isinstance(source, QueuedTrack):
        return QueuedTrack(source, **options)
    if options:
        raise TypeError("a QueuedTrack has options of its own; give them to it")
    return source
