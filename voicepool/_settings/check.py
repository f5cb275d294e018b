"""Values looked at: each by its knob, then together. All problems are found, and each says where it is.

`voicepool.config` hands the knobs in, since the fields of `PoolConfig` are the list of them.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from voicepool._settings.file import Setting, scan_environment, scan_file
from voicepool._settings.knobs import Knob, NotAllowedError
from voicepool.errors import ConfigError

__all__ = ["Examined", "check_argument", "examine", "find_contradictions"]


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """What a file and the environment say.

    Attributes
    ----------
    file
        The one that was read; None without one.
    settings
        Where each setting that was given and known came from.
    values
        Of those that were given and allowed, as `PoolConfig` keeps them.
    problems
        In the order of their lines, those of the environment last; empty when it can be loaded. Beside
        ``key``, ``origin`` and ``line`` their data has ``problem``, the text without the place.
    """

    file: Path | None
    settings: Mapping[str, Setting]
    values: Mapping[str, Any]
    problems: tuple[ConfigError, ...]


def examine(
    file: Path | None, env: Mapping[str, str], knobs: Mapping[str, Knob], defaults: Mapping[str, object]
) -> Examined:
    """Look at a file and the environment, which wins over it.

    Parameters
    ----------
    file
        To read; None for none.
    env
        The environment.
    knobs, defaults
        Of every setting.

    Raises
    ------
    ConfigError
        The file is missing or no TOML.
    """
    in_file, problems = ({}, []) if file is None else scan_file(file, knobs)
    in_env, unknown = scan_environment(env, knobs)
    problems += unknown
    settings = {**in_file, **in_env}
    values = {}
    for key, setting in settings.items():
        try:
            values[key] = _check(key, knobs[key], setting)
        except ConfigError as error:
            problems.append(error)
    refused = settings.keys() - values.keys()
    problems += find_contradictions({**defaults, **values}, settings, refused)
    problems.sort(key=lambda error: error.data.get("line", float("inf")))
    return Examined(file, settings, values, tuple(problems))


def check_argument(key: str, knob: Knob, value: object) -> Any:
    """Check a value that came from the program itself; return it as it is kept.

    Raises
    ------
    ConfigError
        It is not allowed.
    """
    try:
        return knob.check(value)
    except NotAllowedError as error:
        raise _refusal(key, knob, value, error) from None


def find_contradictions(
    values: Mapping[str, Any],
    settings: Mapping[str, Setting] | None = None,
    without: frozenset[str] | set[str] = frozenset(),
) -> Iterator[ConfigError]:
    """Find values that are allowed one by one, and not together.

    Parameters
    ----------
    values
        Of all settings.
    settings
        Where those came from that were given.
    without
        Settings whose value is not known, because what was given is refused.
    """
    for first, second, rule in _RULES:
        text = None if {first, second} & without else rule(values[first], values[second])
        if text is None:
            continue
        setting = next((settings[key] for key in (first, second) if settings and key in settings), None)
        if setting is None:
            yield ConfigError(f"{text}; set both", key=first)
        else:
            problem = f"{text}; set both"
            yield ConfigError(
                f"{problem} (from {setting.place})", key=first, problem=problem, **setting.facts
            )


def _check(key: str, knob: Knob, setting: Setting) -> Any:
    try:
        if setting.folder is None:
            return knob.check(knob.parse(str(setting.value)))
        return knob.check(knob.rebase(setting.value, setting.folder))
    except NotAllowedError as error:
        raise _refusal(key, knob, setting.value, error, setting) from None


def _refusal(
    key: str, knob: Knob, value: object, error: NotAllowedError, setting: Setting | None = None
) -> ConfigError:
    source = "" if setting is None else f" (from {setting.place})"
    advice = knob.advise(value)
    rest = f"{error}; allowed is {knob.allowed}" + (f"; {advice}" if advice else "")
    facts = {} if setting is None else setting.facts
    problem = f"{key} = {_shown(value)} {rest}"
    return ConfigError(f"{key} = {_shown(value)}{source} {rest}", key=key, problem=problem, **facts)


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:
        # Python refuses to write out integers of more than some thousand digits.
        return f"<{type(value).__name__}>"


def _pauses(longest_s: float, first_s: float) -> str | None:
    if longest_s >= first_s:
        return None
    return f"reconnect_longest_pause_s = {longest_s:g} is below reconnect_first_pause_s = {first_s:g}"


def _range_of_workers(most: int | str, fewest: int) -> str | None:
    if isinstance(most, str) or most >= fewest:
        return None
    return f"max_workers = {most} is below min_workers = {fewest}"


def _patience(hang_s: float, heartbeat_s: float) -> str | None:
    if hang_s >= 2 * heartbeat_s:
        return None
    return f"hang_timeout_s = {hang_s:g} is below two heartbeats of heartbeat_interval_s = {heartbeat_s:g}"


_RULES: Final[tuple[tuple[str, str, Callable[[Any, Any], str | None]], ...]] = (
    ("reconnect_longest_pause_s", "reconnect_first_pause_s", _pauses),
    ("max_workers", "min_workers", _range_of_workers),
    ("hang_timeout_s", "heartbeat_interval_s", _patience),
)
