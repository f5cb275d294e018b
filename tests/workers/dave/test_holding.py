"""One commit at a time waits for its execution, and not for ever."""

from __future__ import annotations

from voicepool.workers.dave.holding import HOLD_LIMIT_S, Holding


def test_it_holds_nothing_at_first_and_after_letting_go() -> None:
    holding = Holding()
    for _ in range(2):
        assert (holding.commit, holding.deadline) == (None, None)
        assert not holding.is_due(1e9)
        assert not holding.is_for(0)
        assert holding.release() is None
        holding.hold(7, b"commit", 1.0)
        assert holding.release() == (7, b"commit")


def test_it_knows_its_transition_and_when_it_has_waited_long_enough() -> None:
    holding = Holding()
    holding.hold(7, b"commit", 100.0)
    assert holding.commit == b"commit"
    assert holding.is_for(7)
    assert not holding.is_for(8)
    assert holding.deadline == 100.0 + HOLD_LIMIT_S
    assert not holding.is_due(100.0 + HOLD_LIMIT_S - 0.1)
    assert holding.is_due(100.0 + HOLD_LIMIT_S)
