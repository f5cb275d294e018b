"""What a worker is told of the settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from voicepool._process.settings import worker_settings
from voicepool.config import PoolConfig
from voicepool.ipc.commands import WorkerSettings


def test_what_has_the_same_name_has_the_same_value() -> None:
    given = {
        "encoder_class": "normal",
        "pacing_class": "normal",
        "modes": ("aead_xchacha20_poly1305_rtpsize",),
        "bitrate_bps": 64_000,
        "complexity": 3,
        "ring_frames": 5,
        "dave": False,
        "connect_timeout_s": 11.0,
        "source_open_timeout_s": 12.0,
        "source_read_timeout_s": 13.0,
        "read_ahead_s": 1.5,
        "stats_interval_s": 0.5,
        "reconnect_first_pause_s": 0.7,
        "reconnect_longest_pause_s": 9.0,
        "reconnect_attempts": 3,
        "server_wait_s": 21.0,
        "removal_grace_s": 3.0,
        "log_level": "DEBUG",
        "log_format": "json",
        "shed_complexity": False,
    }
    settings = worker_settings(PoolConfig(**given), 4)  # type: ignore[arg-type]
    assert {key: getattr(settings, key) for key in given} == given
    assert settings.core == 4


def test_every_setting_of_a_worker_comes_from_the_pools() -> None:
    renamed = {"core", "max_calls", "memory_limit_bytes"}
    own = {field.name for field in msgspec.structs.fields(WorkerSettings)} - renamed
    assert own <= {field.name for field in dataclasses.fields(PoolConfig)}


def test_paths_are_told_as_text(tmp_path: Path) -> None:
    libopus = tmp_path / "libopus.so"
    libopus.touch()
    settings = worker_settings(PoolConfig(libopus=libopus), None)
    assert (settings.libopus, settings.ca_file, settings.core) == (str(libopus), None, None)


@pytest.mark.parametrize(("limit_mib", "backstop"), [(0, None), (512, (1 << 30) + (1 << 30))])
def test_the_kernels_limit_is_far_behind_the_pools(limit_mib: int, backstop: int | None) -> None:
    settings = worker_settings(PoolConfig(memory_limit_mib=limit_mib, max_calls_per_worker=7), None)
    assert (settings.memory_limit_bytes, settings.max_calls) == (backstop, 7)
