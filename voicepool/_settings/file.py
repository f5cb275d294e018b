"""Where settings come from: a TOML file and the environment. Values are looked at in `voicepool.config`.

A file named ``pyproject.toml`` holds them in its table ``[tool.voicepool]``, any other at its top level.
The variable of the key ``ring_frames`` is ``VOICEPOOL_RING_FRAMES``. Both refuse names they do not know: a
setting that is misspelt and silently ignored is worse than one that stops the bot.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from voicepool._settings.toml_lines import key_lines
from voicepool.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "Setting",
    "find_file",
    "nearest",
    "scan_environment",
    "scan_file",
    "variable",
]

PREFIX: Final = "VOICEPOOL_"
CONFIG_VARIABLE: Final = "VOICEPOOL_CONFIG"
"""Names the file; the only variable with the prefix that is no setting."""
DEFAULT_FILE: Final = "voicepool.toml"
"""Read from the current directory when nobody names a file."""
_FEW: Final = 10
"""How many names an error text may list."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A value as it was found.

    Attributes
    ----------
    value
        From a file what TOML made of it, from the environment its text.
    origin
        The file's path or the variable's name.
    folder
        Of the file, for paths that are relative to it; None for a variable.
    line
        In the file, from 1; None for a variable, and where it cannot be told.
    """

    value: object
    origin: str
    folder: Path | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it is to be found, for people."""
        return self.origin if self.line is None else f"{self.origin}, line {self.line}"

    @property
    def facts(self) -> dict[str, str | int]:
        """Where it is to be found, for the data of a `ConfigError`."""
        return {"origin": self.origin} if self.line is None else {"origin": self.origin, "line": self.line}


def variable(key: str) -> str:
    """Name the environment variable of a setting."""
    return PREFIX + key.upper()


def find_file(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    """Say which file to read: the given one, else ``$VOICEPOOL_CONFIG``, else `DEFAULT_FILE` if it exists."""
    if path is not None:
        return Path(path)
    if env.get(CONFIG_VARIABLE):
        return Path(env[CONFIG_VARIABLE])
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def scan_file(path: Path, known: Collection[str]) -> tuple[dict[str, Setting], list[ConfigError]]:
    """Read the settings of a TOML file.

    Parameters
    ----------
    path
        The file.
    known
        Every key there is.

    Returns
    -------
    tuple
        The known ones, and a refusal for each key that is unknown.

    Raises
    ------
    ConfigError
        It is missing, or no TOML; the text has line and column.
    """
    origin = str(path)
    text, table = _load(path)
    prefix: tuple[str, ...] = ()
    if path.name == "pyproject.toml":
        prefix = ("tool", "voicepool")
        tools = table.get("tool")
        table = tools.get("voicepool") if isinstance(tools, dict) else None
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: there is no table [tool.voicepool] in it", origin=origin)
    lines = key_lines(text)
    settings, unknown = {}, []
    for key, value in table.items():
        # A table without a header of its own (`[a.b]` alone makes `a`) stands where its first key does.
        inside = (line for place, line in lines.items() if place[: len(prefix) + 1] == (*prefix, key))
        setting = Setting(
            value, origin, path.parent, lines.get((*prefix, key), next(inside, lines.get(prefix)))
        )
        if key in known:
            settings[key] = setting
        else:
            unknown.append(_unknown_key(key, setting, known))
    return settings, unknown


def scan_environment(
    env: Mapping[str, str], known: Collection[str]
) -> tuple[dict[str, Setting], list[ConfigError]]:
    """Read the settings among the environment variables. An empty one counts as not set.

    Returns
    -------
    tuple
        The known ones, and a refusal for each variable that begins like ours and names no setting.
    """
    keys = {variable(key): key for key in known}
    settings, unknown = {}, []
    for name, text in env.items():
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in keys:
            refusal = ConfigError(
                f"the environment variable {name} names no setting of voicepool; "
                f"{nearest(name, [*keys, CONFIG_VARIABLE])}",
                key=name.removeprefix(PREFIX).lower(),
                origin=name,
            )
            unknown.append(refusal)
        elif stripped := text.strip():
            settings[keys[name]] = Setting(stripped, name)
    return settings, unknown


def nearest(name: str, names: Collection[str]) -> str:
    """Say which of the names may have been meant, or else which there are."""
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if len(names) > _FEW:
        return "voicepool config --explain lists all"
    return f"there are {', '.join(sorted(names))}"


def _load(path: Path) -> tuple[str, Any]:
    origin = str(path)
    try:
        # utf-8-sig: editors on Windows put a byte order mark first, which TOML itself does not know.
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"{origin}: the configuration file cannot be read ({error.strerror}); "
            f"name another file, or none to use the defaults",
            origin=origin,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: the file is not UTF-8 text, so it is no TOML", origin=origin) from error
    except (ValueError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        line = {"line": int(found[1])} if found else {}
        raise ConfigError(f"{origin}: the file is no valid TOML: {error}", origin=origin, **line) from error


def _unknown_key(key: str, setting: Setting, known: Collection[str]) -> ConfigError:
    if isinstance(setting.value, dict):
        hint = "settings stand at the top level of the file, outside any table"
        text = f"[{key}] is no table of voicepool; {hint}"
    else:
        text = f"{key} is no setting of voicepool; {nearest(key, known)}"
    return ConfigError(f"{setting.place}: {text}", key=key, problem=text, **setting.facts)
