"""A worker's log lines: their two forms, the call that they are about, and what is never in them."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool.ipc.secret import REDACTED
from voicepool.workers.logs import JsonFormatter, SubjectFilter, Subjects, TextFormatter, configure

GUILD = 81384788765712384
LOGGER = logging.getLogger("voicepool.worker.call")


class Log:
    """What was written."""

    def __init__(self) -> None:
        self._stream = io.StringIO()

    def configure(self, **options: Any) -> None:
        configure(**options, stream=self._stream)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    log = Log()
    log.configure(worker="w0.1", level="DEBUG")
    yield log
    root.handlers[:] = before
    root.setLevel(level)


def subjects() -> Subjects:
    known = Subjects(10)
    known.note("c1", GUILD, secrets=("the-token", "the-session"))
    return known


def test_a_line_names_worker_process_and_logger(log: Log) -> None:
    LOGGER.warning("the server %s is slow", "x")
    [line] = log.lines
    assert line.endswith(f" WARNING voicepool.worker.call [w0.1 {os.getpid()}] the server x is slow")


def test_before_the_worker_has_a_name_it_has_a_pid(log: Log) -> None:
    log.configure()
    LOGGER.warning("early")
    LOGGER.info("not severe enough")
    [line] = log.lines
    assert f"[{os.getpid()}] early" in line


def test_a_line_about_a_call_names_its_guild(log: Log) -> None:
    with subjects().about("c1"):
        LOGGER.info("hello")
    LOGGER.info("and nobody")
    assert [f"guild {GUILD}]" in line for line in log.lines] == [True, False]


def test_of_a_call_without_a_known_guild_the_call_is_named(log: Log) -> None:
    known = subjects()
    known.forget("c1")
    for call in ("c1", "never heard of"):
        with known.about(call):
            LOGGER.info("hello")
    assert "call c1]" in log.lines[0]
    assert "call never heard of]" in log.lines[1]


def test_what_is_begun_before_the_guild_is_known_knows_it_later(log: Log) -> None:
    known = Subjects(2)
    with known.about("c1"):
        LOGGER.info("prepared")
        begun = contextvars.copy_context()
    known.note("c1", GUILD, secrets=("the-token",))
    begun.run(LOGGER.info, "opened with %s", "the-token")
    assert ["call c1]" in line for line in log.lines] == [True, False]
    assert log.lines[1].endswith(f"guild {GUILD}] opened with {REDACTED}")


def test_calls_that_nobody_knows_cost_no_other_its_guild(log: Log) -> None:
    known = Subjects(2)
    known.note("c1", GUILD)
    for number in range(10):
        with known.about(f"gone {number}"):
            pass
    with known.about("c1"):
        LOGGER.info("hello")
    assert f"guild {GUILD}]" in log.lines[0]
    assert len(known._unknown) == 2


def test_what_is_begun_before_a_call_is_forgotten_still_knows_it(log: Log) -> None:
    known = subjects()
    about = known.about("c1")
    known.forget("c1")
    with about:
        LOGGER.info("goodbye")
    assert f"guild {GUILD}]" in log.lines[0]


def test_more_calls_than_there_is_room_for_cost_the_oldest_its_guild(log: Log) -> None:
    known = Subjects(2)
    for number, call in enumerate(("a", "b", "a", "c")):
        known.note(call, number)
    for call in "abc":
        with known.about(call):
            LOGGER.info("hello")
    assert ["guild" in line for line in log.lines] == [True, False, True]


@asyncio_test
async def test_tasks_and_timers_of_a_call_speak_of_it_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    formatter = TextFormatter()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(formatter.format(record))

    handler = Handler()
    handler.addFilter(SubjectFilter("w0.1"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def at_the_end() -> None:
        LOGGER.warning("timer")
        done.set()

    async def task() -> None:
        LOGGER.warning("task")
        loop.call_later(0.0, at_the_end)

    with subjects().about("c1"):
        begun = asyncio.create_task(task())
    await begun
    await done.wait()
    LOGGER.warning("other")
    assert [f"guild {GUILD}" in line for line in written] == [True, True, False]


def test_other_handlers_find_on_the_record_what_it_is_about(log: Log) -> None:
    seen: list[dict[str, object]] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append({name: record.__dict__.get(name) for name in ("worker", "guild", "call")})

    logging.getLogger().addHandler(Other())
    # The settings, and with them the name, come after a handler of somebody's may have been added.
    log.configure(worker="w0.2", level="DEBUG")
    with subjects().about("c1"):
        LOGGER.info("hello")
    with subjects().about("c2"):
        LOGGER.info("hello")
    LOGGER.info("hello")
    assert seen == [
        {"worker": "w0.2", "guild": str(GUILD), "call": "c1"},
        {"worker": "w0.2", "guild": None, "call": "c2"},
        {"worker": "w0.2", "guild": None, "call": None},
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_who_says_it_by_extra_is_believed(log: Log, log_format: str) -> None:
    log.configure(worker="w0.1", level="DEBUG", log_format=log_format)
    with subjects().about("c1"):
        LOGGER.info("hello", extra={"guild": "5"})
    [line] = log.lines
    assert str(GUILD) not in line
    assert "guild 5]" in line or json.loads(line)["attributes"]["guild"] == "5"


THREADS = {
    "audio/blocking.py": "opens sources in the context of who asked",
    "audio/encoding.py": "serves all calls; a playback brings its call's context",
    "audio/readahead.py": "logs nothing",
    "doctor.py": "is no worker",
    "meters.py": "is about the process",
    "pacing/loop.py": "is about the process; what it tells is taken in the call's context",
    "parent.py": "is about the process",
    "verification.py": "logs nothing",
}
"""Files that begin threads, which inherit no context by themselves, and why no line lacks its call."""


def test_no_other_threads_are_begun_that_would_not_know_their_call() -> None:
    sources = Path(__file__).parents[2] / "workers"
    beginning = {
        str(path.relative_to(sources))
        for path in sources.rglob("*.py")
        if re.search(
            r"\b(Thread|ThreadPoolExecutor)\(|\brun_in_executor\(None", path.read_text(encoding="utf-8")
        )
    }
    assert beginning == set(THREADS)


def test_all_lines_are_of_our_loggers() -> None:
    sources = Path(__file__).parents[2] / "workers"
    names = {
        name
        for path in sources.rglob("*.py")
        for name in re.findall(r"getLogger\(([^)]*)\)", path.read_text(encoding="utf-8"))
    }
    assert {name for name in names if not name.startswith('"voicepool.')} == {"", '"libav"'}


# JSON.


def test_json_is_one_object_a_line_in_the_fields_of_opentelemetry(log: Log) -> None:
    log.configure(worker="w0.1", level="DEBUG", log_format="json")
    before = dt.datetime.now(dt.UTC)
    with subjects().about("c1"):
        LOGGER.warning("two\nlines and a %s", "“quote”")
    [line] = log.objects
    written = dt.datetime.fromisoformat(line.pop("timestamp"))
    assert before - dt.timedelta(seconds=1) <= written <= dt.datetime.now(dt.UTC)
    assert line == {
        "severity_text": "WARNING",
        "severity_number": 13,
        "body": "two\nlines and a “quote”",
        "scope": "voicepool.worker.call",
        "resource": {
            "service.name": "voicepool.worker",
            "service.instance.id": "w0.1",
            "process.pid": os.getpid(),
        },
        "attributes": {"thread.name": "MainThread", "worker": "w0.1", "guild": str(GUILD), "call": "c1"},
    }


def test_the_time_is_utc_to_the_microsecond() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "x", (), None)
    record.created = 1_763_749_205.25
    line = json.loads(JsonFormatter().format(record))
    assert line["timestamp"] == "2025-11-21T18:20:05.250000Z"


@pytest.mark.parametrize(
    ("level", "number"),
    [("DEBUG", 5), ("INFO", 9), ("WARNING", 13), ("ERROR", 17), ("CRITICAL", 21), ("Level 35", 13)],
)
def test_severities_are_those_of_the_model(log: Log, level: str, number: int) -> None:
    log.configure(level="DEBUG", log_format="json")
    LOGGER.log(35 if level == "Level 35" else getattr(logging, level), "x")
    [line] = log.objects
    assert (line["severity_text"], line["severity_number"]) == (level, number)


def test_an_error_is_in_the_same_line(log: Log) -> None:
    log.configure(level="DEBUG", log_format="json")
    try:
        int("no number")
    except ValueError:
        LOGGER.exception("it failed")
    [line] = log.objects
    attributes = line["attributes"]
    assert attributes["exception.type"] == "builtins.ValueError"
    assert "no number" in attributes["exception.message"]
    assert "Traceback (most recent call last)" in attributes["exception.stacktrace"]


def test_text_has_the_traceback_below(log: Log) -> None:
    try:
        int("no number")
    except ValueError:
        LOGGER.exception("it failed")
    assert log.lines[0].endswith("it failed")
    assert log.lines[-1].startswith("ValueError: invalid literal")


def test_another_format_takes_the_place_of_the_first(log: Log) -> None:
    log.configure(worker="w0.1", level="INFO", log_format="json")
    log.configure(worker="w0.1", level="INFO", log_format="text")
    LOGGER.info("once")
    assert len(log.lines) == 1


# Secrets.


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_of_a_call_is_in_any_of_its_lines(log: Log, log_format: str) -> None:
    log.configure(worker="w0.1", level="DEBUG", log_format=log_format)
    with subjects().about("c1"):
        LOGGER.debug('sent {"token": "%s", "session_id": "%s"}', "the-token", "the-session")
        try:
            int("the-token")
        except ValueError:
            LOGGER.exception("refused with %r", "the-session")
    written = "\n".join(log.lines)
    assert "the-token" not in written
    assert "the-session" not in written
    assert written.count(REDACTED) >= 4


def test_an_empty_secret_masks_nothing(log: Log) -> None:
    known = Subjects(1)
    known.note("c1", 5, secrets=("", "a"))
    with known.about("c1"):
        LOGGER.info("a banana")
    assert log.lines[0].endswith("a banana")


def test_what_is_known_of_a_call_shows_no_secret() -> None:
    known = subjects()
    assert "the-token" not in repr(known._known)
