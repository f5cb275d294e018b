"""[pure] How long a bot waits for a worker that joins a call."""

from __future__ import annotations

from voicepool._playing.line import ANSWER_MARGIN_S
from voicepool.config import PoolConfig

__all__ = ["joining_patience_s"]


def joining_patience_s(config: PoolConfig, *, mending: bool) -> float:
    """Return how long a worker may take to answer `OpenCall`, in seconds.

    Whether a voice server answers is the worker's to judge. This limit is beyond all of the worker's own, and
    ends the waiting for a worker that has fallen silent.
    """
    attempt_s = config.connect_timeout_s
    if mending:
        pause_s = config.reconnect_longest_pause_s
        attempt_s = config.reconnect_attempts * (attempt_s + pause_s) + config.server_wait_s
    return attempt_s + ANSWER_MARGIN_S
