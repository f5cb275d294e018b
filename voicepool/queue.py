"""What plays now, what comes next and what has been: the queue a bot keeps for one guild.

Nothing here plays anything. Whoever plays asks `TrackQueue.advance` when a track has ended, `skip` and `back`
when someone wants another, and plays what they return; `None` means there is nothing more to play.

=========  =======================  ========================  ============================================
call       loop off                 loop track                loop queue
=========  =======================  ========================  ============================================
advance    next; current has been   current again             next; current goes to the end
skip       next; current has been   next; current has been    next; current goes to the end
back       the one that was last    the one that was last     the one that was last, no longer at the end
following  next                     current                   next, or current if it is alone
=========  =======================  ========================  ============================================

* With nothing upcoming, "next" is `None`, and so is `current` then. A loop of a track does not hold `skip`.
* `back` puts the current track first among the upcoming. At the start, with nothing in the history, the
  current track begins anew and nothing moves; with nothing current either it returns `None`. After the end it
  plays the last one again.
* `add` and `insert` never start anything: while `current` is `None`, `advance` takes up the first.
* `clear`, `remove`, `move` and `shuffle` touch only what is upcoming, never what plays or has been.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from voicepool.errors import VoicePoolError

__all__ = ["Loop", "QueueChange", "QueueFullError", "TrackQueue"]

T = TypeVar("T")

_DEFAULT_MAX_LENGTH: Final = 10_000
_DEFAULT_MAX_HISTORY: Final = 100
_MOST: Final = 1_000_000
"""Above it shuffling and moving would hold an event loop for longer than a person can miss."""


class QueueFullError(VoicePoolError):
    """Raised when a queue would hold more tracks than its ``max_length``. Nothing has been added."""


class Loop(enum.Enum):
    """What is played again."""

    OFF = "off"
    TRACK = "track"
    QUEUE = "queue"


class QueueChange(enum.Enum):
    """What an operation has changed."""

    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    SHUFFLED = "shuffled"
    CLEARED = "cleared"
    CURRENT = "current"
    """`advance`, `skip` or `back` chose the track to play; it may be the same one from its beginning."""
    LOOP = "loop"


class _Entry(Generic[T]):
    """A track's place in the queue. Tracks may be equal or even the same object; places are told apart.

    ``again`` is whether it was put among the upcoming once more, while the history knows it too.
    """

    __slots__ = ("again", "item")

    def __init__(self, item: T) -> None:
        self.item = item
        self.again = False


class TrackQueue(Generic[T]):
    """A bounded queue of tracks with history and loops.

    Its length, its iterator and its indices are about the upcoming tracks: ``queue[0]`` comes next. Work at
    both ends takes constant time; an index in the middle, `move` and `shuffle` take time in the length.
    A track can be anything but `None`, and may be in the queue many times.

    Parameters
    ----------
    max_length
        How many tracks may be upcoming, from 1 to 1,000,000. `back` may go over it by one a call: what
        plays is never dropped.
    max_history
        How many tracks that have been are remembered for `back`, from 0 to 1,000,000; the oldest is
        forgotten.
    on_change
        Called after each operation that changed something, once, when the queue is in its new state.
        It may use the queue.

    Raises
    ------
    ValueError
        A bound is out of its range.
    """

    def __init__(
        self,
        *,
        max_length: int = _DEFAULT_MAX_LENGTH,
        max_history: int = _DEFAULT_MAX_HISTORY,
        on_change: Callable[[QueueChange], None] | None = None,
    ) -> None:
        if not 1 <= max_length <= _MOST:
            raise ValueError(f"max_length is {max_length}; it must be from 1 to {_MOST}")
        if not 0 <= max_history <= _MOST:
            raise ValueError(f"max_history is {max_history}; it must be from 0 to {_MOST}")
        self.max_length = max_length
        """May be changed; what is in it already stays."""
        self._upcoming: deque[_Entry[T]] = deque()
        self._current: _Entry[T] | None = None
        self._history: deque[_Entry[T]] = deque(maxlen=max_history)
        self._loop = Loop.OFF
        self._on_change = on_change

    def __len__(self) -> int:
        return len(self._upcoming)

    def __iter__(self) -> Iterator[T]:
        """Iterate over what is upcoming; as with a list's copy, changes meanwhile do no harm."""
        return iter(self.upcoming())

    def __getitem__(self, index: int) -> T:
        return self._upcoming[self._checked(index)].item

    def __repr__(self) -> str:
        return f"<TrackQueue of {len(self)}, loop {self._loop.value}>"

    @property
    def current(self) -> T | None:
        """What plays, as far as the queue knows."""
        return None if self._current is None else self._current.item

    @property
    def following(self) -> T | None:
        """What `advance` would return now: the one to open ahead."""
        alone = self._loop is Loop.QUEUE and not self._upcoming
        if (self._loop is Loop.TRACK or alone) and self._current is not None:
            return self._current.item
        return self._upcoming[0].item if self._upcoming else None

    @property
    def loop(self) -> Loop:
        """What is played again."""
        return self._loop

    @loop.setter
    def loop(self, loop: Loop) -> None:
        changed = Loop(loop) is not self._loop
        self._loop = Loop(loop)
        if changed:
            self._tell(QueueChange.LOOP)

    def upcoming(self, limit: int | None = None) -> tuple[T, ...]:
        """Return what comes next, in order; of a long queue the first `limit`."""
        return tuple(entry.item for entry in itertools.islice(self._upcoming, limit))

    def history(self) -> tuple[T, ...]:
        """Return what has been, the oldest first."""
        return tuple(entry.item for entry in self._history)

    def add(self, *items: T) -> None:
        """Put tracks at the end.

        Raises
        ------
        QueueFullError
            They do not all fit; none has been added.
        """
        self.extend(items)

    def check_room(self, count: int) -> None:
        """Raise an error if so many more tracks do not fit.

        Raises
        ------
        QueueFullError
            They do not.
        """
        if count > self.max_length - len(self._upcoming):
            raise self._full()

    def extend(self, items: Iterable[T]) -> None:
        """Put the tracks of a playlist at the end. Of an endless one no more is read than fits.

        Raises
        ------
        QueueFullError
            They do not all fit; none has been added.
        """
        room = self.max_length - len(self._upcoming)
        new = [_Entry(item) for item in itertools.islice(items, max(room, 0) + 1)]
        if len(new) > room:
            raise self._full()
        self._upcoming.extend(new)
        if new:
            self._tell(QueueChange.ADDED)

    def insert(self, index: int, item: T) -> None:
        """Put a track before the one at an index; 0 plays it next. Indices are those of `list.insert`.

        Raises
        ------
        QueueFullError
            There is no room.
        """
        if len(self._upcoming) >= self.max_length:
            raise self._full()
        self._upcoming.insert(index, _Entry(item))
        self._tell(QueueChange.ADDED)

    def remove(self, index: int) -> T:
        """Take out the track at an index and return it.

        Raises
        ------
        IndexError
            There is none.
        """
        entry = self._take_out(self._checked(index))
        self._tell(QueueChange.REMOVED)
        return entry.item

    def move(self, index: int, to: int) -> None:
        """Move the track at an index so that it stands at another.

        Raises
        ------
        IndexError
            Either index is outside the queue.
        """
        index, to = self._checked(index), self._checked(to)
        if index == to:
            return
        self._upcoming.insert(to, self._take_out(index))
        self._tell(QueueChange.MOVED)

    def shuffle(self, rng: random.Random | None = None) -> None:
        """Put the upcoming tracks in a random order; the same one each time with a generator of your own."""
        entries = list(self._upcoming)
        (rng or random.Random()).shuffle(entries)  # noqa: S311 - music, not cryptography
        self._upcoming = deque(entries)
        if entries:
            self._tell(QueueChange.SHUFFLED)

    def clear(self) -> None:
        """Drop what is upcoming. What plays plays on, and `back` still knows what has been."""
        if self._upcoming:
            self._upcoming.clear()
            self._tell(QueueChange.CLEARED)

    def advance(self) -> T | None:
        """Return what to play now that the current track has ended by itself."""
        if self._loop is not Loop.TRACK or self._current is None:
            self._step()
        self._tell(QueueChange.CURRENT)
        return self.current

    def skip(self, count: int = 1) -> T | None:
        """Return what to play instead of the current track.

        Parameters
        ----------
        count
            How many tracks to go on: 3 leaves out the next two. They count as having been.

        Raises
        ------
        ValueError
            The count is below 1.
        """
        if count < 1:
            raise ValueError(f"cannot skip {count} tracks; the count is at least 1")
        for _ in range(self._steps(count)):
            self._step()
        self._tell(QueueChange.CURRENT)
        return self.current

    def back(self) -> T | None:
        """Return the track that was played last, which is current again."""
        if self._history:
            before = self._history.pop()
            if before.again:
                self._withdraw(before)
            if self._current is not None and self._current is not before:
                self._current.again = True
                self._upcoming.appendleft(self._current)
            self._current = before
        self._tell(QueueChange.CURRENT)
        return self.current

    def _steps(self, count: int) -> int:
        """Bound a count: a ring of n tracks is where it was after n steps, and an emptied queue stays so."""
        places = len(self._upcoming) + (self._current is not None)
        if self._loop is not Loop.QUEUE or not places:
            return min(count, places + 1)
        # Only as many whole turns are walked as the history can tell of.
        enough = places + (self._history.maxlen or 0)
        return count if count <= enough else count - (count - enough) // places * places

    def _step(self) -> None:
        if self._current is not None:
            self._history.append(self._current)
            if self._loop is Loop.QUEUE:
                self._current.again = True
                self._upcoming.append(self._current)
        self._current = self._upcoming.popleft() if self._upcoming else None
        if self._current is not None:
            self._current.again = False

    def _withdraw(self, entry: _Entry[T]) -> None:
        """Take an entry out of the upcoming ones; it went to the end, so it is looked for from there."""
        for from_end, each in enumerate(reversed(self._upcoming), start=1):
            if each is entry:
                del self._upcoming[-from_end]
                break
        entry.again = False

    def _take_out(self, index: int) -> _Entry[T]:
        entry = self._upcoming[index]
        del self._upcoming[index]
        return entry

    def _checked(self, index: int) -> int:
        """Return an index counted from the front."""
        length = len(self._upcoming)
        if not -length <= index < length:
            raise IndexError(f"there is no track {index} in a queue of {length}")
        return index % length

    def _full(self) -> QueueFullError:
        return QueueFullError(
            f"the queue holds at most {self.max_length} tracks; remove some, or raise its limit: max_length, "
            "or queue_max_tracks of PoolConfig for that of a connection"
        )

    def _tell(self, change: QueueChange) -> None:
        if self._on_change is not None:
            self._on_change(change)
