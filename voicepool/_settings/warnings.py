"""[pure] Settings that are allowed and seldom meant: what follows from them."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection
from typing import TYPE_CHECKING

from voicepool._machine.isolation import Topology, explain_plan
from voicepool._settings.calls import DEPRECATED_MODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voicepool.config import PoolConfig

__all__ = ["Caution", "find_cautions"]


@dataclasses.dataclass(frozen=True, slots=True)
class Caution:
    """One of them.

    Attributes
    ----------
    key
        The setting.
    text
        What it is, what follows, and the way out.
    """

    key: str
    text: str


def find_cautions(config: PoolConfig, topology: Topology, given: Collection[str] = ()) -> list[Caution]:
    """Look at settings in force.

    Parameters
    ----------
    config
        The settings.
    topology
        The cores that the pool may use.
    given
        Those that somebody set; only these are said to have no effect.
    """
    return [*_about_workers(config, topology, given), *_about_calls(config), *_about_watching(config, given)]


def _about_workers(config: PoolConfig, topology: Topology, given: Collection[str]) -> Iterator[Caution]:
    for key in ("workers", "max_workers"):
        wanted = getattr(config, key)
        if isinstance(wanted, int) and (key == "workers" or config.autoscale):
            consequence = explain_plan(wanted, topology)
            if consequence:
                yield Caution(key, f"{key} = {wanted}: {consequence}")
    if not config.autoscale:
        for key in ("min_workers", "max_workers"):
            if key in given:
                yield Caution(key, f"{key} has no effect without autoscale = true")
    elif isinstance(config.workers, int):
        most = config.max_workers
        if config.workers < config.min_workers:
            yield Caution(
                "workers",
                f"workers = {config.workers} is below min_workers = {config.min_workers}: "
                f"autoscale starts more at once",
            )
        elif isinstance(most, int) and config.workers > most:
            yield Caution(
                "workers",
                f"workers = {config.workers} is above max_workers = {most}: "
                f"autoscale takes some away at once",
            )


def _about_calls(config: PoolConfig) -> Iterator[Caution]:
    old = [mode for mode in config.modes if mode in DEPRECATED_MODES]
    if old:
        yield Caution(
            "modes",
            f"modes names {', '.join(old)}, which Discord has switched off; only self-hosted servers take it",
        )
    if not config.dave:
        yield Caution(
            "dave",
            "dave = false: Discord refuses ordinary calls without end-to-end encryption (close code 4017); "
            "stage channels alone still work",
        )


def _about_watching(config: PoolConfig, given: Collection[str]) -> Iterator[Caution]:
    if not config.metrics_port:
        if "metrics_host" in given:
            yield Caution("metrics_host", "metrics_host has no effect without metrics_port")
        return
    if not ipaddress.ip_address(config.metrics_host).is_loopback:
        yield Caution(
            "metrics_host",
            f"metrics_host = {config.metrics_host!r} serves the figures, guild ids included, to everybody "
            'who can reach this machine; "127.0.0.1" serves this machine alone',
        )
