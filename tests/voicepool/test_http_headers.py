"""Headers of the bot author."""

from __future__ import annotations

from typing import Any

import pytest

from voicepool._http_headers import RESERVED, checked_headers


def test_headers_are_copied() -> None:
    headers = {"Referer": "https://a.example/", "User-Agent": "bot/1 (x; y)", "X-Empty": ""}
    checked = checked_headers(headers)
    assert checked == headers
    assert checked is not headers


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\x7f", "caf\xe9", "\u20ac"])
def test_a_value_that_cannot_be_sent_is_refused_and_not_told(value: str) -> None:
    with pytest.raises(ValueError, match=r"headers\['A'\] cannot be sent") as caught:
        checked_headers({"A": f"hidden{value}"})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\nB", "Ä", "A\0"])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="headers has the name"):
        checked_headers({name: "x"})


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Host", "RANGE"])
def test_what_the_client_makes_itself_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="made anew for each request"):
        checked_headers({name: "x"})


def test_a_name_comes_once() -> None:
    with pytest.raises(ValueError, match="'a' twice"):
        checked_headers({"A": "x", "a": "y"})


def test_they_have_a_bound() -> None:
    assert checked_headers({"A": "x" * 16_379})
    with pytest.raises(ValueError, match="16385 bytes; 16384 are the most"):
        checked_headers({"A": "x" * 16_380})


@pytest.mark.parametrize("headers", [[("A", "b")], "A: b", 5, {"A": 5}, {5: "A"}, {"A": b"b"}])
def test_they_are_a_mapping_of_texts(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers must be a mapping"):
        checked_headers(headers)
