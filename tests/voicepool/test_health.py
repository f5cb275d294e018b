"""When a lost worker is started again."""

from __future__ import annotations

from voicepool._health import CALM_AFTER_S, LONGEST_PAUSE_S, RestartPolicy


def test_the_first_loss_is_answered_at_once() -> None:
    policy = RestartPolicy()
    policy.became_ready(100.0)
    assert policy.failed(101.0) == 0.0


def test_pauses_double_up_to_a_cap() -> None:
    policy = RestartPolicy()
    pauses = [policy.failed(float(now)) for now in range(12)]
    assert pauses[:6] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_the_cap_holds_for_ever() -> None:
    policy = RestartPolicy()
    assert [policy.failed(0.0) for _ in range(5_000)][-1] == LONGEST_PAUSE_S


def test_a_worker_that_stayed_up_is_forgiven() -> None:
    policy = RestartPolicy()
    for now in range(5):
        policy.failed(float(now))
    policy.became_ready(10.0)
    assert policy.failed(10.0 + CALM_AFTER_S) == 0.0
    assert policy.failures == 1


def test_a_worker_that_came_up_for_a_moment_is_not() -> None:
    policy = RestartPolicy()
    policy.failed(0.0)
    policy.became_ready(1.0)
    assert policy.failed(1.0 + CALM_AFTER_S / 2) == 0.5


def test_time_counts_only_while_the_worker_is_up() -> None:
    policy = RestartPolicy()
    policy.became_ready(0.0)
    policy.failed(1.0)
    assert policy.failed(1_000.0) == 0.5
