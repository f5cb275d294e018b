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

from voicepool.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "Setting",
    "find_file",
    "read_environment",
    "read_file",
    "variable",
]

PREFIX: Final = "VOICEPOOL_"
CONFIG_VARIABLE: Final = "VOICEPOOL_CONFIG"
"""Names the file; the only variable with the prefix that is no setting."""
DEFAULT_FILE: Final = "voicepool.toml"
"""Read from the current directory when nobody names a file."""


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
    """

    value: object
    origin: str
    folder: Path | None = None


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


def read_file(path: Path, known: Collection[str]) -> dict[str, Setting]:
    """Read the settings of a TOML file.

    Parameters
    ----------
    path
        The file.
    known
        Every key there is.

    Raises
    ------
    ConfigError
        It is missing, no TOML (the text has line and column), or holds an unknown key.
    """
    origin = str(path)
    table = _load(path)
    if path.name == "pyproject.toml":
        tools = table.get("tool")
        table = tools.get("voicepool") if isinstance(tools, dict) else None
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: there is no table [tool.voicepool] in it", origin=origin)
    settings = {}
    for key, value in table.items():
        if key not in known:
            raise _unknown_key(key, value, origin, known)
        settings[key] = Setting(value, origin, path.parent)
    return settings


def read_environment(env: Mapping[str, str], known: Collection[str]) -> dict[str, Setting]:
    """Read the settings among the environment variables. An empty one counts as not set.

    Raises
    ------
    ConfigError
        A variable begins like ours and names no setting.
    """
    keys = {variable(key): key for key in known}
    settings = {}
    for name, text in env.items():
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in keys:
            hint = _nearest(name, [*keys, CONFIG_VARIABLE])
            raise ConfigError(
                f"the environment variable {name} names no setting of voicepool; {hint}",
                key=name.removeprefix(PREFIX).lower(),
                origin=name,
            )
        if stripped := text.strip():
            settings[keys[name]] = Setting(stripped, name)
    return settings


def _load(path: Path) -> Any:
    origin = str(path)
    try:
        # utf-8-sig: editors on Windows put a byte order mark first, which TOML itself does not know.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
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


def _unknown_key(key: str, value: object, origin: str, known: Collection[str]) -> ConfigError:
    if isinstance(value, dict):
        hint = "settings stand at the top level of the file, outside any table"
        return ConfigError(f"{origin}: [{key}] is no table of voicepool; {hint}", key=key, origin=origin)
    return ConfigError(
        f"{origin}: {key} is no setting of voicepool; {_nearest(key, known)}", key=key, origin=origin
    )


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
