from __future__ import annotations

from voicepool.workers.dave.transitions import PENDING_MAX, PendingTransitions, Transition


def test_each_waits_under_its_id() -> None:
    pending = PendingTransitions()
    assert pending.put(5, Transition(1))
    assert pending.put(6, Transition(1, version=0))
    assert not pending.put(5, Transition(2)), "it takes the place of the one before"
    assert dict(pending) == {6: Transition(1, version=0), 5: Transition(2)}
    assert pending.has_downgrade
    assert 5 in pending
    assert pending.take(5) == Transition(2)
    assert pending.take(5) is None
    pending.clear()
    assert len(pending) == 0
    assert not pending.has_downgrade


def test_what_takes_the_place_of_something_unanswered_counts_as_new() -> None:
    pending = PendingTransitions()
    pending.put(5, Transition(1, is_sound=False, is_answered=False))
    assert pending.put(5, Transition(2))
    assert not pending.put(5, Transition(2, is_answered=False))
    assert not pending.put(5, Transition(2)), "an answer is not taken back"


def test_the_oldest_is_forgotten_at_the_bound() -> None:
    pending = PendingTransitions()
    for transition_id in range(PENDING_MAX + 2):
        pending.put(transition_id, Transition(1))
    assert len(pending) == PENDING_MAX
    assert pending.forgotten == 2
    assert 1 not in pending
    assert 2 in pending
