"""[pure] Which guild and which worker a line of the bot's log is about.

A line says so itself, beside its text: ``_LOGGER.warning(…, extra=about(guild=guild_id, worker=name))``.
The record then has the attributes `guild` and `worker`, both text, which a JSON formatter or a handler of
OpenTelemetry puts beside the message; so do the records of worker processes (`voicepool.workers.logs`). IDs
of guilds are text, since they are beyond what many readers of JSON hold exactly.

A record that is about neither has no such attribute: None would be one of no type that OpenTelemetry knows.
"""

from __future__ import annotations

from typing import Self

__all__ = ["Place", "about"]


class Place(str):
    """What errors and log lines call a guild: ``guild 81384788765712384``. It knows the guild's ID.

    Parameters
    ----------
    guild
        The ID.
    """

    __slots__ = ("guild",)

    guild: int

    def __new__(cls, guild: int) -> Self:
        place = super().__new__(cls, f"guild {guild}")
        place.guild = guild
        return place


def about(*, guild: int | None = None, worker: str | None = None, place: str = "") -> dict[str, object]:
    """Return what a record is to carry, for `extra`.

    Parameters
    ----------
    guild
        ID of a guild.
    worker
        Name of a process instance, for example ``w0.2``; an empty one, of a place that never had a process,
        is left out.
    place
        Instead of `guild`, where that has no name but its `Place`; of any other text, such as "the pool",
        nothing is said.
    """
    if isinstance(place, Place):
        guild = place.guild
    said: dict[str, object] = {} if guild is None else {"guild": str(guild)}
    if worker:
        said["worker"] = str(worker)
    return said
