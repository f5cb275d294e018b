"""[pure] What somebody may have meant who wrote a setting in another unit: 15000 or "15s" for 15 seconds.

Units are never converted: a file that says ``connect_timeout_s = 15000`` is refused. But the refusal can name
the line that would have been right.
"""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["suggest"]

_TEXT: Final = re.compile(r"([+-]?[\d_]*\.?\d+(?:e[+-]?\d+)?)\s*([a-zµ%/]*)", re.IGNORECASE)
_PLURALS: Final = {
    "s": "seconds",
    "bytes": "bytes",
    "MiB": "MiB",
    "bit/s": "bit/s",
    "calls/s": "calls per second",
    "of a core": "whole cores",
    "frames of 20 ms": "frames of 20 ms",
}
"""How a refusal calls a unit."""
_SECONDS: Final = {
    "s": 1.0,
    "sec": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
}
_BYTES: Final = {
    "b": 1.0,
    "bytes": 1.0,
    **{
        f"{prefix}{ending}": base**power
        for power, prefix in enumerate("kmgt", start=1)
        for ending, base in (("", 1024.0), ("b", 1000.0), ("ib", 1024.0))
    },
}
_BITS: Final = {
    f"{prefix}{ending}": 1000.0**power
    for power, prefix in enumerate(("", "k", "m"))
    for ending in ("bps", "bit/s", "bit", "b", "")
}
_SPELLINGS: Final[dict[str, dict[str, float]]] = {
    "s": _SECONDS,
    "bytes": _BYTES,
    "MiB": {spelling: size / 2**20 for spelling, size in _BYTES.items()},
    "bit/s": _BITS,
    "calls/s": {"hz": 1.0, "/s": 1.0, "calls/s": 1.0, "/min": 1 / 60},
    "of a core": {"%": 0.01},
    "frames of 20 ms": {"frames": 1.0, "ms": 1 / 20, "s": 50.0},
}
"""By unit: what may stand behind a number, in lower case, and how many of the unit it is."""
_MISTAKEN: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "s": (("milliseconds", 1e-3),),
    "MiB": (("bytes", 2.0**-20),),
    "bit/s": (("kbit/s", 1e3),),
    "of a core": (("percent", 0.01),),
    "frames of 20 ms": (("milliseconds", 1 / 20),),
}
"""By unit: what a number out of range may have been counted in, and how many of the unit that is."""


def suggest(value: object, unit: str, minimum: float, maximum: float, *, whole: bool = False) -> str:
    """Say what to write instead of a refused number.

    Parameters
    ----------
    value
        As it was written: a number out of range, or text.
    unit
        Of the setting.
    minimum, maximum
        Its range.
    whole
        Whether it takes integers only.

    Returns
    -------
    str
        For example ``it counts seconds, not milliseconds: write 15``. Empty where nothing in the range fits.
    """
    if isinstance(value, str):
        return _for_text(value, unit, minimum, maximum, whole=whole)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    for other, factor in _MISTAKEN.get(unit, ()):
        meant = _meant(value, factor, minimum, maximum, whole=whole)
        if meant is not None:
            return f"it counts {_PLURALS[unit]}, not {other}: write {meant}"
    return ""


def _for_text(text: str, unit: str, minimum: float, maximum: float, *, whole: bool) -> str:
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        return ""
    number, spelling = found[1].replace("_", ""), found[2].lower()
    factor = 1.0 if not spelling else _SPELLINGS.get(unit, {}).get(spelling)
    meant = None if factor is None else _meant(float(number), factor, minimum, maximum, whole=whole)
    if meant is None:
        return ""
    counted = f"it counts {_PLURALS[unit]}, " if unit in _PLURALS else ""
    return f"{counted}as a number without quotes and unit: write {meant}"


def _meant(value: float, factor: float, minimum: float, maximum: float, *, whole: bool) -> str | None:
    try:
        meant = float(value) * factor
    except OverflowError:
        return None
    if whole and math.isfinite(meant):
        meant = round(meant)
    return f"{meant:.12g}" if minimum <= meant <= maximum else None
