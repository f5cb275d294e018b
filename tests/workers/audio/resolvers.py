"""Resolvers for the tests, as a bot's author might write them; imported by name."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from voicepool.ipc.sources import BytesSource, FileSource, SilenceSource, Source, UrlSource

__all__: list[str] = []

hold = threading.Event()
"""What `hanging` waits for."""
called = threading.Semaphore(0)
"""Released by each call of `hanging`."""
answers: dict[str, Any] = {}


def echo(query: str) -> str:
    return query


async def echo_later(query: str) -> str:
    return query


def as_path(query: str) -> Path:
    return Path(query)


def by_name(query: str) -> Any:
    return answers[query]


def failing(query: str) -> str:
    raise LookupError(
        f"nothing like {query} at https://user:secret@music.invalid/find?key=secret#secret, sorry"
    )


def leaving(_query: str) -> str:
    sys.exit("no more")


def hanging(query: str) -> str:
    called.release()
    assert hold.wait(60.0)
    return query


class Library:
    """A resolver with a place of its own."""

    @staticmethod
    def find(query: str) -> FileSource:
        return FileSource(f"/library/{query}")


class BotSource:
    """Looks like a source of the bot's side."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def to_wire(self) -> tuple[Source, tuple[bytes, ...]]:
        return self._source, ()


answers.update(
    {
        "url": {"url": "https://a.invalid/b?key=1", "headers": {"Referer": "x"}, "live": True, "title": None},
        "told": {"url": "/a.opus", "title": "T", "artist": "A", "duration_s": 3},
        "bounded": {"url": "http://a.invalid/", "max_latency_s": 2.0, "public_only": True},
        "silence": SilenceSource(1.0),
        "bot's url": BotSource(UrlSource("http://a.invalid/")),
        "bot's bytes": BotSource(BytesSource(3)),
        "nothing": None,
        "number": 3,
        "no url": {"title": "T"},
        "typo": {"url": "/a.opus", "titel": "secret"},
        "flag": {"url": "http://a.invalid/", "live": "secret"},
        "length": {"url": "/a.opus", "duration_s": float("nan")},
        "headers": {"url": "http://a.invalid/", "headers": {"Cookie": 3}},
        "path with headers": {"url": "/a.opus", "headers": {"Cookie": "secret"}},
        "live path": {"url": "/a.opus", "live": True},
    }
)
