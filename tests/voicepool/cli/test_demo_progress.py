"""The line on a terminal, and the nothing elsewhere."""

from __future__ import annotations

import io

import pytest

from voicepool.cli._demo_progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def visible(self) -> str:
        """What its one line shows."""
        return self.getvalue().rpartition("\r")[2].replace("\x1b[2K", "")


def test_elsewhere_nothing_is_written() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        assert not progress.shown
        progress.say("starting")
        progress.play(1, 2)
    assert stream.getvalue() == ""


def test_each_line_takes_the_place_of_the_one_before_and_the_last_goes_too() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress.say("a long first line")
        progress.say("short")
        assert stream.visible() == "short"
    assert stream.visible() == ""
    assert "\n" not in stream.getvalue()


@pytest.mark.parametrize(
    ("done_s", "whole_s", "bar"),
    [
        (0.0, 10.0, "playing [------------------------------]  0.0 / 10.0 s"),
        (5.0, 10.0, "playing [###############---------------]  5.0 / 10.0 s"),
        (12.0, 10.0, "playing [##############################] 10.0 / 10.0 s"),
        (0.0, 0.0, "playing [##############################]  0.0 / 0.0 s"),
    ],
)
def test_the_bar(done_s: float, whole_s: float, bar: str) -> None:
    stream = Terminal()
    Progress(stream).play(done_s, whole_s)
    assert stream.visible() == bar


def test_a_narrow_terminal_gets_no_second_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "11")
    stream = Terminal()
    Progress(stream).say("wider than ten characters")
    assert stream.visible() == "wider than"


def test_an_error_takes_the_line_away_before_it_is_told() -> None:
    stream = Terminal()

    def fail() -> None:
        with Progress(stream) as progress:
            progress.say("playing")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert stream.visible() == ""
