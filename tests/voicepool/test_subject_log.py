"""Every line of the bot's log that is about a guild or a worker says which, beside its text."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from voicepool._subject_log import Place, about

SOURCES: Final = Path(__file__).parents[2] / "voicepool"
ELSEWHERE: Final = {"workers", "ipc", "testing"}
"""Worker processes, whose lines are marked by `voicepool.workers.logs`; and stand-ins, of no pool."""
METHODS: Final = {"debug", "info", "warning", "error", "exception", "critical", "log"}
OF_THE_POOL: Final = (
    "_calls/switchboard.py",
    "_fleet/",
    "_machine/preflight.py",
    "_pool_changing.py",
    "_process/rendezvous.py",
    "_settings/",
    "_watching/",
    "ytdlp.py",
)
"""Files that also log what is about no guild and no worker in particular. In others every line is marked."""
SPEAKS_OF_ONE: Final = re.compile(
    r"^(?:self\.)?_?(?:guild|worker|place|link|slot|member|connection|call|call_id|pid)\b|guild_id$"
)
"""What is filled into a text by these names is about one."""
PENDING: Final = re.compile(r"_process/(?!slot|rendezvous)")
NAMED: Final = {"guild %": "guild", "worker %": "worker"}
"""What a text has before a name that it fills in, and the parameter of `about` that has to be given it."""


class Line(NamedTuple):
    """A place in the sources where something is logged."""

    where: str
    text: str
    values: tuple[str, ...]
    """What is filled into the text, as written."""
    subject: dict[str, str] | None
    """Arguments of `about`, as written; None without it."""

    def __str__(self) -> str:
        return self.where


def lines_of(source: str, name: str) -> Iterator[Line]:
    """Yield all lines that a file logs."""
    tree = ast.parse(source)
    # The text of a line that is built in a variable is the one assigned last before it.
    for function in [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]:
        own: dict[str, str] = {}
        for node in sorted(_own_nodes(function), key=lambda node: getattr(node, "lineno", 0)):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                own |= {each.id: str(node.value.value) for each in node.targets if isinstance(each, ast.Name)}
            if isinstance(node, ast.Call) and _is_logging(node):
                yield _line(node, own, name)


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own_nodes(child)


def _is_logging(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in METHODS
        and "log" in ast.unparse(function.value).rpartition(".")[2].lower()
    )


def _line(call: ast.Call, texts: dict[str, str], name: str) -> Line:
    assert isinstance(call.func, ast.Attribute)
    text, *values = call.args[1:] if call.func.attr == "log" else call.args
    subject = None
    for keyword in call.keywords:
        if keyword.arg == "extra":
            assert isinstance(keyword.value, ast.Call)
            assert ast.unparse(keyword.value.func) == "about"
            subject = {str(each.arg): ast.unparse(each.value) for each in keyword.value.keywords}
    return Line(
        where=f"{name}:{call.lineno}",
        text=str(text.value) if isinstance(text, ast.Constant) else texts.get(ast.unparse(text), ""),
        values=tuple(map(ast.unparse, values)),
        subject=subject,
    )


def complaint(line: Line) -> str | None:
    """Say what is wrong with how a line is marked; None if nothing is."""
    if not line.text:
        return "its text stands neither in the call nor in a variable of the same function"
    if line.subject is not None:
        return _untrue(line, line.subject)
    if not line.where.startswith(OF_THE_POOL):
        return "it has no `extra=about(...)`, which every line of this file needs"
    if any(before in line.text for before in NAMED) or any(map(SPEAKS_OF_ONE.search, line.values)):
        return "it speaks of a guild or a worker, and has no `extra=about(...)`"
    return None


def _untrue(line: Line, subject: dict[str, str]) -> str | None:
    """Say in what a text and its mark differ."""
    if not subject.keys() & {"guild", "place", "worker"}:
        return "it is about nothing"
    placeholders = [match.start() for match in re.finditer(r"%(?!%)", line.text)]
    for position, value in zip(placeholders, line.values, strict=True):
        named = {
            parameter for before, parameter in NAMED.items() if line.text[: position + 1].endswith(before)
        }
        if re.search(r"\bplace$", value):
            named.add("place")
        for parameter in named:
            if subject.get(parameter) != value:
                return f"its text names {value} as {parameter}, its record {subject.get(parameter)}"
    return None


LINES: Final = [
    line
    for path in sorted(SOURCES.rglob("*.py"))
    if not ELSEWHERE & set(path.relative_to(SOURCES).parts)
    if not PENDING.match(str(path.relative_to(SOURCES)))
    for line in lines_of(path.read_text(encoding="utf-8"), str(path.relative_to(SOURCES)))
]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_line_says_what_it_is_about(line: Line) -> None:
    assert complaint(line) is None, f"{line.where}: {line.text!r}: {complaint(line)}"


@pytest.mark.parametrize(
    ("file", "code", "complains"),
    [
        ("player.py", '_LOGGER.warning("it is gone")', "every line of this file"),
        ("player.py", 'text = "it is gone"\n    self._log.error(text)', "every line of this file"),
        ("player.py", 'text = "it is gone"\n    self._log.error(text, extra=about(guild=guild))', None),
        ("_fleet/fleet.py", '_LOGGER.warning("guild %s: no", x)', "speaks of a guild"),
        ("_fleet/fleet.py", '_LOGGER.warning("no figures from %s", link.worker)', "speaks of a guild"),
        ("_fleet/fleet.py", '_LOGGER.info("%d workers", count)', None),
        ("a.py", '_LOGGER.warning("guild %s: no", guild, extra=about(worker=name))', "its record None"),
        ("a.py", '_LOGGER.warning("guild %s: no", guild, extra=about(guild=other))', "its record other"),
        ("a.py", '_LOGGER.log(level, "worker %s: no", a, extra=about(worker=b))', "its record b"),
        ("a.py", '_LOGGER.warning("%s: no", self.place, extra=about(worker=a))', "its record None"),
        ("a.py", '_LOGGER.warning("guild %s: no", guild, extra=about())', "about nothing"),
        ("a.py", "_LOGGER.info(made(), extra=about(guild=g))", "stands neither"),
        ("a.py", '_LOGGER.info("guild %s is at %s", g, w, extra=about(guild=g, worker=w))', None),
    ],
)
def test_a_line_that_is_not_marked_is_found(file: str, code: str, complains: str | None) -> None:
    [line] = lines_of(f"def f():\n    {code}\n", file)
    found = complaint(line)
    assert (found is None) if complains is None else (complains in (found or ""))


def test_files_that_need_no_mark_are_there() -> None:
    assert [name for name in OF_THE_POOL if not (SOURCES / name).exists()] == []


def test_lines_are_found_at_all() -> None:
    named = {line.where.partition(":")[0] for line in LINES}
    files = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if not ELSEWHERE & set(path.relative_to(SOURCES).parts)
        and not PENDING.match(str(path.relative_to(SOURCES)))
        and re.search(r"^_LOGGER: Final = logging.getLogger", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named == files


# What a record carries.


def test_a_record_carries_text() -> None:
    said = about(guild=81384788765712384, worker="w0.2")
    record = logging.getLogger("voicepool.pool").makeRecord("a", 1, "f", 1, "t", (), None, extra=said)
    assert (record.__dict__["guild"], record.__dict__["worker"]) == ("81384788765712384", "w0.2")


def test_what_is_not_known_is_not_said() -> None:
    assert about() == about(worker="") == about(place="the pool") == {}
    assert about(guild=0) == {"guild": "0"}


def test_a_place_is_its_text_and_knows_its_guild() -> None:
    place = Place(5)
    assert f"{place}: gone" == "guild 5: gone"
    assert about(place=place, worker="w1.1") == {"guild": "5", "worker": "w1.1"}
