"""What a process says: what is kept of it, and what is passed on."""

from __future__ import annotations

import sys

import pytest

from voicepool._process.words import KEPT_CHARS, KEPT_LINES, MAX_DUMP_LINES, Words


def test_lines_are_put_together_from_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    words = Words()
    words.take(b"one\ntw")
    assert list(words.lines) == ["one"]
    words.take(b"o\n\n \nthr")
    assert list(words.lines) == ["one", "two"]
    words.end()
    assert list(words.lines) == ["one", "two", "thr"]
    assert capsys.readouterr().err == "one\ntwo\n\n \nthr"


def test_a_character_may_come_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    words = Words()
    for byte in "naïve 🎵\n".encode():
        words.take(bytes((byte,)))
    assert words.lines == ("naïve 🎵",)
    assert capsys.readouterr().err == "naïve 🎵\n"


def test_what_is_no_text_is_no_error() -> None:
    words = Words()
    words.take(b"\xff\xfe\n\xf0")
    words.end()
    assert words.lines == ("\ufffd\ufffd", "\ufffd")


def test_no_more_is_kept_than_is_bearable() -> None:
    words = Words()
    for number in range(KEPT_LINES * 3):
        words.take(f"{number}\n".encode())
    assert words.lines == tuple(map(str, range(KEPT_LINES * 2, KEPT_LINES * 3)))
    for _ in range(10):
        words.take(b"x" * KEPT_CHARS)
    words.end()
    assert words.lines[-1] == "x" * KEPT_CHARS


def test_what_is_collected_is_neither_kept_nor_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    words = Words()
    words.take(b"before\n")
    with words.collecting() as dump:
        words.take(b"line\n" * (MAX_DUMP_LINES + 7))
        assert dump == ["line"] * MAX_DUMP_LINES
    words.take(b"after\n")
    assert words.lines == ("before", "after")
    assert capsys.readouterr().err == "before\nafter\n"


class Closed:
    def write(self, _text: str) -> None:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [Closed(), None])
def test_standard_error_may_be_closed_or_missing(
    stream: Closed | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    words = Words()
    words.take(b"heard\n")
    assert words.lines == ("heard",)
