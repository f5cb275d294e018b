"""What each setting about sound may be: sources, queue, encoding."""

from __future__ import annotations

from typing import Final

from voicepool._settings.knobs import FilePath, Flag, Number, TakesEffect, WholeNumber

__all__ = [
    "BITRATE_BPS",
    "COMPLEXITY",
    "LIBOPUS",
    "MAX_SOURCE_BYTES",
    "PUBLIC_URLS_ONLY",
    "QUEUE_MAX_TRACKS",
    "READ_AHEAD_S",
    "RING_FRAMES",
    "SOURCE_OPEN_TIMEOUT_S",
    "SOURCE_READ_TIMEOUT_S",
]

SOURCE_OPEN_TIMEOUT_S: Final = Number(
    minimum=0.01,
    maximum=600.0,
    unit="s",
    effect="How long opening a source may take until its format is known.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
SOURCE_READ_TIMEOUT_S: Final = Number(
    minimum=0.01,
    maximum=600.0,
    unit="s",
    effect="How long a source may send nothing before it is given up.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
READ_AHEAD_S: Final = Number(
    minimum=0.1,
    maximum=60.0,
    unit="s",
    effect="How much of a source from the network is read ahead, to bridge its stalls.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
MAX_SOURCE_BYTES: Final = WholeNumber(
    minimum=1,
    maximum=1 << 30,
    unit="bytes",
    effect="The largest source that may be handed over as bytes in memory.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
PUBLIC_URLS_ONLY: Final = Flag(
    effect="URLs that lead to private addresses are refused, unless a source itself allows them."
)
QUEUE_MAX_TRACKS: Final = WholeNumber(
    minimum=1,
    maximum=1_000_000,
    unit="tracks",
    effect="How many tracks may be upcoming in the queue of a connection.",
)
RING_FRAMES: Final = WholeNumber(
    minimum=2,
    maximum=50,
    unit="frames of 20 ms",
    effect="How far a call is encoded ahead; more bridges longer stalls.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
BITRATE_BPS: Final = WholeNumber(
    minimum=6_000,
    maximum=510_000,
    unit="bit/s",
    effect="Opus bitrate of what is encoded, for each call.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
COMPLEXITY: Final = WholeNumber(
    minimum=0,
    maximum=10,
    effect="Opus complexity; 0 costs a third of the CPU time of 10.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
LIBOPUS: Final = FilePath(
    effect="The libopus to load, instead of the system's or the one in PyAV's wheel.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
