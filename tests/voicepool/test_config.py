"""`PoolConfig`: defaults, checks, precedence, and a description that cannot drift from them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from voicepool import config as config_module
from voicepool._machine.cores import Cores
from voicepool._process.settings import worker_settings
from voicepool._settings.knobs import TakesEffect
from voicepool.config import DEFAULT_MODES, DEPRECATED_MODES, Explanation, PoolConfig
from voicepool.errors import ConfigError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + dt.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(built.public_bytes(Encoding.PEM))
    return file


def test_the_defaults() -> None:
    assert PoolConfig().as_dict() == {
        "workers": "auto",
        "spare_workers": 0,
        "autoscale": False,
        "min_workers": 1,
        "max_workers": "auto",
        "max_calls_per_worker": 500,
        "full_share": 0.85,
        "rebalance": True,
        "shed_complexity": True,
        "heartbeat_interval_s": 1.5,
        "hang_timeout_s": 3.0,
        "memory_limit_mib": 0,
        "recovery_rate_hz": 50.0,
        "moves_at_once": 4,
        "pin_workers": True,
        "encoder_class": "idle",
        "pacing_class": "auto",
        "start_timeout_s": 20.0,
        "stop_timeout_s": 5.0,
        "command_timeout_s": 10.0,
        "ipc": "auto",
        "connect_timeout_s": 15.0,
        "reconnect_first_pause_s": 0.5,
        "reconnect_longest_pause_s": 15.0,
        "reconnect_attempts": 8,
        "server_wait_s": 30.0,
        "removal_grace_s": 5.0,
        "dave": True,
        "modes": ["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"],
        "ca_file": None,
        "source_open_timeout_s": 10.0,
        "source_read_timeout_s": 10.0,
        "read_ahead_s": 2.0,
        "max_source_bytes": 67_108_864,
        "public_urls_only": False,
        "queue_max_tracks": 10_000,
        "ring_frames": 8,
        "bitrate_bps": 128_000,
        "complexity": 10,
        "libopus": None,
        "stats_interval_s": 1.0,
        "log_level": "WARNING",
        "log_format": "text",
        "metrics_port": 0,
        "metrics_host": "127.0.0.1",
        "attach": True,
        "config_check_s": 1.0,
    }


BAD: list[tuple[str, object]] = [
    ("workers", 0),
    ("workers", "many"),
    ("workers", 2.5),
    ("ca_file", "/no/such/file.pem"),
    ("ca_file", __file__),
    ("libopus", 3),
    ("pin_workers", "yes"),
    ("encoder_class", "realtime"),
    ("pacing_class", "fifo"),
    ("dave", "yes please"),
    ("start_timeout_s", 0),
    ("stop_timeout_s", -1.0),
    ("connect_timeout_s", math.nan),
    ("reconnect_first_pause_s", 0),
    ("reconnect_longest_pause_s", 601),
    ("reconnect_attempts", 0),
    ("server_wait_s", "soon"),
    ("removal_grace_s", -1),
    ("command_timeout_s", math.inf),
    ("source_open_timeout_s", "10"),
    ("source_read_timeout_s", None),
    ("read_ahead_s", 0.05),
    ("max_source_bytes", 0),
    ("ring_frames", 1),
    ("ring_frames", 51),
    ("public_urls_only", "maybe"),
    ("queue_max_tracks", 0),
    ("queue_max_tracks", 1_000_001),
    ("bitrate_bps", 5_999),
    ("bitrate_bps", 512_001),
    ("complexity", 11),
    ("modes", "aead_aes256_gcm_rtpsize"),
    ("modes", []),
    ("modes", ["plain"]),
    ("max_calls_per_worker", 0),
    ("stats_interval_s", False),
    ("ipc", "pipe"),
    ("log_level", "LOUD"),
    ("spare_workers", -1),
    ("spare_workers", 65),
    ("autoscale", 1),
    ("min_workers", 0),
    ("min_workers", "auto"),
    ("max_workers", 1_025),
    ("max_workers", "all"),
    ("heartbeat_interval_s", 0.04),
    ("hang_timeout_s", 601),
    ("memory_limit_mib", -1),
    ("memory_limit_mib", 0.5),
    ("recovery_rate_hz", 0),
    ("moves_at_once", 0),
    ("full_share", 1.01),
    ("rebalance", None),
    ("shed_complexity", None),
    ("log_format", "xml"),
    ("metrics_port", 65_536),
    ("metrics_host", "localhost"),
    ("metrics_host", 127),
    ("attach", "no"),
    ("config_check_s", -0.1),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_wrong_argument_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} = .+; allowed is .+") as caught:
        PoolConfig(**{key: value})
    assert (caught.value.key, caught.value.origin) == (key, None)


def test_a_number_too_long_to_write_out_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"^workers = <int> is above 1024"):
        PoolConfig(workers=10**5000)


def test_every_setting_has_a_wrong_value_above() -> None:
    assert {key for key, _ in BAD} == set(PoolConfig().as_dict())


def test_the_refusal_names_value_origin_and_what_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text("workers = 1\nring_frames = 80\n")
    with pytest.raises(ConfigError) as caught:
        PoolConfig.load(file, env={})
    assert str(caught.value) == (
        f"ring_frames = 80 (from {file}, line 2) is above 50; allowed is a whole number from 2 to 50; "
        "it counts frames of 20 ms, not milliseconds: write 4"
    )
    assert (caught.value.key, caught.value.origin) == ("ring_frames", str(file))
    assert caught.value.data["line"] == 2

    with pytest.raises(ConfigError) as caught:
        PoolConfig.from_env({"VOICEPOOL_RING_FRAMES": "many"})
    assert str(caught.value) == (
        "ring_frames = 'many' (from VOICEPOOL_RING_FRAMES) is no whole number; "
        "allowed is a whole number from 2 to 50"
    )
    assert caught.value.origin == "VOICEPOOL_RING_FRAMES"


@pytest.mark.parametrize("wrong", ["pin_workers = 1", 'workers = "2"', "read_ahead_s = nan", 'modes = "x"'])
def test_a_wrong_type_in_a_file_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text(wrong)
    with pytest.raises(ConfigError, match=re.escape(f"(from {file}, line 1)")):
        PoolConfig.load(file, env={})


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text("workers = 3\nring_frames = 12\n")
    config = PoolConfig.load(file, env={"VOICEPOOL_WORKERS": "5"})
    assert (config.workers, config.ring_frames, config.complexity) == (5, 12, 10)


def test_every_setting_can_be_given_in_a_file_and_in_the_environment(
    tmp_path: Path, certificate: Path
) -> None:
    wanted = PoolConfig(
        workers=3,
        ca_file=certificate,
        libopus=tmp_path / "libopus.so",
        pin_workers=False,
        encoder_class="normal",
        pacing_class="normal",
        dave=False,
        start_timeout_s=1,
        stop_timeout_s=2,
        connect_timeout_s=3,
        reconnect_first_pause_s=1,
        reconnect_longest_pause_s=14,
        reconnect_attempts=15,
        server_wait_s=16,
        removal_grace_s=17,
        command_timeout_s=4,
        source_open_timeout_s=5,
        source_read_timeout_s=6,
        read_ahead_s=7,
        max_source_bytes=8,
        public_urls_only=True,
        queue_max_tracks=18,
        ring_frames=9,
        bitrate_bps=10_000,
        complexity=1,
        modes=("xsalsa20_poly1305", "aead_aes256_gcm_rtpsize"),
        max_calls_per_worker=12,
        stats_interval_s=13,
        ipc="tcp",
        log_level="DEBUG",
        spare_workers=1,
        autoscale=True,
        min_workers=2,
        max_workers=19,
        heartbeat_interval_s=20,
        hang_timeout_s=41,
        memory_limit_mib=21,
        recovery_rate_hz=22,
        moves_at_once=23,
        full_share=0.24,
        rebalance=False,
        shed_complexity=False,
        log_format="json",
        metrics_port=25,
        metrics_host="::1",
        attach=False,
        config_check_s=26,
    )
    unchanged = [key for key, value in wanted.as_dict().items() if value == PoolConfig().as_dict()[key]]
    assert unchanged == []

    file = tmp_path / "voicepool.toml"
    # JSON writes these values as TOML does.
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in wanted.as_dict().items()))
    assert PoolConfig.load(file, env={}) == wanted

    text = {key: ",".join(v) if isinstance(v, list) else str(v) for key, v in wanted.as_dict().items()}
    env = {item.variable: text[item.key] for item in PoolConfig.explain()}
    assert PoolConfig.from_env(env) == wanted
    assert PoolConfig(**dict[str, Any](wanted.as_dict())) == wanted


def test_load_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert PoolConfig.load(env={}) == PoolConfig()
    (tmp_path / "voicepool.toml").write_text("workers = 2")
    (tmp_path / "other.toml").write_text("workers = 4")
    assert PoolConfig.load(env={}).workers == 2
    assert PoolConfig.load(env={"VOICEPOOL_CONFIG": "other.toml"}).workers == 4
    assert PoolConfig.from_env({"VOICEPOOL_CONFIG": "other.toml"}).workers == "auto"
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        PoolConfig.load(env={"VOICEPOOL_CONFIG": "missing.toml"})


def test_the_processs_own_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICEPOOL_WORKERS", "6")
    assert PoolConfig.from_env().workers == 6
    assert PoolConfig.load().workers == 6
    assert PoolConfig().workers == "auto"


def test_it_remembers_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voicepool.toml").write_text("workers = 2")
    config = PoolConfig.load(env={})
    assert config.origin == tmp_path / "voicepool.toml"
    assert dataclasses.replace(config, workers=3).origin == config.origin
    assert config == PoolConfig(workers=2)
    assert hash(config) == hash(PoolConfig(workers=2))
    assert "origin" not in repr(config)
    assert "origin" not in config.as_dict()
    assert PoolConfig().origin is PoolConfig.from_env({}).origin is None
    (tmp_path / "voicepool.toml").write_text("origin = 'x'")
    with pytest.raises(ConfigError, match="origin is no setting"):
        PoolConfig.load(env={})


def test_all_problems_are_found_and_the_first_is_raised(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text("work = 1\nworkers = 0\nring_frames = 3\n")
    env = {"VOICEPOOL_DAVE": "perhaps", "VOICEPOOL_X": "1"}
    examined = PoolConfig.examine(file, env=env)
    assert [error.key for error in examined.problems] == ["work", "workers", "x", "dave"]
    assert examined.values == {"ring_frames": 3}
    with pytest.raises(ConfigError, match="work is no setting"):
        PoolConfig.load(file, env=env)


def test_what_differs_is_named_with_when_it_holds() -> None:
    config = PoolConfig(workers=2, bitrate_bps=64_000, queue_max_tracks=9)
    assert config.changes_from(PoolConfig(workers=2)) == {
        "bitrate_bps": TakesEffect.NEXT_WORKER,
        "queue_max_tracks": TakesEffect.AT_ONCE,
    }
    assert config.changes_from(config) == {}


def test_what_a_worker_is_told_at_its_start_takes_a_new_worker(certificate: Path) -> None:
    """And no other setting does, but those about how a worker is started and reached."""
    told = worker_settings(PoolConfig(), None)
    for item in PoolConfig.explain():
        changed = PoolConfig(
            **{item.key: OTHERS[item.key] if item.key in OTHERS else _other(item, certificate)}
        )
        if worker_settings(changed, None) != told or item.key in {"ipc", "max_source_bytes", "pin_workers"}:
            assert item.takes_effect is TakesEffect.NEXT_WORKER, item.key
        else:
            assert item.takes_effect is TakesEffect.AT_ONCE, item.key


OTHERS: dict[str, Any] = {
    "heartbeat_interval_s": 1.0,
    "ipc": "tcp",
    "complexity": 3,
    "metrics_host": "::1",
    "modes": ["aead_aes256_gcm"],
    "log_level": "INFO",
    "log_format": "json",
}


def _other(item: Explanation, certificate: Path) -> Any:
    """Return an allowed value that is not the default."""
    if item.default is None:
        return certificate
    if isinstance(item.default, bool):
        return not item.default
    if isinstance(item.default, str):
        return 3 if item.key.endswith("workers") else "normal"
    assert isinstance(item.default, int | float)
    return item.default + 1 if item.key != "full_share" else item.default / 2


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ('connect_timeout_s = "15s"', "it counts seconds, as a number without quotes and unit: write 15"),
        ("connect_timeout_s = 15000", "it counts seconds, not milliseconds: write 15"),
        ("full_share = 85", "it counts whole cores, not percent: write 0.85"),
        ("memory_limit_mib = 536870912", "it counts MiB, not bytes: write 512"),
        ("bitrate_bps = 128", "it counts bit/s, not kbit/s: write 128000"),
        ('dave = "yes"', "write true"),
        ('modes = "aead_aes256_gcm_rtpsize"', 'it is a list: write ["aead_aes256_gcm_rtpsize"]'),
        ('metrics_host = "localhost"', 'a name is no address: write "127.0.0.1"'),
    ],
)
def test_a_wrong_unit_or_form_gets_the_line_that_would_be_right(
    tmp_path: Path, wrong: str, advice: str
) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text(wrong)
    with pytest.raises(ConfigError) as caught:
        PoolConfig.load(file, env={})
    assert str(caught.value).endswith(f"; {advice}")
    file.write_text(f"{wrong.split('=', maxsplit=1)[0]} = {advice.rpartition('write ')[2]}")
    PoolConfig.load(file, env={})


def test_paths_in_a_file_count_from_its_folder(tmp_path: Path, certificate: Path) -> None:
    file = certificate.parent / "voicepool.toml"
    file.write_text('ca_file = "ca.pem"\nlibopus = "lib/libopus.so"\n')
    config = PoolConfig.load(file, env={})
    assert config.ca_file == str(certificate)
    assert config.libopus == str(certificate.parent / "lib" / "libopus.so")


def test_a_relative_file_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voicepool.toml").write_text('libopus = "libopus.so"')
    assert PoolConfig.load(env={}).libopus == str(tmp_path / "libopus.so")


def test_it_is_frozen_hashable_and_picklable() -> None:
    config = PoolConfig(workers=2, modes=["xsalsa20_poly1305"])  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.workers = 3  # type: ignore[misc]
    assert config.modes == ("xsalsa20_poly1305",)
    assert hash(config) == hash(dataclasses.replace(config))
    assert pickle.loads(pickle.dumps(config)) == config


def test_replacing_a_value_checks_it() -> None:
    with pytest.raises(ConfigError, match=r"^workers = 0 "):
        dataclasses.replace(PoolConfig(), workers=0)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"reconnect_first_pause_s": 15.5}, "reconnect_longest_pause_s"),
        ({"reconnect_longest_pause_s": 0.4}, "reconnect_longest_pause_s"),
        ({"min_workers": 3, "max_workers": 2}, "max_workers"),
        ({"hang_timeout_s": 0.39}, "hang_timeout_s"),
        ({"heartbeat_interval_s": 2}, "hang_timeout_s"),
    ],
)
def test_values_that_contradict_each_other_are_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=r"is below .+; set both$") as caught:
        PoolConfig(**settings)
    assert caught.value.key == key


def test_values_that_agree_are_taken() -> None:
    assert PoolConfig(reconnect_first_pause_s=20.0, reconnect_longest_pause_s=20.0).reconnect_attempts == 8
    assert PoolConfig(min_workers=3, max_workers=3).max_workers == 3
    assert PoolConfig(min_workers=3).max_workers == "auto"
    assert PoolConfig(hang_timeout_s=1.0, heartbeat_interval_s=0.5).hang_timeout_s == 1.0


@pytest.mark.parametrize(
    ("workers", "cores", "expected"),
    [
        (3, Cores(1, None), 3),
        ("auto", Cores(8, None), 7),
        ("auto", Cores(8, 2.0), 1),
        ("auto", Cores(1, None), 1),
        ("auto", Cores(64, 0.5), 1),
    ],
)
def test_auto_leaves_a_core_to_the_bot(
    monkeypatch: pytest.MonkeyPatch, workers: Any, cores: Cores, expected: int
) -> None:
    monkeypatch.setattr(config_module, "count_cores", lambda: cores)
    assert PoolConfig(workers=workers).resolve_workers() == expected


SUFFIXES = {
    "_s": "s",
    "_bytes": "bytes",
    "_bps": "bit/s",
    "_mib": "MiB",
    "_hz": "calls/s",
    "_share": "of a core",
    "_port": "TCP port",
    "_frames": "frames of 20 ms",
    "_tracks": "tracks",
    "_attempts": "attempts",
}
"""The end of a name tells the unit."""


def test_the_explanations_are_complete() -> None:
    explained = PoolConfig.explain()
    assert [item.key for item in explained] == list(PoolConfig().as_dict())
    for item in explained:
        assert item.variable == f"VOICEPOOL_{item.key.upper()}"
        assert item.effect.endswith(".")
        assert item.allowed
        assert item.default == PoolConfig().as_dict()[item.key]
        for suffix, unit in SUFFIXES.items():
            if item.key.endswith(suffix):
                assert item.unit == unit
    json.dumps([dataclasses.asdict(item) for item in explained])


def test_the_modes_are_the_seven_known_ones() -> None:
    assert len({*DEFAULT_MODES, *DEPRECATED_MODES}) == 7
    assert PoolConfig(modes=DEPRECATED_MODES).modes == DEPRECATED_MODES


def test_the_written_out_defaults_are_a_valid_file(tmp_path: Path) -> None:
    text = "".join(
        f"{item.key} = {json.dumps(item.default)}\n"
        for item in PoolConfig.explain()
        if item.default is not None
    )
    assert tomllib.loads(text)
    file = tmp_path / "voicepool.toml"
    file.write_text(text)
    assert PoolConfig.load(file, env={}) == PoolConfig()
