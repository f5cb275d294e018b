"""[pure] Checks that the frozen descriptions of what to play have in common."""

from __future__ import annotations

import math
import types

__all__ = ["check_seconds", "check_types"]


def check_seconds(name: str, seconds: object) -> None:
    """See that a duration is None or a finite number of seconds above 0.

    Raises
    ------
    TypeError
        It is no number.
    ValueError
        It is 0 or less, infinite or NaN.
    """
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{name} must be a finite number of seconds above 0; it is {seconds}")


def check_types(thing: object, **allowed: type | types.UnionType) -> None:
    """See that attributes are of the types given by their names.

    Raises
    ------
    TypeError
        One is not.
    """
    for name, kind in allowed.items():
        value = getattr(thing, name)
        if not isinstance(value, kind):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise TypeError(f"{name} of {type(thing).__name__} must be {wanted}, not {type(value).__name__}")
