"""[pure] On which line of a TOML document each key stands. `tomllib` reads the values and does not tell.

The document is known to be valid, which makes this short: only what may hide a newline or a key has to be
understood (strings of four kinds, comments, brackets), not what the values are. TOML v1.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["key_lines"]

_STATEMENT: Final = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+ | \#[^\n]*)
    | \[\[?(?P<table>(?:"(?:\\.|[^"\\\n])*" | '[^'\n]*' | [^\]"'\n])*)\]\]?
    | (?P<key>(?:"(?:\\.|[^"\\\n])*" | '[^'\n]*' | [^=\#"'\n])+)=
    """,
    re.VERBOSE,
)
_PART_OF_VALUE: Final = re.compile(
    r'''
    """(?:\\.|[^\\])*?"""+ | \'\'\'.*?\'\'\'+ | "(?:\\.|[^"\\\n])*" | '[^'\n]*'
    | \#[^\n]* | (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<end>\n) | [^\n"'\#\[\]{}]+
    ''',
    re.VERBOSE | re.DOTALL,
)
_KEY: Final = re.compile(r""""(?P<basic>(?:\\.|[^"\\])*)"|'(?P<literal>[^']*)'|(?P<bare>[A-Za-z0-9_-]+)""")


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Find the keys of a valid document.

    Returns
    -------
    dict
        The line, from 1, of each key and each table header by its full path: ``("tool", "voicepool",
        "workers")``. Keys within an inline table are not listed; the table's own is.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for kind, name, at in _statements(text):
        path = _split(name)
        if kind == "table":
            table = path
        full = table if kind == "table" else (*table, *path)
        lines.setdefault(full, text.count("\n", 0, at) + 1)
    return lines


def _statements(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind (``table`` or ``key``), name as written, and offset."""
    at = 0
    while (found := _STATEMENT.match(text, at)) is not None:
        at = found.end()
        if found["blank"] is not None:
            continue
        kind = "key" if found["key"] is not None else "table"
        yield kind, found[kind], found.start()
        if kind == "key":
            at = _end_of_value(text, at)


def _end_of_value(text: str, at: int) -> int:
    depth = 0
    while (found := _PART_OF_VALUE.match(text, at)) is not None:
        at = found.end()
        depth += (found["open"] is not None) - (found["close"] is not None)
        if found["end"] is not None and depth <= 0:
            break
    return at


def _split(name: str) -> tuple[str, ...]:
    # Escapes in quoted keys are left as they are written: no setting's name needs one.
    return tuple(next(part for part in found.groups() if part is not None) for found in _KEY.finditer(name))
