"""Standard input as a pipe whose other end is the bot."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import msgspec
import pytest

from voicepool.ipc.endpoint import Bootstrap, CurveKeys
from voicepool.ipc.ids import WorkerId
from voicepool.workers.parent import read_bootstrap, watch_parent

SAFETY_S = 30.0
BOOTSTRAP = Bootstrap(
    address="ipc:///run/vp/w0.sock",
    worker=WorkerId("w0.1"),
    start_token="token",
    curve=CurveKeys("server", "public", "secret"),
)


class Pipe:
    """The bot's end and the worker's."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def write(self, data: bytes) -> None:
        assert os.write(self._writer, data) == len(data)

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
        self._writer = -1


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: pipe.reader))
    yield pipe
    pipe.close()
    os.close(pipe.reader)


def test_the_line_is_read_and_nothing_after_it(pipe: Pipe) -> None:
    pipe.write(BOOTSTRAP.to_line() + b"later")
    assert read_bootstrap() == BOOTSTRAP
    assert os.read(pipe.reader, 100) == b"later"


@pytest.mark.parametrize("beginning", [b"", BOOTSTRAP.to_line()[:-1], b'{"address":'])
def test_an_input_that_closes_before_the_line_is_complete_gives_none(pipe: Pipe, beginning: bytes) -> None:
    pipe.write(beginning)
    pipe.close()
    assert read_bootstrap() is None


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"[]", b'{"address": 1}', b'{"address": "a"}', b'{"\xff": 1}']
)
def test_another_line_is_refused(pipe: Pipe, line: bytes) -> None:
    pipe.write(line + b"\n")
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        read_bootstrap()


def test_a_line_without_end_is_not_read_for_ever(pipe: Pipe) -> None:
    writing = threading.Thread(target=pipe.write, args=(b"x" * 40_000,))
    writing.start()
    with pytest.raises(msgspec.DecodeError):
        read_bootstrap()
    left = 40_000 - 16_384
    while left:
        left -= len(os.read(pipe.reader, left))
    writing.join(SAFETY_S)


def test_the_watch_calls_once_when_the_other_end_closes(pipe: Pipe) -> None:
    calls: list[str] = []
    thread = watch_parent(lambda: calls.append(threading.current_thread().name))
    assert thread.daemon
    pipe.close()
    thread.join(SAFETY_S)
    assert calls == ["voicepool-parent-watch"]


def test_what_the_bot_writes_is_passed_over(pipe: Pipe) -> None:
    gone = threading.Event()
    thread = watch_parent(gone.set)
    for _ in range(20):
        pipe.write(bytes(4_096))
    assert not gone.is_set()
    pipe.close()
    thread.join(SAFETY_S)
    assert gone.is_set()


def test_a_broken_input_is_the_same_as_a_closed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: unusable))
    gone = threading.Event()
    watch_parent(gone.set).join(SAFETY_S)
    os.close(unusable)
    assert gone.is_set()
