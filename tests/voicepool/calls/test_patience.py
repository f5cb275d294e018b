"""How long a bot waits for a worker that joins a call."""

from __future__ import annotations

from voicepool._calls.patience import joining_patience_s
from voicepool._playing.line import ANSWER_MARGIN_S
from voicepool.config import PoolConfig


def test_a_first_attempt_may_take_what_the_config_says_and_a_moment() -> None:
    config = PoolConfig(connect_timeout_s=7.0)
    assert joining_patience_s(config, mending=False) == 7.0 + ANSWER_MARGIN_S


def test_a_call_that_is_mended_may_take_all_attempts_and_the_wait_for_a_server() -> None:
    config = PoolConfig(
        connect_timeout_s=7.0, reconnect_longest_pause_s=3.0, reconnect_attempts=4, server_wait_s=20.0
    )
    assert joining_patience_s(config, mending=True) == 4 * 10.0 + 20.0 + ANSWER_MARGIN_S
