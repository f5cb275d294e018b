"""[pure] How fast a track goes through its source, as far as its options tell.

What they do not tell is learned from the worker's reports; see `voicepool._playing.position`.
"""

from __future__ import annotations

import re
from typing import Final

from voicepool.ipc.commands import TrackOptions

__all__ = ["rate_of"]

_RATE_HZ: Final = 48_000.0
"""What goes into a chain of filters."""
_FILTER: Final = re.compile(
    r"(?P<name>atempo|asetrate|aresample|rubberband)=(?:(?P<key>\w+)=)?(?P<value>\d+(?:\.\d+)?)(?::|$)"
)
_KEYS: Final = {
    "atempo": (None, "tempo"),
    "asetrate": (None, "sample_rate", "r"),
    "aresample": (None, "sample_rate", "osr", "out_sample_rate"),
    "rubberband": ("tempo",),
}


def rate_of(options: TrackOptions) -> float:
    """Return how many seconds of the source are heard in a second.

    Known are the filters that change the tempo, with a plain number as their first option. A graph with
    branches, or whatever else changes the tempo, is taken not to.
    """
    return options.speed * _tempo(options.filters or "")


def _tempo(chain: str) -> float:
    if ";" in chain or "[" in chain:
        return 1.0
    tempo, rate_hz = 1.0, _RATE_HZ
    for text in chain.split(","):
        known = _FILTER.match(text.strip())
        if known is None or known["key"] not in _KEYS[known["name"]] or not (value := float(known["value"])):
            continue
        match known["name"]:
            case "asetrate":
                tempo *= value / rate_hz
                rate_hz = value
            case "aresample":
                rate_hz = value
            case _:
                tempo *= value
    return tempo
