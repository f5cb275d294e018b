"""When a lost worker is started again."""

from __future__ import annotations

from voicepool._process.health import CALM_AFTER_S, LONGEST_PAUSE_S, LOOP_FAILURES, LOOP_SPAN_S, RestartPolicy


def test_the_first_loss_is_answered_at_once() -> None:
    policy = RestartPolicy()
    policy.became_ready(100.0)
    assert policy.failed(101.0) == 0.0


def test_pauses_double_up_to_a_cap() -> None:
    policy = RestartPolicy()
    # Rarely enough to be no crash loop, and too often to be forgiven.
    pauses = [policy.failed(20.0 * index) for index in range(12)]
    assert pauses[:6] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert not policy.is_looping


def test_failures_in_quick_succession_are_a_crash_loop() -> None:
    policy = RestartPolicy()
    pauses = [policy.failed(float(now)) for now in range(LOOP_FAILURES - 1)]
    assert pauses == [0.0, 0.5, 1.0, 2.0]
    assert not policy.is_looping
    assert policy.failed(LOOP_SPAN_S) == LONGEST_PAUSE_S
    assert policy.is_looping


def test_a_crash_loop_is_forgiven_only_after_a_calm_time() -> None:
    policy = RestartPolicy()
    for now in range(LOOP_FAILURES):
        policy.failed(float(now))
    policy.became_ready(100.0)
    assert policy.failed(100.0 + CALM_AFTER_S - 1.0) == LONGEST_PAUSE_S
    assert policy.is_looping
    policy.became_ready(200.0)
    assert policy.failed(200.0 + CALM_AFTER_S) == 0.0
    assert not policy.is_looping
    assert policy.failures == 1


def test_an_end_that_is_no_failure_is_answered_at_once() -> None:
    policy = RestartPolicy()
    policy.failed(0.0)
    policy.failed(1.0)
    policy.became_ready(2.0)
    assert policy.ended(2.0 + CALM_AFTER_S) == 0.0
    assert policy.failures == 0
    assert policy.ended(500.0) == 0.0


def test_an_end_soon_after_the_start_counts_whatever_its_reason() -> None:
    """A limit of memory below what an idle worker uses must not have workers started without a pause."""
    policy = RestartPolicy()
    pauses = []
    for index in range(LOOP_FAILURES):
        policy.became_ready(float(index))
        pauses.append(policy.ended(index + 0.5))
    assert pauses == [0.0, 0.5, 1.0, 2.0, LONGEST_PAUSE_S]


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
