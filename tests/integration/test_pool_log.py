"""The log of a real pool: each line of either side that is about a guild or a worker carries which."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.integration.calls import world
from tests.workers.audio.media_files import opus
from voicepool import AudioFile

GUILD: Final = 81384788765712384
PENDING: Final = {"voicepool.link", "voicepool.worker"}


class Records(logging.Handler):
    """All that our loggers in this process were told."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def bots() -> Iterator[list[logging.LogRecord]]:
    logger, handler = logging.getLogger("voicepool"), Records()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.records
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_lines_carry_their_guild_and_their_worker(
    bots: list[logging.LogRecord], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "song.opus"
    path.write_bytes(opus(seconds=10.0))

    @asyncio_test
    async def scenario() -> None:
        async with world(log_level="DEBUG", log_format="json") as here:
            voice = await here.join(GUILD)
            await voice.start(AudioFile(path))
            voice.listen(_fail)
            [info] = here.pool.workers
            assert info.pid is not None
            os.kill(info.pid, signal.SIGKILL)
            await until(lambda: here.pool.workers[0].name == "w0.2" and voice.playing)

    scenario()
    for record in bots:
        if record.name not in PENDING and not record.name.startswith("voicepool.testing"):
            assert_marked(record)
    assert {"w0.1", None} <= {record.__dict__.get("worker") for record in bots}
    assert {str(GUILD), None} <= {record.__dict__.get("guild") for record in bots}

    lines: list[dict[str, Any]] = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    named = [line for line in lines if line["resource"]["service.instance.id"]]
    assert {line["attributes"]["worker"] for line in named} == {"w0.1", "w0.2"}
    assert all(line["attributes"]["worker"] == line["resource"]["service.instance.id"] for line in named)
    of_calls = [line for line in lines if "call" in line["attributes"]]
    assert {line["attributes"]["guild"] for line in of_calls} == {str(GUILD)}
    assert of_calls
    assert [line["body"] for line in lines if line["body"].startswith("call ") and line not in of_calls] == []


def _fail(event: object) -> None:
    raise RuntimeError(f"a listener's mistake at {event}")


def assert_marked(record: logging.LogRecord) -> None:
    text = record.getMessage()
    for kind, pattern in (("guild", r"\bguild (\d+)\b"), ("worker", r"\b(w\d+\.\d+)\b")):
        named = set(re.findall(pattern, text))
        if len(named) == 1:
            assert record.__dict__.get(kind) == named.pop(), f"{record.name}: {text}"
