"""[pure] What others wrote, made fit for one line of a log or an error: no secrets of URLs, and cut."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["shown"]

_URL: Final = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<rest>[^\s'\"<>]*)", re.IGNORECASE)
_MAX_CHARACTERS: Final = 300


def shown(text: str) -> str:
    """Return a text without the user part, query and fragment of the URLs in it, on one line, and cut.

    Parameters
    ----------
    text
        Anything: what a user typed, or what another library says of it.
    """
    line = " ".join(_URL.sub(_bare, text).split())
    line = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )
    return line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]}…"


def _bare(url: re.Match[str]) -> str:
    place = re.split(r"[?#]", url["rest"], maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{url['scheme']}{host.rpartition('@')[2]}{slash}{path}"
