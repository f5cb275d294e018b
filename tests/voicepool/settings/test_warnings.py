"""What is allowed and seldom meant."""

from __future__ import annotations

from typing import Any

import pytest

from voicepool._machine.isolation import Topology
from voicepool._settings.warnings import find_cautions
from voicepool.config import PoolConfig

FOUR = Topology(allowed=4)


def cautions(given: tuple[str, ...] = (), topology: Topology = FOUR, **settings: Any) -> dict[str, str]:
    found = find_cautions(PoolConfig(**settings), topology, given)
    assert len({caution.key for caution in found}) == len(found)
    return {caution.key: caution.text for caution in found}


def test_the_defaults_need_none() -> None:
    assert cautions() == {}
    assert cautions(topology=Topology(allowed=1, quota=0.5)) == {}


def test_more_workers_than_cores() -> None:
    assert cautions(workers=3) == {}
    assert "workers = 5: 5 workers share 4 cores" in cautions(workers=5)["workers"]
    assert "workers = 4: 4 workers and the bot share 4 cores" in cautions(workers=4)["workers"]
    assert "quota of 1.5 cores" in cautions(workers=2, topology=Topology(allowed=8, quota=1.5))["workers"]
    assert "max_workers = 5: " in cautions(autoscale=True, max_workers=5)["max_workers"]
    assert cautions(max_workers=5) == {}


@pytest.mark.parametrize("key", ["min_workers", "max_workers"])
def test_bounds_of_autoscale_without_it(key: str) -> None:
    bound: dict[str, Any] = {key: 2}
    assert cautions((key,), **bound)[key] == f"{key} has no effect without autoscale = true"
    assert cautions((key, "autoscale"), autoscale=True, **bound) == {}


def test_workers_outside_the_bounds_of_autoscale() -> None:
    assert "below min_workers = 2" in cautions(autoscale=True, workers=1, min_workers=2)["workers"]
    assert "above max_workers = 2" in cautions(autoscale=True, workers=3, max_workers=2)["workers"]
    assert cautions(autoscale=True, workers=2, min_workers=2, max_workers=2) == {}


def test_encryption() -> None:
    assert "aead_aes256_gcm, which Discord has switched off" in cautions(modes=["aead_aes256_gcm"])["modes"]
    assert "close code 4017" in cautions(dave=False)["dave"]


def test_figures_for_everybody() -> None:
    assert "everybody" in cautions(metrics_port=9_000, metrics_host="0.0.0.0")["metrics_host"]
    assert "everybody" in cautions(metrics_port=9_000, metrics_host="::")["metrics_host"]
    assert cautions(metrics_port=9_000) == cautions(metrics_port=9_000, metrics_host="::1") == {}
    assert cautions(("metrics_host",), metrics_host="0.0.0.0") == {
        "metrics_host": "metrics_host has no effect without metrics_port"
    }
