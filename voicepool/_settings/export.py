"""[pure] The settings written out for others: a documented TOML file, and a JSON Schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from voicepool._settings.knobs import Knob

if TYPE_CHECKING:
    from voicepool.config import Explanation

__all__ = ["example", "schema_of", "toml_value"]

_WIDTH: Final = 100
_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
_THEMES: Final = {
    "workers": "Workers",
    "heartbeat_interval_s": "Watching over workers, and what becomes of their calls",
    "pin_workers": "Processes",
    "connect_timeout_s": "Calls",
    "source_open_timeout_s": "Sound",
    "stats_interval_s": "Watching the pool",
}
"""The setting that each group begins with, and its heading."""
_HEAD: Final = """\
# Every setting of a voicepool, with its default. Remove the # before a setting to change it.
#
# PoolConfig.load() reads voicepool.toml in the current directory, or the file that VOICEPOOL_CONFIG
# names; VOICEPOOL_<SETTING> in the environment wins over it. A running pool reads it again when it
# changes, at SIGHUP, and at pool.reload(). See also: voicepool config --check voicepool.toml
"""


def toml_value(value: object) -> str:
    """Write a value as TOML does; what is unset as an empty string, which is refused when read."""
    # JSON writes truth values, numbers, lists and ASCII strings as TOML does.
    return '""' if value is None else json.dumps(value)


def example(explained: Iterable[Explanation]) -> str:
    """Write ``voicepool.toml`` with each setting documented and commented out."""
    parts = [_HEAD]
    for item in explained:
        if item.key in _THEMES:
            parts.append(f"\n# ---- {_THEMES[item.key]} ----\n")
        unit = f" Unit: {item.unit}." if item.unit else ""
        default = "unset" if item.default is None else toml_value(item.default)
        facts = f"Allowed: {item.allowed}.{unit} Default: {default}. Takes effect: {item.takes_effect}."
        lines = [*_comment(item.effect), *_comment(facts), f"#{item.key} = {toml_value(item.default)}"]
        parts.append("\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def schema_of(knobs: Mapping[str, Knob], defaults: Mapping[str, object]) -> dict[str, object]:
    """Describe a file of settings in JSON Schema 2020-12.

    It is a little stricter than `PoolConfig` (words are to be spelt as listed) and does not look at files or
    at what contradicts each other. The key ``x-unit`` holds a unit alone.
    """
    properties = {}
    for key, knob in knobs.items():
        unit = f" Unit: {knob.unit}." if knob.unit else ""
        described: dict[str, object] = {
            "description": f"{knob.effect}{unit} Takes effect {knob.takes_effect}.",
            **knob.schema(),
        }
        if knob.unit:
            described["x-unit"] = knob.unit
        if defaults[key] is not None:
            value = defaults[key]
            described["default"] = list(value) if isinstance(value, tuple) else value
        properties[key] = described
    return {
        "$schema": _SCHEMA,
        "title": "voicepool.toml",
        "description": "The settings of a voicepool.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
