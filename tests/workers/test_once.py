"""What happens again and again is logged once."""

from __future__ import annotations

import logging

import pytest

from voicepool.workers.once import LogOnce

LOGGER = logging.getLogger("tests.once")


def test_each_kind_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(LOGGER)
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        for _ in range(3):
            once.info("a", "%s came", "a")
            once.info("b", "b came")
    assert caplog.messages == ["a came", "b came"]


def test_a_stranger_with_many_kinds_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(LOGGER, limit=3)
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        for number in range(100):
            once.info(str(number), "number %d", number)
    assert caplog.messages[:3] == ["number 0", "number 1", "number 2"]
    assert len(caplog.messages) == 4
    assert "3 kinds" in caplog.messages[3]
