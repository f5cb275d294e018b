"""[pure] What whoever joins a call says it is going to hear."""

from __future__ import annotations

from voicepool.station import Station

__all__ = ["station_name"]


def station_name(hint: object) -> str | None:
    """Return the name of the station that is meant; None for None.

    Parameters
    ----------
    hint
        A `Station`, its name, or None.

    Raises
    ------
    TypeError
        It is something else.
    """
    if not isinstance(hint, Station | str | None):
        raise TypeError(f"station must be a Station or its name, not {type(hint).__name__}")
    return hint.name if isinstance(hint, Station) else hint
