"""[pure] How a track is to be played: what bot authors pass, checked, and as the worker is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypedDict

from voicepool._filter import Filters, filter_chain
from voicepool.ipc.commands import TrackOptions

__all__ = [
    "Gap",
    "PlayOptions",
    "PlaySettings",
    "checked_duck",
    "checked_gap",
    "checked_loudness",
    "checked_options",
    "checked_seconds",
    "checked_speed",
    "checked_volume",
]

SLOWEST: Final = 0.25
FASTEST: Final = 4.0
QUIETEST_LUFS: Final = -70.0
LOUDEST_LUFS: Final = -5.0
DEEPEST_DUCK_DB: Final = -96.0

Gap = Literal["continue", "skip"]
"""What follows a time in which the call could not send; see `voicepool.ipc.commands.Play`."""
_GAPS: Final[dict[object, Gap]] = {"continue": "continue", "skip": "skip"}


class PlayOptions(TypedDict, total=False):
    """How a track is played. Places are in seconds of the source, as it is without `speed`.

    Attributes
    ----------
    volume
        Linear gain of this track alone, beside the connection's volume; 1.0 leaves it as it is.
    start_s, end_s
        The part that is played; without them all of it.
    loop
        True plays that part without end, a number that many times more.
    position_s
        Where in that part to begin; at its start by default. What is repeated is the whole part.
    fade_in_s, fade_out_s
        How long it takes to come up, and to sink before its end, in seconds of hearing.
    speed
        How fast it is played, 0.25 to 4.0, at the same pitch.
    filters
        Sound effects, as `voicepool.filters.filter_chain` takes them.
    loudness_lufs
        Bring it to this loudness (EBU R128), -70 to -5 LUFS; None leaves it as it is.
    crossfade_s
        How long it and the track before it are heard together.
    on_gap
        What follows a time in which the call could not send: ``"continue"`` where it stopped, or ``"skip"``
        what would have been heard meanwhile, for what has to keep to the wall clock.
    """

    volume: float
    start_s: float
    end_s: float | None
    loop: bool | int
    position_s: float | None
    fade_in_s: float
    fade_out_s: float
    speed: float
    filters: Filters | None
    loudness_lufs: float | None
    crossfade_s: float
    on_gap: Gap


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlaySettings:
    """Checked `PlayOptions`; `crossfade_s` is None if nothing was said of it."""

    track: TrackOptions = dataclasses.field(default_factory=TrackOptions)
    crossfade_s: float | None = None
    on_gap: Gap = "continue"

    @property
    def first_s(self) -> float:
        """Where in the source it begins."""
        return self.track.start_s if self.track.position_s is None else self.track.position_s

    def with_crossfade(self, crossfade_s: float) -> PlaySettings:
        """Return the same, with this crossfade unless it has one of its own."""
        return self if self.crossfade_s is not None else dataclasses.replace(self, crossfade_s=crossfade_s)


_NAMES: Final = frozenset(PlayOptions.__annotations__)


def checked_options(options: Mapping[str, Any]) -> PlaySettings:
    """Return options that can be sent.

    Raises
    ------
    TypeError
        One is unknown, or a filter is none.
    ValueError
        One has a wrong value.
    """
    if unknown := sorted(options.keys() - _NAMES):
        raise TypeError(f"unknown option {', '.join(unknown)}; there are {', '.join(sorted(_NAMES))}")
    given = PlayOptions(**options)  # type: ignore[typeddict-item]  # its names are checked, its values are next
    start_s = checked_seconds("start_s", given.get("start_s", 0.0))
    end_s = _or_none("end_s", given.get("end_s"))
    position_s = _or_none("position_s", given.get("position_s"))
    if end_s is not None and end_s <= start_s:
        raise ValueError(f"end_s must be after start_s = {start_s:g}; it is {end_s:g}")
    if position_s is not None and not start_s <= position_s < (math.inf if end_s is None else end_s):
        raise ValueError(f"position_s must be in the part that is played; it is {position_s:g}")
    crossfade_s = given.get("crossfade_s")
    return PlaySettings(
        track=TrackOptions(
            volume=checked_volume(given.get("volume", 1.0)),
            start_s=start_s,
            end_s=end_s,
            repeats=_repeats(given.get("loop", False)),
            position_s=position_s,
            fade_in_s=checked_seconds("fade_in_s", given.get("fade_in_s", 0.0)),
            fade_out_s=checked_seconds("fade_out_s", given.get("fade_out_s", 0.0)),
            speed=checked_speed(given.get("speed", 1.0)),
            filters=filter_chain(given.get("filters")),
            loudness_lufs=checked_loudness(given.get("loudness_lufs")),
        ),
        crossfade_s=None if crossfade_s is None else checked_seconds("crossfade_s", crossfade_s),
        on_gap=checked_gap(given.get("on_gap", "continue")),
    )


def checked_gap(on_gap: object) -> Gap:
    """Return what is to follow a gap.

    Raises
    ------
    ValueError
        It is another word, or none.
    """
    gap = _GAPS.get(on_gap) if isinstance(on_gap, str) else None
    if gap is None:
        raise ValueError(f"on_gap must be {' or '.join(map(repr, _GAPS))}; it is {on_gap!r}")
    return gap


def checked_volume(volume: object) -> float:
    """Return a linear gain as a float.

    Raises
    ------
    ValueError
        It is negative, infinite, NaN or no number.
    """
    return _number("volume", volume, 0.0, math.inf)


def checked_duck(duck_db: object) -> float:
    """Return by how much others sink as a float.

    Raises
    ------
    ValueError
        It is below -96, above 0, or no number.
    """
    return _number("duck_db", duck_db, DEEPEST_DUCK_DB, 0.0)


def checked_seconds(name: str, seconds: object) -> float:
    """Return a time as a float.

    Raises
    ------
    ValueError
        It is negative, infinite, NaN or no number.
    """
    return _number(name, seconds, 0.0, math.inf)


def checked_speed(speed: object) -> float:
    """Return a speed as a float.

    Raises
    ------
    ValueError
        It is below 0.25, above 4, or no number.
    """
    return _number("speed", speed, SLOWEST, FASTEST)


def checked_loudness(loudness_lufs: object) -> float | None:
    """Return a loudness as a float, or None for none.

    Raises
    ------
    ValueError
        It is below -70, above -5, or no number.
    """
    return (
        None
        if loudness_lufs is None
        else _number("loudness_lufs", loudness_lufs, QUIETEST_LUFS, LOUDEST_LUFS)
    )


def _or_none(name: str, seconds: object) -> float | None:
    return None if seconds is None else checked_seconds(name, seconds)


def _repeats(loop: object) -> int | None:
    if loop is True:
        return None
    if not isinstance(loop, int) or loop < 0:
        raise ValueError(f"loop must be True, False, or how many times more, 0 or more; it is {loop!r}")
    return int(loop)


def _number(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, not {type(value).__name__}")  # noqa: TRY004 - one type for all
    if most == math.inf and not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} must be a finite number, {least:g} or more; it is {value}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}; it is {value}")
    return float(value)
