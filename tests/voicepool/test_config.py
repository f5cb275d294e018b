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
from voicepool._cores import Cores
from voicepool.config import DEFAULT_MODES, DEPRECATED_MODES, PoolConfig
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
        "ca_file": None,
        "libopus": None,
        "pin_workers": True,
        "encoder_class": "idle",
        "pacing_class": "auto",
        "start_timeout_s": 20.0,
        "stop_timeout_s": 5.0,
        "connect_timeout_s": 15.0,
        "reconnect_first_pause_s": 0.5,
        "reconnect_longest_pause_s": 15.0,
        "reconnect_attempts": 8,
        "server_wait_s": 30.0,
        "removal_grace_s": 5.0,
        "command_timeout_s": 10.0,
        "source_open_timeout_s": 10.0,
        "source_read_timeout_s": 10.0,
        "read_ahead_s": 2.0,
        "max_source_bytes": 67_108_864,
        "public_urls_only": False,
        "queue_max_tracks": 10_000,
        "ring_frames": 8,
        "bitrate_bps": 128_000,
        "complexity": 10,
        "modes": ["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"],
        "dave": True,
        "max_calls_per_worker": 500,
        "stats_interval_s": 1.0,
        "ipc": "auto",
        "log_level": "WARNING",
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
    assert {key for key, _ in BAD} == {field.name for field in dataclasses.fields(PoolConfig)}


def test_the_refusal_names_value_origin_and_what_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text("ring_frames = 80\n")
    with pytest.raises(ConfigError) as caught:
        PoolConfig.load(file, env={})
    assert str(caught.value) == (
        f"ring_frames = 80 (from {file}) is above 50; allowed is a whole number from 2 to 50"
    )
    assert (caught.value.key, caught.value.origin) == ("ring_frames", str(file))

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
    with pytest.raises(ConfigError, match=re.escape(f"(from {file})")):
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


@pytest.mark.parametrize("settings", [{"reconnect_first_pause_s": 15.5}, {"reconnect_longest_pause_s": 0.4}])
def test_the_longest_pause_is_not_below_the_first(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"is below reconnect_first_pause_s = .+; set both") as caught:
        PoolConfig(**settings)  # type: ignore[arg-type]
    assert caught.value.key == "reconnect_longest_pause_s"
    both = {"reconnect_first_pause_s": 20.0, "reconnect_longest_pause_s": 20.0}
    assert PoolConfig(**both).reconnect_first_pause_s == 20.0  # type: ignore[arg-type]


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


def test_the_explanations_are_complete() -> None:
    explained = PoolConfig.explain()
    assert [item.key for item in explained] == [field.name for field in dataclasses.fields(PoolConfig)]
    for item in explained:
        assert item.variable == f"VOICEPOOL_{item.key.upper()}"
        assert item.effect.endswith(".")
        assert item.allowed
        assert item.default == PoolConfig().as_dict()[item.key]
        for suffix, unit in (("_s", "s"), ("_bytes", "bytes"), ("_bps", "bit/s")):
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
