"""What each setting about watching a pool may be: figures, logs, its file of settings."""

from __future__ import annotations

from typing import Final

from voicepool._settings.knobs import Choice, Flag, HostAddress, Number, TakesEffect, WholeNumber

__all__ = [
    "ATTACH",
    "CONFIG_CHECK_S",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "METRICS_HOST",
    "METRICS_PORT",
    "STATS_INTERVAL_S",
]

STATS_INTERVAL_S: Final = Number(
    minimum=0.05,
    maximum=60.0,
    unit="s",
    effect="How often a worker reports its measurements.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
LOG_LEVEL: Final = Choice(
    options=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    effect="The least severe log line that worker processes write.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
LOG_FORMAT: Final = Choice(
    options=("text", "json"),
    effect="How worker processes write log lines; json: an object a line.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
METRICS_PORT: Final = WholeNumber(
    minimum=0,
    maximum=65_535,
    unit="TCP port",
    effect="Where Prometheus may fetch the pool's figures over HTTP; 0 serves none.",
)
METRICS_HOST: Final = HostAddress(effect="The address that the figures are served at.")
ATTACH: Final = Flag(effect="voicepool top, run by the same user, may look at this pool.")
CONFIG_CHECK_S: Final = Number(
    minimum=0.0,
    maximum=3_600.0,
    unit="s",
    effect="How often the file the settings came from is looked at for changes; 0 never does.",
)
