"""[pure] What a `StandInProcess` hands out, read from the JSON of its child."""

from __future__ import annotations

__all__ = [
    "ID_FIELDS",
    "StandInBot",
    "StandInError",
    "StandInGuild",
    "WavFile",
    "read_bot",
    "read_error",
    "read_guild",
    "read_report",
    "read_wav",
]

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from voicepool.testing.voice_report import LatenessFigures, SessionReport

ID_FIELDS: Final = frozenset({"guild_id", "channel_id", "user_id"})
"""Fields that are strings in JSON, as in Discord's own: as numbers they would lose digits in JavaScript."""
_KINDS: Final = {kind.__name__: kind for kind in (LookupError, TimeoutError, TypeError, ValueError, OSError)}


class StandInError(Exception):
    """The process of the stand-ins did not start, has ended, or does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInBot:
    """An account that may log in. The token is left out of the repr."""

    id: int
    name: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInGuild:
    """A guild with the ids of its channels."""

    id: int
    name: str
    text_channel_ids: tuple[int, ...]
    voice_channel_ids: tuple[int, ...]
    stage_channel_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WavFile:
    """What was received in one voice session, as 48 kHz stereo WAV; `frames` counts its Opus packets."""

    path: Path
    guild_id: int
    user_id: int
    frames: int


def read_bot(values: Mapping[str, Any]) -> StandInBot:
    """Read an entry of ``bots``."""
    return StandInBot(id=int(values["id"]), name=values["name"], token=values["token"])


def read_guild(values: Mapping[str, Any]) -> StandInGuild:
    """Read an entry of ``guilds``."""
    return StandInGuild(
        id=int(values["id"]),
        name=values["name"],
        text_channel_ids=tuple(map(int, values["text_channel_ids"])),
        voice_channel_ids=tuple(map(int, values["voice_channel_ids"])),
        stage_channel_ids=tuple(map(int, values["stage_channel_ids"])),
    )


def read_wav(values: Mapping[str, Any]) -> WavFile:
    """Read an entry of what ``write_wavs`` returns."""
    return WavFile(
        path=Path(values["path"]),
        guild_id=int(values["guild_id"]),
        user_id=int(values["user_id"]),
        frames=values["frames"],
    )


def read_error(values: Mapping[str, str]) -> Exception:
    """Read the error of a request: of a built-in kind as such, of another as a `StandInError`."""
    kind, text = values["kind"], values["text"]
    return _KINDS[kind](text) if kind in _KINDS else StandInError(f"{kind}: {text}")


def read_report(values: Mapping[str, Any]) -> SessionReport:
    """Read an entry of what ``reports`` returns."""
    read: dict[str, Any] = {}
    for each in fields(SessionReport):
        value = values[each.name]
        if each.name in ID_FIELDS:
            value = int(value)
        elif each.name == "lateness":
            value = LatenessFigures(**value)
        elif isinstance(value, list):
            value = tuple(value)
        read[each.name] = value
    return SessionReport(**read)
