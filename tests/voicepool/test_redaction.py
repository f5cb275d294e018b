"""What others wrote, in logs and errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._redaction import shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("blue monday", "blue monday"),
        ("https://a.example/b?key=hidden#hidden", "https://a.example/b"),
        ("see 'https://me:hidden@a.example:8/b?x' there", "see 'https://a.example:8/b' there"),
        ("HTTPS://hidden@a.example?hidden", "HTTPS://a.example"),
        ("http://a.example/x@y", "http://a.example/x@y"),
        ("two http://a/?hidden and rtmp://b/?hidden", "two http://a/ and rtmp://b/"),
        ("two\nlines\t and\x1b[0m", "two lines and\N{REPLACEMENT CHARACTER}[0m"),
        ("http://\nhidden-not", "http:// hidden-not"),
        ("", ""),
    ],
)
def test_urls_lose_what_may_be_secret(text: str, line: str) -> None:
    assert shown(text) == line


@given(st.text())
def test_it_is_one_printable_line_of_bounded_length(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    assert len(line) <= 301


def test_long_texts_are_cut() -> None:
    assert shown("x" * 1_000) == "x" * 300 + "…"
