"""``voicepool config``: the settings in force, checked, explained, or written out.

The exit code is 0; of ``--check`` it is 1 if the file has problems (warnings are none), and 2 if there is no
such file or it is no TOML. All but ``--example`` print JSON if asked to.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from voicepool._machine.cores import read_topology
from voicepool._machine.isolation import Topology
from voicepool._settings.export import example, toml_value
from voicepool._settings.file import Setting, nearest
from voicepool._settings.warnings import find_cautions
from voicepool.config import Explanation, PoolConfig
from voicepool.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["add_arguments", "check", "in_force", "run"]

_WIDTH: Final = 100
_PROBLEMS: Final = 1
_UNREADABLE: Final = 2

Json = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    deeds = parser.add_mutually_exclusive_group()
    deeds.add_argument("--check", metavar="FILE", type=Path, help="find every problem of this file")
    deeds.add_argument(
        "--explain", metavar="KEY", nargs="*", help="tell what these settings do; without KEY, all of them"
    )
    deeds.add_argument("--schema", action="store_true", help="print the JSON Schema of such a file")
    deeds.add_argument(
        "--example",
        metavar="FILE",
        nargs="?",
        const="-",
        help="write a file with every setting documented; it must not exist. Without FILE, print it",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="show the settings of this file (default: as a pool finds it)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, and return the exit code."""
    deeds = (args.check, args.explain, args.example, args.schema or None)
    if args.config is not None and any(deed is not None for deed in deeds):
        args.refuse("--config is for showing the settings in force, and for nothing else")
    if args.json and args.example is not None:
        args.refuse("--example writes TOML; leave --json out")
    if args.check is not None:
        report = check(args.check, read_topology())
        print(json.dumps(report) if args.json else _render_check(report))
        return int(report["exit_code"])
    if args.explain is not None:
        found = _explained(args.explain)
        print(json.dumps(_explanations(found)) if args.json else "\n\n".join(map(_render, found)))
    elif args.schema:
        print(json.dumps(PoolConfig.schema(), indent=None if args.json else 2))
    elif args.example is not None:
        _write_example(args.example)
    else:
        shown = in_force(args.config)
        print(json.dumps(shown) if args.json else _render_in_force(shown))
    return 0


def check(file: Path, topology: Topology) -> Json:
    """Find every problem of a file, by itself: the environment is left out.

    Parameters
    ----------
    file
        A TOML file as `PoolConfig.load` takes it.
    topology
        The cores that a pool here may use.

    Returns
    -------
    dict
        JSON types: ``file``, ``exit_code``, and ``problems`` and ``warnings``, lists of ``key``, ``line`` and
        ``text``.
    """
    try:
        examined = PoolConfig.examine(file, env={})
    except ConfigError as error:
        problem = {"key": error.key, "line": error.data.get("line"), "text": str(error)}
        return {"file": str(file), "exit_code": _UNREADABLE, "problems": [problem], "warnings": []}
    problems = [
        {"key": error.key, "line": error.data.get("line"), "text": error.data.get("problem", str(error))}
        for error in examined.problems
    ]
    try:
        config = PoolConfig(**examined.values)
    except ConfigError:
        # They contradict each other, which is among the problems already.
        config = PoolConfig()
    lines = {key: setting.line for key, setting in examined.settings.items()}
    warnings = [
        {"key": caution.key, "line": lines.get(caution.key), "text": caution.text}
        for caution in find_cautions(config, topology, examined.settings)
    ]
    exit_code = _PROBLEMS if problems else 0
    return {"file": str(file), "exit_code": exit_code, "problems": problems, "warnings": warnings}


def in_force(path: str | None) -> Json:
    """Return the settings a pool would have here, and where each comes from.

    Parameters
    ----------
    path
        What `PoolConfig.load` is given.

    Raises
    ------
    ConfigError
        They cannot be loaded.
    """
    config = PoolConfig.load(path)
    settings = PoolConfig.examine(path).settings
    values = config.as_dict()
    return {
        "file": None if config.origin is None else str(config.origin),
        "settings": [
            {
                "key": item.key,
                "value": values[item.key],
                "unit": item.unit,
                **_origin_of(settings.get(item.key)),
            }
            for item in PoolConfig.explain()
        ],
        "warnings": [
            {"key": caution.key, "text": caution.text}
            for caution in find_cautions(config, read_topology(), settings)
        ],
    }


def _origin_of(setting: Setting | None) -> Json:
    if setting is None:
        return {"origin": "default", "line": None}
    return {"origin": setting.origin, "line": setting.line}


def _explained(keys: Sequence[str]) -> list[Explanation]:
    known = {item.key: item for item in PoolConfig.explain()}
    for key in keys:
        if key not in known:
            raise ConfigError(f"{key} is no setting of voicepool; {nearest(key, known)}", key=key)
    return [known[key] for key in keys] if keys else list(known.values())


def _explanations(found: Sequence[Explanation]) -> list[Json]:
    return [
        {
            "key": item.key,
            "variable": item.variable,
            "unit": item.unit,
            "default": item.default,
            "allowed": item.allowed,
            "effect": item.effect,
            "takes_effect": str(item.takes_effect),
        }
        for item in found
    ]


def _render(item: Explanation) -> str:
    rows = {
        "variable": item.variable,
        "unit": item.unit or "none",
        "default": "unset" if item.default is None else toml_value(item.default),
        "allowed": item.allowed,
        "takes effect": str(item.takes_effect),
    }
    lines = [item.key, *_wrap(item.effect, "  ", "  ")]
    for name, value in rows.items():
        lines += _wrap(value, f"    {name + ':':<14}", " " * 18)
    return "\n".join(lines)


def _render_check(report: Json) -> str:
    lines = []
    for kind, found in (("error", report["problems"]), ("warning", report["warnings"])):
        for item in found:
            place = report["file"] if item["line"] is None else f"{report['file']}:{item['line']}"
            text = item["text"].removeprefix(f"{report['file']}: ")
            # A line each, however long: editors and CI read them.
            lines.append(f"{place}: {kind}: {text}")
    if report["exit_code"] == _UNREADABLE:
        return "\n".join(lines)
    counted = [f"{len(report[kind])} {kind}" for kind in ("problems", "warnings")]
    return "\n".join([*lines, f"{report['file']}: {', '.join(counted)}"])


def _render_in_force(shown: Json) -> str:
    rows = []
    for item in shown["settings"]:
        value = "unset" if item["value"] is None else toml_value(item["value"])
        origin = item["origin"] if item["line"] is None else f"{item['origin']}:{item['line']}"
        rows.append((item["key"], value, item["unit"], origin))
    widths = [max(len(row[column]) for row in rows if len(row[column]) <= _WIDTH // 3) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    head = f"file: {shown['file'] or 'none'}"
    warnings = [line for item in shown["warnings"] for line in _wrap(item["text"], "warning: ", "    ")]
    return "\n".join([head, "", *lines, *([""] if warnings else []), *warnings])


def _write_example(target: str) -> None:
    text = example(PoolConfig.explain())
    if target == "-":
        print(text, end="")
        return
    path = Path(target)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and is left as it is; name another file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})") from error
    print(f"wrote {path}")


def _wrap(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first]
