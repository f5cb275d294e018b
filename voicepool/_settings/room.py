"""[pure] Settings that would leave calls without a place: they stay as they were, and the others change.

A bot that asks for too few workers is told by an exception. A file has nobody who could catch one, and by the
time its author looks, guilds would be silent.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from voicepool.config import PoolConfig

__all__ = ["Refused", "keep_room"]

_KEYS: Final = ("workers", "max_calls_per_worker")


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A setting that stays as it was.

    Attributes
    ----------
    key
        Which.
    text
        That it does, why, and the way out.
    """

    key: str
    text: str


def keep_room(
    new: PoolConfig, old: PoolConfig, *, calls: int, workers: int
) -> tuple[PoolConfig, tuple[Refused, ...]]:
    """Return the settings that can be taken, and what of the new ones had to be left out.

    Parameters
    ----------
    new, old
        The settings that are asked for, and those in force.
    calls
        How many there are.
    workers
        How many are wanted now; by ``scale`` or ``autoscale`` that may be another number than in `old`.
    """

    def places(config: PoolConfig) -> int:
        count = config.resolve_workers()
        return (workers if count == old.resolve_workers() else count) * config.max_calls_per_worker

    if places(new) >= min(calls, places(old)):
        return new, ()
    changed = [key for key in _KEYS if getattr(new, key) != getattr(old, key)]
    tries = (keys for size in range(1, len(changed) + 1) for keys in itertools.combinations(changed, size))
    for kept in tries:
        taken = dataclasses.replace(new, **{key: getattr(old, key) for key in kept})
        if places(taken) >= min(calls, places(old)):
            break
    text = (
        f"the {calls} calls there are need more places than {places(new)}, which is what "
        f"{' and '.join(f'{key} = {_written(getattr(new, key))}' for key in changed)} would leave; "
        "ask again when there are fewer calls"
    )
    return taken, tuple(Refused(key, f"{key} stays {_written(getattr(old, key))}: {text}") for key in kept)


def _written(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
