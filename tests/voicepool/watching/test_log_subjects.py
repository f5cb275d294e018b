"""Log lines of the bot's side know their guild and their worker."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from voicepool._watching.log_subjects import LOGGERS, SubjectFilter, name_subjects
from voicepool.pool import VoicePool

SOURCES = Path(__file__).parents[3] / "voicepool"


@pytest.mark.parametrize(
    ("line", "guild", "worker"),
    [
        (("guild %s: the connection has ended: %s", 81384788765712384, "why"), "81384788765712384", None),
        (("worker %s (pid %s) hangs%s", "w0.12", 4711, ""), None, "w0.12"),
        (("%s: cannot stop %s: %s", "guild 5", "song", "worker w1.2 was killed"), "5", "w1.2"),
        (("%d workers instead of %d (%s)", 3, 2, "scale"), None, None),
    ],
)
def test_a_record_carries_what_its_text_names(
    line: tuple[object, ...], guild: str | None, worker: str | None
) -> None:
    record = logging.LogRecord("voicepool.pool", logging.WARNING, "", 1, line[0], line[1:], None)
    assert SubjectFilter().filter(record)
    assert (record.__dict__["guild"], record.__dict__["worker"]) == (guild, worker)


def test_who_says_it_by_extra_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    name_subjects()
    name_subjects()
    logger = logging.getLogger("voicepool.connection")
    logger.warning("guild 1: nothing", extra={"guild": "2"})
    [record] = caplog.records
    assert (record.__dict__["guild"], record.__dict__["worker"]) == ("2", None)
    assert sum(isinstance(each, SubjectFilter) for each in logger.filters) == 1


def test_all_loggers_of_ours_are_known() -> None:
    found = {
        name
        for path in SOURCES.rglob("*.py")
        if not {"workers", "ipc", "testing"} & set(path.relative_to(SOURCES).parts)
        for name in re.findall(r'getLogger\("(voicepool[^"]*)"\)', path.read_text(encoding="utf-8"))
    }
    assert found <= set(LOGGERS)


def test_a_pool_sees_to_it() -> None:
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for each in list(logger.filters):
            logger.removeFilter(each)
    VoicePool()
    assert all(logging.getLogger(name).filters for name in LOGGERS)
