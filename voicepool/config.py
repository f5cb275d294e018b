"""`PoolConfig`: every setting of a pool, checked once, frozen afterwards.

The fields of `PoolConfig` are the only list of settings there is: name with unit, default, and the knob that
says what is allowed and what it does; the knobs stand by theme in ``_settings_*.py``. The loaders,
`PoolConfig.explain`, the documentation and the command line read all of it there.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from voicepool._machine.cores import count_cores
from voicepool._settings import calls, sound, watching
from voicepool._settings import workers as supply
from voicepool._settings.calls import DEFAULT_MODES, DEPRECATED_MODES
from voicepool._settings.check import Examined, check_argument, examine, find_contradictions
from voicepool._settings.export import schema_of
from voicepool._settings.file import find_file, variable
from voicepool._settings.knobs import Knob, TakesEffect

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_MODES", "DEPRECATED_MODES", "Explanation", "PoolConfig"]


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """One setting, for people.

    Attributes
    ----------
    key
        Its name, in Python and in TOML.
    variable
        Its environment variable.
    unit
        Of the value; empty where there is none.
    default
        As JSON and TOML would write it.
    allowed
        The values it takes.
    effect
        What turning it does.
    takes_effect
        When a change holds, in a pool that runs.
    """

    key: str
    variable: str
    unit: str
    default: object
    allowed: str
    effect: str
    takes_effect: TakesEffect


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """The settings of a pool. ``voicepool config --explain`` tells what each one does.

    Paths may be given as `str` or `os.PathLike` and are kept as absolute strings; ``modes`` may be given as a
    list and is kept as a tuple. The constructor reads no file and no environment; `load` and `from_env` do.

    Attributes
    ----------
    origin
        The file that `load` read, absolute; None without one. It is no setting, and not compared.

    Raises
    ------
    ConfigError
        A value is not allowed; ``error.key`` is the field.
    """

    workers: Annotated[int | Literal["auto"], supply.WORKERS] = "auto"
    spare_workers: Annotated[int, supply.SPARE_WORKERS] = 0
    autoscale: Annotated[bool, supply.AUTOSCALE] = False
    min_workers: Annotated[int, supply.MIN_WORKERS] = 1
    max_workers: Annotated[int | Literal["auto"], supply.MAX_WORKERS] = "auto"
    max_calls_per_worker: Annotated[int, supply.MAX_CALLS_PER_WORKER] = 500
    full_share: Annotated[float, supply.FULL_SHARE] = 0.85
    rebalance: Annotated[bool, supply.REBALANCE] = True
    shed_complexity: Annotated[bool, supply.SHED_COMPLEXITY] = True
    heartbeat_interval_s: Annotated[float, supply.HEARTBEAT_INTERVAL_S] = 1.5
    hang_timeout_s: Annotated[float, supply.HANG_TIMEOUT_S] = 3.0
    memory_limit_mib: Annotated[int, supply.MEMORY_LIMIT_MIB] = 0
    recovery_rate_hz: Annotated[float, supply.RECOVERY_RATE_HZ] = 50.0
    moves_at_once: Annotated[int, supply.MOVES_AT_ONCE] = 4
    pin_workers: Annotated[bool, supply.PIN_WORKERS] = True
    encoder_class: Annotated[Literal["idle", "normal"], supply.ENCODER_CLASS] = "idle"
    pacing_class: Annotated[Literal["auto", "normal"], supply.PACING_CLASS] = "auto"
    start_timeout_s: Annotated[float, supply.START_TIMEOUT_S] = 20.0
    stop_timeout_s: Annotated[float, supply.STOP_TIMEOUT_S] = 5.0
    command_timeout_s: Annotated[float, supply.COMMAND_TIMEOUT_S] = 10.0
    ipc: Annotated[Literal["auto", "unix", "tcp"], supply.IPC] = "auto"
    connect_timeout_s: Annotated[float, calls.CONNECT_TIMEOUT_S] = 15.0
    reconnect_first_pause_s: Annotated[float, calls.RECONNECT_FIRST_PAUSE_S] = 0.5
    reconnect_longest_pause_s: Annotated[float, calls.RECONNECT_LONGEST_PAUSE_S] = 15.0
    reconnect_attempts: Annotated[int, calls.RECONNECT_ATTEMPTS] = 8
    server_wait_s: Annotated[float, calls.SERVER_WAIT_S] = 30.0
    removal_grace_s: Annotated[float, calls.REMOVAL_GRACE_S] = 5.0
    dave: Annotated[bool, calls.DAVE] = True
    modes: Annotated[tuple[str, ...], calls.MODES] = DEFAULT_MODES
    ca_file: Annotated[str | os.PathLike[str] | None, calls.CA_FILE] = None
    source_open_timeout_s: Annotated[float, sound.SOURCE_OPEN_TIMEOUT_S] = 10.0
    source_read_timeout_s: Annotated[float, sound.SOURCE_READ_TIMEOUT_S] = 10.0
    read_ahead_s: Annotated[float, sound.READ_AHEAD_S] = 2.0
    max_source_bytes: Annotated[int, sound.MAX_SOURCE_BYTES] = 64 << 20
    public_urls_only: Annotated[bool, sound.PUBLIC_URLS_ONLY] = False
    queue_max_tracks: Annotated[int, sound.QUEUE_MAX_TRACKS] = 10_000
    ring_frames: Annotated[int, sound.RING_FRAMES] = 8
    bitrate_bps: Annotated[int, sound.BITRATE_BPS] = 128_000
    complexity: Annotated[int, sound.COMPLEXITY] = 10
    libopus: Annotated[str | os.PathLike[str] | None, sound.LIBOPUS] = None
    stats_interval_s: Annotated[float, watching.STATS_INTERVAL_S] = 1.0
    log_level: Annotated[str, watching.LOG_LEVEL] = "WARNING"
    log_format: Annotated[Literal["text", "json"], watching.LOG_FORMAT] = "text"
    metrics_port: Annotated[int, watching.METRICS_PORT] = 0
    metrics_host: Annotated[str, watching.METRICS_HOST] = "127.0.0.1"
    attach: Annotated[bool, watching.ATTACH] = True
    config_check_s: Annotated[float, watching.CONFIG_CHECK_S] = 1.0
    origin: Path | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field and put it in the form it is kept in."""
        for key, knob in _KNOBS.items():
            # The class is frozen for its users; this is its own constructor.
            object.__setattr__(self, key, check_argument(key, knob, getattr(self, key)))
        for error in find_contradictions({key: getattr(self, key) for key in _KNOBS}):
            raise error

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] | None = None
    ) -> Self:
        """Read a TOML file, then the ``VOICEPOOL_*`` environment variables, which win over it.

        Parameters
        ----------
        path
            A TOML file with the settings at its top level, or a ``pyproject.toml`` with a table
            ``[tool.voicepool]``. Relative paths in it count from its own directory. If None, the file that
            ``VOICEPOOL_CONFIG`` names, else ``voicepool.toml`` in the current directory if there is one,
            else no file.
        env
            The environment; if None, `os.environ`.

        Raises
        ------
        ConfigError
            The file is missing or no TOML, a name is unknown or a value not allowed; the text names the key,
            where it came from (with the line) and the way out. It is about the first problem; `examine`
            finds all.
        """
        return cls._from(cls.examine(path, env=env))

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read the ``VOICEPOOL_*`` environment variables and no file.

        Parameters
        ----------
        env
            The environment; if None, `os.environ`.

        Raises
        ------
        ConfigError
            A variable is unknown or its value not allowed.
        """
        return cls._from(examine(None, os.environ if env is None else env, _KNOBS, _DEFAULTS))

    @staticmethod
    def examine(
        path: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] | None = None
    ) -> Examined:
        """Read what `load` reads, with the same parameters, and collect problems instead of raising one.

        Raises
        ------
        ConfigError
            The file is missing or no TOML: there is nothing to look at.
        """
        env = os.environ if env is None else env
        return examine(find_file(path, env), env, _KNOBS, _DEFAULTS)

    @classmethod
    def _from(cls, examined: Examined) -> Self:
        for problem in examined.problems:
            raise problem
        return cls(**examined.values, origin=None if examined.file is None else examined.file.absolute())

    @staticmethod
    def explain() -> tuple[Explanation, ...]:
        """Describe every setting, in the order of the fields."""
        return tuple(
            Explanation(
                key=key,
                variable=variable(key),
                unit=knob.unit,
                default=_as_data(_DEFAULTS[key]),
                allowed=knob.allowed,
                effect=knob.effect,
                takes_effect=knob.takes_effect,
            )
            for key, knob in _KNOBS.items()
        )

    @staticmethod
    def schema() -> dict[str, object]:
        """Describe a file of settings in JSON Schema 2020-12, for editors and deployment checks."""
        return schema_of(_KNOBS, _DEFAULTS)

    def as_dict(self) -> dict[str, object]:
        """Return the settings in force, each as JSON and TOML would write it; None stays None.

        ``PoolConfig(**config.as_dict()) == config``.
        """
        return {key: _as_data(getattr(self, key)) for key in _KNOBS}

    def changes_from(self, other: PoolConfig) -> dict[str, TakesEffect]:
        """Name the settings that differ, each with when a change of it holds."""
        return {
            key: knob.takes_effect
            for key, knob in _KNOBS.items()
            if getattr(self, key) != getattr(other, key)
        }

    def resolve_workers(self) -> int:
        """Say how many workers to start: ``workers``, or for "auto" the usable cores less one, at least 1."""
        return max(1, count_cores().usable - 1) if isinstance(self.workers, str) else self.workers


def _collect_knobs() -> dict[str, Knob]:
    hints = typing.get_type_hints(PoolConfig, include_extras=True)
    found = {
        field.name: getattr(hints[field.name], "__metadata__", ()) for field in dataclasses.fields(PoolConfig)
    }
    return {key: metadata[0] for key, metadata in found.items() if metadata}


_KNOBS: Final = _collect_knobs()
_DEFAULTS: Final = {
    field.name: field.default for field in dataclasses.fields(PoolConfig) if field.name in _KNOBS
}


def _as_data(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
