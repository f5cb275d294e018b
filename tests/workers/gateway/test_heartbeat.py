from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.gateway.heartbeat import SHORTEST_INTERVAL_S, Heartbeat


def started(interval_s: float = 10.0, *, now: float = 0.0, limit: int = 2, jitter: float = 0.5) -> Heartbeat:
    heartbeat = Heartbeat(unanswered_limit=limit, jitter=lambda: jitter)
    heartbeat.start(interval_s, now)
    return heartbeat


def test_silent_until_started_and_after_stop() -> None:
    heartbeat = Heartbeat(unanswered_limit=1, jitter=lambda: 0.0)
    assert heartbeat.due is None
    assert not heartbeat.started
    heartbeat.start(1.0, 0.0)
    assert heartbeat.started
    heartbeat.stop()
    assert heartbeat.due is None


def test_the_first_is_jittered_and_the_next_keep_the_interval() -> None:
    heartbeat = started(now=100.0)
    assert heartbeat.due == 105.0
    heartbeat.beat(105.2)
    assert heartbeat.due == 115.0


def test_a_hold_up_is_not_followed_by_a_burst() -> None:
    heartbeat = started()
    heartbeat.beat(1_000.0)
    assert heartbeat.due == 1_010.0


def test_dead_after_so_many_unanswered() -> None:
    heartbeat = started(limit=2)
    heartbeat.beat(5.0)
    assert not heartbeat.is_dead
    heartbeat.beat(15.0)
    assert heartbeat.is_dead
    assert heartbeat.unanswered == 2
    assert heartbeat.silent_s(25.0) == 20.0


def test_an_answer_gives_the_round_trip_and_revives() -> None:
    heartbeat = started(limit=1)
    nonce = heartbeat.beat(5.0)
    heartbeat.answered(nonce, 5.25)
    assert heartbeat.rtt_s == 0.25
    assert not heartbeat.is_dead
    assert heartbeat.silent_s(9.0) == 0.0


def test_a_strange_answer_is_a_sign_of_life_without_a_round_trip() -> None:
    heartbeat = started(limit=1)
    heartbeat.beat(5.0)
    heartbeat.answered(-1, 6.0)
    assert heartbeat.rtt_s is None
    assert not heartbeat.is_dead


def test_an_absurd_interval_is_not_obeyed() -> None:
    heartbeat = started(1e-9, jitter=1.0)
    assert heartbeat.due == pytest.approx(SHORTEST_INTERVAL_S)


@given(st.lists(st.floats(0, 0.001), min_size=1, max_size=50))
def test_nonces_differ_however_close_the_beats(steps: list[float]) -> None:
    heartbeat = started(limit=1_000)
    now, nonces = 5.0, []
    for step in steps:
        now += step
        nonces.append(heartbeat.beat(now))
    assert len(set(nonces)) == len(nonces)
    assert nonces == sorted(nonces)
