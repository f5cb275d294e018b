"""Tracks on their way into a deck: each is let in once it has something to be heard.

All is done on an encoder thread but `Arrivals.add` and the setting of `Arrival.cancelled`.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.deck import Deck
from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

__all__ = ["Arrival", "Arrivals"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")


@dataclass(slots=True, eq=False)
class Arrival:
    """A feed that is to be heard as soon as it has something to be heard.

    Attributes
    ----------
    feed
        Owned by the playback from `Playback.arrive` on.
    enter
        Puts it into the deck, which has it from then on. May raise `SourceError`.
    on_ready
        Called, on an encoder thread, when it is in the deck and its first frames can be sent.
    on_refused
        Called instead if there is nothing to be heard but an error. The feed is closed then.
    error
        Why the deck did not take it.
    cancelled
        To be set by whoever does not want it any more; its feed is closed.
    """

    feed: TrackFeed
    enter: Callable[[Deck], object]
    on_ready: Callable[[], object]
    on_refused: Callable[[ErrorInfo], object]
    cancelled: bool = False
    error: ErrorInfo | None = None


class Arrivals:
    """Those that wait for their source, and those that wait for their first frames to be made."""

    def __init__(self) -> None:
        self._waiting: deque[Arrival] = deque()
        self._entering: list[Arrival] = []

    @property
    def waits(self) -> bool:
        """Whether any has nothing to be heard yet."""
        return bool(self._waiting)

    @property
    def are_entering(self) -> bool:
        """Whether any was let in whose first frames are not made."""
        return bool(self._entering)

    def add(self, arrival: Arrival) -> None:
        """Let one wait; from any thread."""
        self._waiting.append(arrival)

    def admit(self, deck: Deck) -> list[Callable[[Mixer], object]]:
        """Let in those that have something to be heard; return what puts each into the deck."""
        changes: list[Callable[[Mixer], object]] = []
        for _ in range(len(self._waiting)):
            arrival = self._waiting.popleft()
            if arrival.cancelled:
                arrival.feed.close()
                continue
            try:
                ready = _has_something(arrival.feed)
            except SourceError as error:
                _refuse(arrival, error.info)
                continue
            if ready:
                changes.append(functools.partial(_enter, arrival, deck))
                self._entering.append(arrival)
            else:
                self._waiting.append(arrival)
        return changes

    def tell_ready(self, only: TrackFeed | None = None) -> None:
        """Tell those that were let in that they can be heard, or one of them."""
        entered = [each for each in self._entering if only is None or each.feed is only]
        self._entering = [each for each in self._entering if each not in entered]
        for arrival in entered:
            if arrival.error is None:
                arrival.on_ready()
            else:
                _refuse(arrival, arrival.error)

    def refuse(self, error: ErrorInfo) -> None:
        """Refuse all there are."""
        waiting = [*self._waiting, *self._entering]
        self._waiting.clear()
        self._entering.clear()
        for arrival in waiting:
            _refuse(arrival, error)

    def clear(self) -> list[TrackFeed]:
        """Forget all there are; return their feeds, some of which the deck may have as well."""
        feeds = [arrival.feed for arrival in (*self._waiting, *self._entering)]
        self._waiting.clear()
        self._entering.clear()
        return feeds


def _enter(arrival: Arrival, deck: Deck, _: Mixer) -> None:
    if arrival.cancelled:
        arrival.feed.close()
        return
    try:
        arrival.enter(deck)
    except SourceError as error:
        arrival.error = error.info


def _refuse(arrival: Arrival, error: ErrorInfo) -> None:
    arrival.feed.close()
    arrival.on_refused(error)


def _has_something(feed: TrackFeed) -> bool:
    """Return whether a feed can be heard, or has ended.

    Raises
    ------
    SourceError
        There is nothing but an error.
    """
    try:
        frame = feed.peek()
        if frame is None:
            # Raises what it failed with. If it is just empty, it begins and ends at once.
            feed.next_frame()
    except SourceError:
        raise
    except Exception as error:
        _LOGGER.exception("a source failed inside voicepool")
        text = f"voicepool failed while it opened a source: {error!r}; the worker's log has the traceback"
        raise SourceError(ErrorCode.INTERNAL, text) from error
    return frame is not NOT_YET
