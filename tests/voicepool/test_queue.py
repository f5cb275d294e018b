from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voicepool.errors import VoicePoolError
from voicepool.queue import Loop, QueueChange, QueueFullError, TrackQueue


def playing(*tracks: str, loop: Loop = Loop.OFF) -> TrackQueue[str]:
    """Return a queue that plays the first track."""
    queue: TrackQueue[str] = TrackQueue()
    queue.add(*tracks)
    queue.advance()
    queue.loop = loop
    return queue


def state(queue: TrackQueue[str]) -> tuple[str, str | None, str]:
    return "".join(queue.history()), queue.current, "".join(queue)


def test_nothing_plays_before_the_first_advance() -> None:
    queue: TrackQueue[str] = TrackQueue()
    queue.add("a", "b")
    assert state(queue) == ("", None, "ab")
    assert queue.following == "a"
    assert queue.advance() == "a"
    assert state(queue) == ("", "a", "b")


@pytest.mark.parametrize(
    ("call", "loop", "after"),
    [
        ("advance", Loop.OFF, ("ab", "c", "d")),
        ("advance", Loop.TRACK, ("a", "b", "cd")),
        ("advance", Loop.QUEUE, ("ab", "c", "db")),
        ("skip", Loop.OFF, ("ab", "c", "d")),
        ("skip", Loop.TRACK, ("ab", "c", "d")),
        ("skip", Loop.QUEUE, ("ab", "c", "db")),
        ("back", Loop.OFF, ("", "a", "bcd")),
        ("back", Loop.TRACK, ("", "a", "bcd")),
        ("back", Loop.QUEUE, ("", "a", "bcd")),
    ],
)
def test_the_table(call: str, loop: Loop, after: tuple[str, str, str]) -> None:
    queue = playing("a", "b", "c", "d")
    queue.advance()
    queue.loop = loop
    if call == "advance":
        assert queue.following == after[1]
    assert getattr(queue, call)() == after[1]
    assert state(queue) == after


@pytest.mark.parametrize(
    ("call", "loop", "after"),
    [
        ("advance", Loop.OFF, ("a", None, "")),
        ("advance", Loop.TRACK, ("", "a", "")),
        ("advance", Loop.QUEUE, ("a", "a", "")),
        ("skip", Loop.OFF, ("a", None, "")),
        ("skip", Loop.TRACK, ("a", None, "")),
        ("skip", Loop.QUEUE, ("a", "a", "")),
        ("back", Loop.OFF, ("", "a", "")),
        ("back", Loop.TRACK, ("", "a", "")),
        ("back", Loop.QUEUE, ("", "a", "")),
    ],
)
def test_the_table_for_a_track_alone(call: str, loop: Loop, after: tuple[str, str | None, str]) -> None:
    queue = playing("a", loop=loop)
    if call == "advance":
        assert queue.following == after[1]
    assert getattr(queue, call)() == after[1]
    assert state(queue) == after


@pytest.mark.parametrize("loop", Loop)
def test_an_empty_queue_has_nothing_to_play(loop: Loop) -> None:
    queue: TrackQueue[str] = TrackQueue()
    queue.loop = loop
    assert [queue.following, queue.advance(), queue.skip(), queue.back(), queue.current] == [None] * 5


def test_back_after_the_end_plays_the_last_again() -> None:
    queue = playing("a", "b")
    queue.skip(2)
    assert state(queue) == ("ab", None, "")
    assert queue.back() == "b"
    assert state(queue) == ("a", "b", "")


def test_back_undoes_what_a_looped_queue_moved_to_its_end() -> None:
    queue = playing("a", "b", "c", loop=Loop.QUEUE)
    queue.skip(2)
    assert state(queue) == ("ab", "c", "ab")
    queue.add("new")
    assert queue.back() == "b"
    assert list(queue) == ["c", "a", "new"]
    assert queue.back() == "a"
    assert list(queue) == ["b", "c", "new"]


def test_back_through_several_rounds_of_a_ring_never_doubles_a_track() -> None:
    queue = playing("a", "b", "c", loop=Loop.QUEUE)
    queue.skip(8)
    assert state(queue) == ("abcabcab", "c", "ab")
    walked = [queue.back() for _ in range(8)]
    assert walked == list("bacbacba")
    assert state(queue) == ("", "a", "bc")


def test_back_in_a_ring_of_one_never_doubles_the_track() -> None:
    queue = playing("a", loop=Loop.QUEUE)
    for _ in range(3):
        queue.advance()
    for _ in range(5):
        assert queue.back() == "a"
        assert len(queue) == 0


def test_back_brings_a_removed_track_back_once() -> None:
    queue = playing("a", "b", loop=Loop.QUEUE)
    queue.advance()
    assert queue.remove(0) == "a"
    assert queue.back() == "a"
    assert list(queue) == ["b"]


def test_skip_goes_on_by_several() -> None:
    queue = playing(*"abcdef")
    assert queue.skip(3) == "d"
    assert state(queue) == ("abc", "d", "ef")
    assert queue.skip(10**12) is None
    assert state(queue) == ("abcdef", None, "")


def test_skip_round_a_ring_any_number_of_times_ends_at_once() -> None:
    queue = playing(*"abc", loop=Loop.QUEUE)
    assert queue.skip(3 * 10**12 + 1) == "b"
    assert list(queue) == ["c", "a"]


@pytest.mark.parametrize("count", [0, -1])
def test_skip_by_less_than_one_is_refused(count: int) -> None:
    queue = playing("a", "b")
    with pytest.raises(ValueError, match="at least 1"):
        queue.skip(count)
    assert queue.current == "a"


def test_equal_tracks_are_told_apart() -> None:
    queue = playing("a", "a", "a", loop=Loop.QUEUE)
    queue.advance()
    assert state(queue) == ("a", "a", "aa")
    queue.back()
    assert state(queue) == ("", "a", "aa")


def test_full_means_refused_and_nothing_added() -> None:
    queue: TrackQueue[int] = TrackQueue(max_length=3)
    queue.add(1, 2)
    for too_many in ([3, 4], range(10)):
        with pytest.raises(QueueFullError, match="at most 3 tracks"):
            queue.extend(too_many)
        assert list(queue) == [1, 2]
    queue.insert(0, 0)
    with pytest.raises(QueueFullError):
        queue.insert(0, 9)
    assert list(queue) == [0, 1, 2]
    assert issubclass(QueueFullError, VoicePoolError)


def test_of_an_endless_playlist_no_more_is_read_than_fits() -> None:
    queue: TrackQueue[int] = TrackQueue(max_length=3)
    endless = itertools.count()
    with pytest.raises(QueueFullError):
        queue.extend(endless)
    assert next(endless) == 4


def test_a_million_entries_by_default_are_refused() -> None:
    queue: TrackQueue[int] = TrackQueue()
    with pytest.raises(QueueFullError):
        queue.extend(range(1_000_000))
    assert len(queue) == 0


def test_a_million_entries_are_held_by_who_asks_for_them() -> None:
    queue: TrackQueue[int] = TrackQueue(max_length=1_000_000)
    queue.extend(range(1_000_000))
    queue.loop = Loop.QUEUE
    # A walk that took time in the length at each step would never end.
    for expected in range(20_000):
        assert queue.following == expected
        assert queue.advance() == expected
    for expected in range(19_998, 19_950, -1):
        assert queue.back() == expected
    assert queue.upcoming(2) == (19_952, 19_953)


def test_back_is_never_refused_by_a_full_queue() -> None:
    queue: TrackQueue[int] = TrackQueue(max_length=2)
    queue.add(1, 2)
    queue.advance()
    queue.advance()
    queue.add(3, 4)
    assert queue.back() == 1
    assert list(queue) == [2, 3, 4]
    with pytest.raises(QueueFullError):
        queue.extend([5])


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_length", 0), ("max_length", 1_000_001), ("max_history", -1), ("max_history", 1_000_001)],
)
def test_bounds_out_of_range(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        TrackQueue(**{name: value})  # type: ignore[arg-type]


def test_history_forgets_the_oldest() -> None:
    queue: TrackQueue[int] = TrackQueue(max_history=2)
    queue.extend(range(5))
    queue.skip(5)
    assert queue.history() == (2, 3)
    no_history: TrackQueue[int] = TrackQueue(max_history=0)
    no_history.add(1, 2)
    no_history.skip(2)
    assert no_history.back() == 2
    assert no_history.history() == ()


def test_shuffle_is_repeatable_with_a_generator_and_loses_nothing() -> None:
    orders = []
    for _ in range(2):
        queue: TrackQueue[int] = TrackQueue()
        queue.extend(range(100))
        queue.shuffle(random.Random(5))
        orders.append(list(queue))
    assert orders[0] == orders[1] != sorted(orders[0]) == list(range(100))
    queue.shuffle()
    assert sorted(queue) == list(range(100))


@pytest.mark.parametrize("index", [3, -4])
def test_indices_outside_are_refused(index: int) -> None:
    queue = playing("a", "b", "c", "d")
    refused = f"no track {index} in a queue of 3"
    with pytest.raises(IndexError, match=refused):
        queue.remove(index)
    with pytest.raises(IndexError, match=refused):
        queue.move(index, 0)
    with pytest.raises(IndexError, match=refused):
        queue.move(0, index)
    with pytest.raises(IndexError, match=refused):
        queue[index]
    assert list(queue) == ["b", "c", "d"]


def test_changing_the_queue_while_iterating_is_harmless() -> None:
    queue = playing("a", "b", "c")
    for _ in queue:
        queue.add("d")
    assert list(queue) == ["b", "c", "d", "d"]


def test_the_owner_hears_of_each_change_once_and_only_of_changes() -> None:
    heard: list[tuple[QueueChange, int]] = []
    queue: TrackQueue[int] = TrackQueue(on_change=lambda change: heard.append((change, len(queue))))

    def told(expected: list[tuple[QueueChange, int]]) -> None:
        assert heard == expected
        heard.clear()

    queue.clear()
    queue.shuffle()
    queue.add()
    queue.loop = Loop.OFF
    told([])
    queue.add(1, 2, 3)
    queue.insert(0, 0)
    told([(QueueChange.ADDED, 3), (QueueChange.ADDED, 4)])
    queue.move(0, 0)
    told([])
    queue.move(0, -1)
    queue.shuffle(random.Random(1))
    queue.remove(0)
    told([(QueueChange.MOVED, 4), (QueueChange.SHUFFLED, 4), (QueueChange.REMOVED, 3)])
    queue.advance()
    queue.skip(2)
    queue.back()
    told([(QueueChange.CURRENT, 2), (QueueChange.CURRENT, 0), (QueueChange.CURRENT, 1)])
    queue.loop = Loop.TRACK
    queue.clear()
    told([(QueueChange.LOOP, 1), (QueueChange.CLEARED, 0)])


def test_a_callback_may_use_the_queue() -> None:
    def refill(change: QueueChange) -> None:
        if change is QueueChange.CURRENT and not len(queue):
            queue.add("again")

    queue: TrackQueue[str] = TrackQueue(on_change=refill)
    queue.add("a")
    assert queue.advance() == "a"
    assert queue.advance() == "again"


def test_repr_names_no_track() -> None:
    queue = playing("https://user:secret@host/", "b")
    assert repr(queue) == "<TrackQueue of 1, loop off>"


class QueueMachine(RuleBasedStateMachine):
    """The queue beside three plain lists. Tracks are numbered, so each place in the queue is known."""

    LIMIT, HISTORY = 6, 4

    def __init__(self) -> None:
        super().__init__()
        self.queue: TrackQueue[int] = TrackQueue(max_length=self.LIMIT, max_history=self.HISTORY)
        self.numbers = itertools.count()
        self.upcoming: list[int] = []
        self.history: list[int] = []
        self.current: int | None = None
        self.loop = Loop.OFF

    def step(self) -> None:
        if self.current is not None:
            self.history = [*self.history, self.current][-self.HISTORY :]
            if self.loop is Loop.QUEUE:
                self.upcoming = [*self.upcoming, self.current]
        self.current = self.upcoming[0] if self.upcoming else None
        self.upcoming = self.upcoming[1:]

    @rule(count=st.integers(0, 3))
    def add(self, count: int) -> None:
        tracks = list(itertools.islice(self.numbers, count))
        if len(self.upcoming) + count > self.LIMIT:
            with pytest.raises(QueueFullError):
                self.queue.extend(tracks)
        else:
            self.queue.add(*tracks)
            self.upcoming = self.upcoming + tracks

    @rule(index=st.integers(-8, 8))
    def insert(self, index: int) -> None:
        track = next(self.numbers)
        if len(self.upcoming) >= self.LIMIT:
            with pytest.raises(QueueFullError):
                self.queue.insert(index, track)
        else:
            self.queue.insert(index, track)
            self.upcoming.insert(index, track)

    @precondition(lambda self: self.upcoming)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(-len(self.upcoming), len(self.upcoming) - 1))
        assert self.queue.remove(index) == self.upcoming.pop(index)

    @precondition(lambda self: self.upcoming)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        places = st.integers(0, len(self.upcoming) - 1)
        index, to = data.draw(places), data.draw(places)
        self.queue.move(index, to)
        self.upcoming.insert(to, self.upcoming.pop(index))

    @rule(seed=st.integers(0, 5))
    def shuffle(self, seed: int) -> None:
        self.queue.shuffle(random.Random(seed))
        random.Random(seed).shuffle(self.upcoming)

    @rule()
    def clear(self) -> None:
        self.queue.clear()
        self.upcoming = []

    @rule(loop=st.sampled_from(Loop))
    def set_loop(self, loop: Loop) -> None:
        self.queue.loop = self.loop = loop

    @rule()
    def advance(self) -> None:
        foretold = self.queue.following
        if self.loop is not Loop.TRACK or self.current is None:
            self.step()
        assert self.queue.advance() == self.current == foretold

    @rule(count=st.integers(1, 10))
    def skip(self, count: int) -> None:
        for _ in range(count):
            self.step()
        assert self.queue.skip(count) == self.current

    @rule()
    def back(self) -> None:
        if self.history:
            before = self.history.pop()
            self.upcoming = [track for track in self.upcoming if track != before]
            if self.current is not None and self.current != before:
                self.upcoming = [self.current, *self.upcoming]
            self.current = before
        assert self.queue.back() == self.current

    @invariant()
    def same(self) -> None:
        assert list(self.queue) == self.upcoming
        assert self.queue.history() == tuple(self.history)
        assert self.queue.current == self.current
        assert len(self.queue) == len(self.upcoming) <= self.LIMIT + self.HISTORY
        assert [self.queue[index] for index in range(len(self.queue))] == self.upcoming
        places = [*self.upcoming, self.current]
        assert len(set(places)) == len(places)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
