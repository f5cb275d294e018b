"""What a worker process is told of the pool's settings."""

from __future__ import annotations

import os
from typing import Final

from voicepool.config import PoolConfig
from voicepool.ipc.commands import WorkerSettings

__all__ = ["worker_settings"]

_MIB: Final = 1 << 20
_MEMORY_MARGIN_BYTES: Final = 1 << 30
"""Of address space and short peaks, on top of twice the limit."""


def worker_settings(config: PoolConfig, core: int | None) -> WorkerSettings:
    """Return the part of the settings that a worker needs.

    Parameters
    ----------
    config
        The pool's.
    core
        The core to pin it to; None leaves the choice to the kernel.
    """
    return WorkerSettings(
        core=core,
        encoder_class=config.encoder_class,
        pacing_class=config.pacing_class,
        libopus=_path(config.libopus),
        ca_file=_path(config.ca_file),
        modes=config.modes,
        bitrate_bps=config.bitrate_bps,
        complexity=config.complexity,
        ring_frames=config.ring_frames,
        dave=config.dave,
        max_calls=config.max_calls_per_worker,
        connect_timeout_s=config.connect_timeout_s,
        source_open_timeout_s=config.source_open_timeout_s,
        source_read_timeout_s=config.source_read_timeout_s,
        read_ahead_s=config.read_ahead_s,
        stats_interval_s=config.stats_interval_s,
        reconnect_first_pause_s=config.reconnect_first_pause_s,
        reconnect_longest_pause_s=config.reconnect_longest_pause_s,
        reconnect_attempts=config.reconnect_attempts,
        server_wait_s=config.server_wait_s,
        removal_grace_s=config.removal_grace_s,
        log_level=config.log_level,
        log_format=config.log_format,
        shed_complexity=config.shed_complexity,
        memory_limit_bytes=_memory_limit_bytes(config.memory_limit_mib),
    )


def _memory_limit_bytes(limit_mib: int) -> int | None:
    """Return the backstop behind the pool's own watch over memory: nothing comes near it before the watch."""
    return 2 * limit_mib * _MIB + _MEMORY_MARGIN_BYTES if limit_mib else None


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(path) if path is not None else None
