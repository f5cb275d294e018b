from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.testing.dave_transitions import MAX_PENDING, TransitionQueue


def ids(queue: TransitionQueue, now: float) -> list[int]:
    return [transition.transition_id for transition in queue.take_due(now)]


def test_a_transition_waits_for_everybody() -> None:
    queue = TransitionQueue(2.0)
    assert queue.announce([1, 2], 10.0) == 1
    queue.ready(1, 1)
    queue.ready(3, 1)
    assert ids(queue, 11.0) == []
    assert queue.next_deadline() == 12.0
    queue.ready(2, 1)
    assert ids(queue, 11.0) == [1]
    assert queue.next_deadline() is None
    assert queue.timed_out == 0


def test_it_waits_no_longer_than_its_timeout() -> None:
    queue = TransitionQueue(2.0)
    queue.announce([1, 2], 10.0)
    assert ids(queue, 11.999) == []
    (transition,) = queue.take_due(12.0)
    assert transition.audience == {1, 2}
    assert queue.timed_out == 1


def test_the_order_of_announcement_is_kept() -> None:
    queue = TransitionQueue(2.0)
    first, second = queue.announce([1, 2], 10.0), queue.announce([1], 10.5)
    queue.ready(1, second)
    assert ids(queue, 11.0) == []
    queue.ready(1, first)
    queue.ready(2, first)
    assert ids(queue, 11.0) == [first, second]


def test_who_left_is_neither_awaited_nor_told() -> None:
    queue = TransitionQueue(2.0)
    queue.announce([1, 2], 10.0)
    queue.ready(1, 1)
    queue.forget(2)
    (transition,) = queue.take_due(10.0)
    assert transition.audience == {1}


def test_who_is_excused_is_still_told() -> None:
    queue = TransitionQueue(2.0)
    queue.announce([1, 2], 10.0)
    queue.ready(1, 1)
    queue.excuse(2)
    (transition,) = queue.take_due(10.0)
    assert transition.audience == {1, 2}
    assert queue.timed_out == 0


def test_ids_wrap_around_and_leave_out_zero() -> None:
    queue = TransitionQueue(2.0, first_id=65_534)
    assert [queue.announce([], 0.0) for _ in range(3)] == [65_534, 65_535, 1]
    assert [i for i in (65_533, 65_534, 65_535, 0, 1, 2) if queue.was_announced(i)] == [65_534, 65_535, 1]
    assert queue.next_id == 2


@given(st.integers(1, 65_535), st.integers(0, 40))
def test_ids_given_out_are_known_and_others_not(first: int, count: int) -> None:
    queue = TransitionQueue(2.0, first)
    given_out = {queue.announce([], 0.0) for _ in range(count)}
    assert len(given_out) == count
    assert 0 not in given_out
    assert all(queue.was_announced(i) for i in given_out)
    assert not queue.was_announced(queue.next_id)
    assert not queue.was_announced(0)


def test_pending_transitions_are_bounded() -> None:
    queue = TransitionQueue(2.0)
    for _ in range(MAX_PENDING + 3):
        queue.announce([1], 0.0)
    assert ids(queue, 0.0) == [1, 2, 3]
    assert len(queue) == MAX_PENDING


def test_all_can_be_taken_at_once() -> None:
    queue = TransitionQueue(2.0)
    queue.announce([1], 0.0)
    queue.announce([2], 0.0)
    assert [transition.transition_id for transition in queue.take_all()] == [1, 2]
    assert not queue


@pytest.mark.parametrize("first", [0, 65_536, -1])
def test_a_first_id_out_of_range_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 65535"):
        TransitionQueue(2.0, first)
