"""What every sound effect of `voicepool.filters` is, and how several become one chain."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from typing import Final

__all__ = ["Filter", "Filters", "checked", "filter_chain", "number", "within"]

_MAX_CHAIN_CHARACTERS: Final = 4_096


def within(least: float, most: float) -> dict[str, tuple[float, float]]:
    """Return a field's range, both ends included, for `Filter` to check."""
    return {"range": (least, most)}


class Filter(abc.ABC):
    """One effect. Subclasses are frozen dataclasses and can be compared and used as keys."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check each field against its range."""
        assert dataclasses.is_dataclass(self)
        for each in dataclasses.fields(self):
            if limits := each.metadata.get("range"):
                value = checked(f"{type(self).__name__}.{each.name}", getattr(self, each.name), *limits)
                object.__setattr__(self, each.name, value)

    @property
    @abc.abstractmethod
    def chain(self) -> str:
        """The effect as FFmpeg writes it, for example ``"bass=g=6:f=100"``."""


Filters = str | Filter | Iterable[str | Filter]
"""What ``filters=`` takes: an effect, a chain as FFmpeg writes it, or several of them in order."""


def filter_chain(filters: Filters | None) -> str | None:
    """Return the filters as one chain, or `None` for none at all.

    Raises
    ------
    TypeError
        Something among them is neither a `Filter` nor a `str`.
    ValueError
        A chain is blank, or all together are longer than 4,096 characters.
    """
    if filters is None:
        return None
    if not isinstance(filters, str | Filter | Iterable):
        raise TypeError(f"filters must be a Filter, a str, or several of them, not {type(filters).__name__}")
    parts = (filters,) if isinstance(filters, str | Filter) else tuple(filters)
    chain = ",".join(_text(part) for part in parts)
    if len(chain) > _MAX_CHAIN_CHARACTERS:
        raise ValueError(
            f"the filters have {len(chain)} characters; at most {_MAX_CHAIN_CHARACTERS} are allowed"
        )
    return chain or None


def checked(what: str, value: object, least: float, most: float) -> float:
    """Return a number as float.

    Raises
    ------
    TypeError
        It is no number.
    ValueError
        It is out of range, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number from {least:g} to {most:g}, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{what} is {value:g}; it must be from {least:g} to {most:g}")
    return float(value)


def number(value: float) -> str:
    """Return a number as FFmpeg reads it, without an exponent."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _text(part: object) -> str:
    if isinstance(part, Filter):
        return part.chain
    if not isinstance(part, str):
        raise TypeError(f"a filter is a Filter or a str as FFmpeg writes it, not {type(part).__name__}")
    if not part.strip():
        raise ValueError("a filter chain is blank; pass None for no filters")
    return part.strip()
