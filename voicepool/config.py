"""`PoolConfig`: every setting of a pool, checked once, frozen afterwards.

The fields of `PoolConfig` are the only list of settings there is: name with unit, default, what is allowed
and what it does. The loaders, `PoolConfig.explain`, the documentation and the command line read it there.
"""

from __future__ import annotations

import dataclasses
import os
import reprlib
import typing
from typing import Annotated, Any, Final, Literal, Self

from voicepool._config_file import Setting, find_file, read_environment, read_file, variable
from voicepool._cores import count_cores
from voicepool._knobs import (
    CertificateFile,
    Choice,
    Choices,
    FilePath,
    Flag,
    HostAddress,
    Knob,
    NotAllowedError,
    Number,
    WholeNumber,
)
from voicepool.errors import ConfigError

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_MODES", "DEPRECATED_MODES", "Explanation", "PoolConfig"]

DEFAULT_MODES: Final = ("aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize")
"""What Discord speaks today (Voice Connections, Transport Encryption Modes), the cheaper one first."""
DEPRECATED_MODES: Final = (
    "xsalsa20_poly1305_lite_rtpsize",
    "aead_aes256_gcm",
    "xsalsa20_poly1305_lite",
    "xsalsa20_poly1305_suffix",
    "xsalsa20_poly1305",
)
"""What Discord has switched off and self-hosted servers may still want."""

_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 600.0


def _seconds(effect: str) -> Number:
    return Number(minimum=_SHORTEST_S, maximum=_LONGEST_S, unit="s", effect=effect)


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
    """

    key: str
    variable: str
    unit: str
    default: object
    allowed: str
    effect: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """The settings of a pool. What each one does stands beside it.

    Paths may be given as `str` or `os.PathLike` and are kept as absolute strings; ``modes`` may be given as a
    list and is kept as a tuple. The constructor reads no file and no environment; `load` and `from_env` do.

    Raises
    ------
    ConfigError
        A value is not allowed; ``error.key`` is the field.
    """

    workers: Annotated[
        int | Literal["auto"],
        WholeNumber(
            minimum=1,
            maximum=1024,
            word="auto",
            unit="processes",
            effect="How many worker processes run; auto is a core each, one core left to the bot.",
        ),
    ] = "auto"
    spare_workers: Annotated[
        int,
        WholeNumber(
            minimum=0,
            maximum=64,
            unit="processes",
            effect="Workers that are kept up without calls, to take over at once from one that is lost.",
        ),
    ] = 0
    autoscale: Annotated[
        bool, Flag(effect="Workers are added and taken away by what they have to do; workers is the start.")
    ] = False
    min_workers: Annotated[
        int,
        WholeNumber(
            minimum=1, maximum=1024, unit="processes", effect="The fewest workers that autoscale leaves."
        ),
    ] = 1
    max_workers: Annotated[
        int | Literal["auto"],
        WholeNumber(
            minimum=1,
            maximum=1024,
            word="auto",
            unit="processes",
            effect="The most workers that autoscale starts; auto is a core each, one core left to the bot.",
        ),
    ] = "auto"
    heartbeat_interval_s: Annotated[
        float,
        Number(minimum=0.05, maximum=60.0, unit="s", effect="How often a worker is asked to show life."),
    ] = 0.5
    hang_timeout_s: Annotated[
        float,
        _seconds("How long a worker may give no sign of life before it is ended and its calls move."),
    ] = 3.0
    memory_limit_mib: Annotated[
        int,
        WholeNumber(
            minimum=0,
            maximum=1 << 20,
            unit="MiB",
            effect="Memory of a worker beyond which its calls move to a new one; 0 sets no limit.",
        ),
    ] = 0
    recovery_rate_hz: Annotated[
        float,
        Number(
            minimum=0.1,
            maximum=10_000.0,
            unit="calls/s",
            effect="How many calls of lost workers are begun again each second, those that play first.",
        ),
    ] = 50.0
    moves_at_once: Annotated[
        int,
        WholeNumber(
            minimum=1,
            maximum=100,
            unit="calls",
            effect="Calls that move at a time when a worker is drained; each is silent for a handshake.",
        ),
    ] = 4
    full_share: Annotated[
        float,
        Number(
            minimum=0.05,
            maximum=1.0,
            unit="of a core",
            effect="CPU time per time beyond which a worker takes no further call.",
        ),
    ] = 0.85
    shed_complexity: Annotated[
        bool,
        Flag(effect="A worker with too much to encode lowers its Opus complexity rather than be late."),
    ] = True
    ca_file: Annotated[
        str | os.PathLike[str] | None,
        CertificateFile(effect="Certificate authorities to trust for voice servers, besides the system's."),
    ] = None
    libopus: Annotated[
        str | os.PathLike[str] | None,
        FilePath(effect="The libopus to load, instead of the system's or the one in PyAV's wheel."),
    ] = None
    pin_workers: Annotated[
        bool, Flag(effect="Each worker stays on a core of its own, where the platform allows it.")
    ] = True
    encoder_class: Annotated[
        Literal["idle", "normal"],
        Choice(
            options=("idle", "normal"),
            effect="Scheduling class of the encoder thread; idle keeps encoding from delaying sending.",
        ),
    ] = "idle"
    pacing_class: Annotated[
        Literal["auto", "normal"],
        Choice(
            options=("auto", "normal"),
            effect="Scheduling class of the pacing thread; auto is real-time where this user may have it.",
        ),
    ] = "auto"
    start_timeout_s: Annotated[
        float,
        _seconds("How long a worker may take to come up."),
    ] = 20.0
    stop_timeout_s: Annotated[
        float,
        _seconds("How long a worker may take to leave when asked, before it is ended by force."),
    ] = 5.0
    connect_timeout_s: Annotated[
        float,
        _seconds("How long joining may take, from the first packet until sound can be sent."),
    ] = 15.0
    reconnect_first_pause_s: Annotated[
        float, _seconds("The pause before a lost voice session is begun anew; it doubles with each failure.")
    ] = 0.5
    reconnect_longest_pause_s: Annotated[
        float, _seconds("The longest that this pause becomes; at least the first.")
    ] = 15.0
    reconnect_attempts: Annotated[
        int,
        WholeNumber(
            minimum=1,
            maximum=1_000,
            unit="attempts",
            effect="Failures in a row after which a lost call is given up, which ends its connection.",
        ),
    ] = 8
    server_wait_s: Annotated[
        float, _seconds("How long Discord may take to name another voice server after one is gone.")
    ] = 30.0
    removal_grace_s: Annotated[
        float, _seconds("How long Discord may take to say why a call was put out: moved, removed, or over.")
    ] = 5.0
    command_timeout_s: Annotated[
        float,
        _seconds("How long a worker may take to answer a request that needs no network."),
    ] = 10.0
    source_open_timeout_s: Annotated[
        float,
        _seconds("How long opening a source may take until its format is known."),
    ] = 10.0
    source_read_timeout_s: Annotated[
        float,
        _seconds("How long a source may send nothing before it is given up."),
    ] = 10.0
    read_ahead_s: Annotated[
        float,
        Number(
            minimum=0.1,
            maximum=60.0,
            unit="s",
            effect="How much of a source from the network is read ahead, to bridge its stalls.",
        ),
    ] = 2.0
    max_source_bytes: Annotated[
        int,
        WholeNumber(
            minimum=1,
            maximum=1 << 30,
            unit="bytes",
            effect="The largest source that may be handed over as bytes in memory.",
        ),
    ] = 64 << 20
    public_urls_only: Annotated[
        bool,
        Flag(effect="URLs that lead to private addresses are refused, unless a source itself allows them."),
    ] = False
    queue_max_tracks: Annotated[
        int,
        WholeNumber(
            minimum=1,
            maximum=1_000_000,
            unit="tracks",
            effect="How many tracks may be upcoming in the queue of a connection.",
        ),
    ] = 10_000
    ring_frames: Annotated[
        int,
        WholeNumber(
            minimum=2,
            maximum=50,
            unit="frames of 20 ms",
            effect="How far a call is encoded ahead; more bridges longer stalls.",
        ),
    ] = 8
    bitrate_bps: Annotated[
        int,
        WholeNumber(
            minimum=6_000,
            maximum=510_000,
            unit="bit/s",
            effect="Opus bitrate of what is encoded, for each call.",
        ),
    ] = 128_000
    complexity: Annotated[
        int,
        WholeNumber(minimum=0, maximum=10, effect="Opus complexity; 0 costs a third of the CPU time of 10."),
    ] = 10
    modes: Annotated[
        tuple[str, ...],
        Choices(
            options=DEFAULT_MODES + DEPRECATED_MODES,
            effect="Transport encryption that may be used, the preferred one first.",
        ),
    ] = DEFAULT_MODES
    dave: Annotated[
        bool,
        Flag(effect="End-to-end encryption (DAVE) is offered; Discord refuses ordinary calls without it."),
    ] = True
    max_calls_per_worker: Annotated[
        int,
        WholeNumber(
            minimum=1, maximum=10_000, unit="calls", effect="Calls a worker takes before it is full."
        ),
    ] = 500
    stats_interval_s: Annotated[
        float,
        Number(minimum=0.05, maximum=60.0, unit="s", effect="How often a worker reports its measurements."),
    ] = 1.0
    ipc: Annotated[
        Literal["auto", "unix", "tcp"],
        Choice(
            options=("auto", "unix", "tcp"),
            effect="How bot and workers talk: unix sockets, or encrypted TCP on the loopback interface.",
        ),
    ] = "auto"
    log_level: Annotated[
        str,
        Choice(
            options=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
            effect="The least severe log line that worker processes write.",
        ),
    ] = "WARNING"
    log_format: Annotated[
        Literal["text", "json"],
        Choice(
            options=("text", "json"), effect="How worker processes write log lines; json: an object a line."
        ),
    ] = "text"
    metrics_port: Annotated[
        int,
        WholeNumber(
            minimum=0,
            maximum=65_535,
            unit="TCP port",
            effect="Where Prometheus may fetch the pool's figures over HTTP; 0 serves none.",
        ),
    ] = 0
    metrics_host: Annotated[str, HostAddress(effect="The address that the figures are served at.")] = (
        "127.0.0.1"
    )
    attach: Annotated[bool, Flag(effect="voicepool top, run by the same user, may look at this pool.")] = True
    config_check_s: Annotated[
        float,
        Number(
            minimum=0.0,
            maximum=3_600.0,
            unit="s",
            effect="How often the file the settings came from is looked at for changes; 0 never does.",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        """Check every field and put it in the form it is kept in."""
        for key, knob in _KNOBS.items():
            # The class is frozen for its users; this is its own constructor.
            object.__setattr__(self, key, _checked(key, knob, getattr(self, key)))
        first_s, longest_s = self.reconnect_first_pause_s, self.reconnect_longest_pause_s
        if longest_s < first_s:
            text = (
                f"reconnect_longest_pause_s = {longest_s:g} is below reconnect_first_pause_s = {first_s:g}; "
                "set both"
            )
            raise ConfigError(text, key="reconnect_longest_pause_s")
        if not isinstance(self.max_workers, str) and self.max_workers < self.min_workers:
            text = f"max_workers = {self.max_workers} is below min_workers = {self.min_workers}; set both"
            raise ConfigError(text, key="max_workers")
        if self.hang_timeout_s < 2 * self.heartbeat_interval_s:
            text = (
                f"hang_timeout_s = {self.hang_timeout_s:g} is below two heartbeats of heartbeat_interval_s = "
                f"{self.heartbeat_interval_s:g}; set both"
            )
            raise ConfigError(text, key="hang_timeout_s")

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
            where it came from and the way out.
        """
        env = os.environ if env is None else env
        file = find_file(path, env)
        settings = read_file(file, _KNOBS) if file is not None else {}
        return cls._from_settings({**settings, **read_environment(env, _KNOBS)})

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
        return cls._from_settings(read_environment(os.environ if env is None else env, _KNOBS))

    @classmethod
    def _from_settings(cls, settings: Mapping[str, Setting]) -> Self:
        values: dict[str, Any] = {}
        for key, setting in settings.items():
            values[key] = _checked(key, _KNOBS[key], setting.value, setting)
        return cls(**values)

    @staticmethod
    def explain() -> tuple[Explanation, ...]:
        """Describe every setting, in the order of the fields."""
        return tuple(
            Explanation(
                key=field.name,
                variable=variable(field.name),
                unit=_KNOBS[field.name].unit,
                default=_as_data(field.default),
                allowed=_KNOBS[field.name].allowed,
                effect=_KNOBS[field.name].effect,
            )
            for field in dataclasses.fields(PoolConfig)
        )

    def as_dict(self) -> dict[str, object]:
        """Return the settings in force, each as JSON and TOML would write it; None stays None.

        ``PoolConfig(**config.as_dict()) == config``.
        """
        return {key: _as_data(getattr(self, key)) for key in _KNOBS}

    def resolve_workers(self) -> int:
        """Say how many workers to start: ``workers``, or for "auto" the usable cores less one, at least 1."""
        return max(1, count_cores().usable - 1) if isinstance(self.workers, str) else self.workers


def _collect_knobs() -> dict[str, Knob]:
    hints = typing.get_type_hints(PoolConfig, include_extras=True)
    return {field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(PoolConfig)}


_KNOBS: Final = _collect_knobs()


def _checked(key: str, knob: Knob, value: object, setting: Setting | None = None) -> Any:
    try:
        if setting is None:
            return knob.check(value)
        if setting.folder is None:
            return knob.check(knob.parse(str(value)))
        return knob.check(knob.rebase(value, setting.folder))
    except NotAllowedError as error:
        facts = {"key": key} if setting is None else {"key": key, "origin": setting.origin}
        source = "" if setting is None else f" (from {setting.origin})"
        text = f"{key} = {_shown(value)}{source} {error}; allowed is {knob.allowed}"
        raise ConfigError(text, **facts) from None


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:
        # Python refuses to write out integers of more than some thousand digits.
        return f"<{type(value).__name__}>"


def _as_data(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
