"""Settings from files and variables: found, named with their origin, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepool._config_file import Setting, find_file, read_environment, read_file
from voicepool.errors import ConfigError

KEYS = ("workers", "ring_frames", "start_timeout_s")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_stand_at_the_top_level(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", 'workers = 2\nstart_timeout_s = "x"\n')
    assert read_file(file, KEYS) == {
        "workers": Setting(2, str(file), tmp_path),
        "start_timeout_s": Setting("x", str(file), tmp_path),
    }


def test_pyproject_has_a_table_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "pyproject.toml", "[tool.other]\nworkers = 9\n[tool.voicepool]\nworkers = 2\n")
    assert read_file(file, KEYS) == {"workers": Setting(2, str(file), tmp_path)}


@pytest.mark.parametrize("text", ["", "[tool.other]\n", "[tool]\nvoicepool = 1\n", "tool = 1\n"])
def test_pyproject_without_the_table_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no table \[tool.voicepool\]"):
        read_file(write(tmp_path / "pyproject.toml", text), KEYS)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "\ufeffworkers = 2\n")
    assert read_file(file, KEYS)["workers"].value == 2


def test_an_unknown_key_is_named_with_its_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "worker = 2\n")
    with pytest.raises(
        ConfigError, match=r"worker is no setting of voicepool; did you mean workers\?"
    ) as caught:
        read_file(file, KEYS)
    assert (caught.value.key, caught.value.origin) == ("worker", str(file))


def test_a_key_like_no_other_gets_the_list(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "zzz = 2\n")
    with pytest.raises(ConfigError, match="there are ring_frames, start_timeout_s, workers"):
        read_file(file, KEYS)


def test_a_table_in_our_own_file_is_explained(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "[voicepool]\nworkers = 2\n")
    with pytest.raises(ConfigError, match=r"\[voicepool\] is no table .* top level") as caught:
        read_file(file, KEYS)
    assert caught.value.key == "voicepool"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("workers = 2\nworkers = 3\n", 2),
        ("workers =\n", 1),
        pytest.param("x = " + "[" * 9_000, None, id="nested too deep"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path, text: str, line: int | None) -> None:
    file = write(tmp_path / "voicepool.toml", text)
    with pytest.raises(ConfigError, match="no valid TOML") as caught:
        read_file(file, KEYS)
    assert str(file) in str(caught.value)
    assert caught.value.data.get("line") == line
    assert caught.value.key is None


def test_an_endless_number_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no valid TOML"):
        read_file(write(tmp_path / "voicepool.toml", "workers = " + "9" * 5000), KEYS)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_file(file, KEYS)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: .* cannot be read"):
        read_file(tmp_path / "missing.toml", KEYS)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path, KEYS)


def test_variables_are_read_as_text() -> None:
    env = {"VOICEPOOL_RING_FRAMES": " 9 ", "VOICEPOOL_WORKERS": "", "VOICEPOOL_CONFIG": "x.toml", "HOME": "/"}
    assert read_environment(env, KEYS) == {"ring_frames": Setting("9", "VOICEPOOL_RING_FRAMES")}


@pytest.mark.parametrize(
    ("name", "nearest"), [("VOICEPOOL_WORKER", "VOICEPOOL_WORKERS"), ("VOICEPOOL_CONFG", "VOICEPOOL_CONFIG")]
)
def test_an_unknown_variable_is_named_with_its_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} names no setting .*did you mean {nearest}\?") as caught:
        read_environment({name: ""}, KEYS)
    assert caught.value.origin == name


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    write(tmp_path / "voicepool.toml", "")
    assert find_file(None, {"VOICEPOOL_CONFIG": ""}) == Path("voicepool.toml")
    assert find_file(None, {"VOICEPOOL_CONFIG": "other.toml"}) == Path("other.toml")
    assert find_file("given.toml", {"VOICEPOOL_CONFIG": "other.toml"}) == Path("given.toml")
