"""Settings from files and variables: found, named with their origin, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepool._settings.file import Setting, find_file, nearest, scan_environment, scan_file
from voicepool.errors import ConfigError

KEYS = ("workers", "ring_frames", "start_timeout_s")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_stand_at_the_top_level(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", '\nworkers = 2\nstart_timeout_s = "x"\n')
    settings, unknown = scan_file(file, KEYS)
    assert settings == {
        "workers": Setting(2, str(file), tmp_path, line=2),
        "start_timeout_s": Setting("x", str(file), tmp_path, line=3),
    }
    assert unknown == []
    assert settings["workers"].place == f"{file}, line 2"
    assert settings["workers"].facts == {"origin": str(file), "line": 2}


def test_pyproject_has_a_table_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "pyproject.toml", "[tool.other]\nworkers = 9\n[tool.voicepool]\nworkers = 2\n")
    assert scan_file(file, KEYS) == ({"workers": Setting(2, str(file), tmp_path, line=4)}, [])


@pytest.mark.parametrize("text", ["tool.voicepool = {workers = 2}", "[tool]\nvoicepool = {workers = 2}"])
def test_an_inline_table_has_the_line_it_stands_on(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "pyproject.toml", text)
    line = text.count("\n") + 1
    assert scan_file(file, KEYS) == ({"workers": Setting(2, str(file), tmp_path, line=line)}, [])


@pytest.mark.parametrize("text", ["", "[tool.other]\n", "[tool]\nvoicepool = 1\n", "tool = 1\n"])
def test_pyproject_without_the_table_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no table \[tool.voicepool\]"):
        scan_file(write(tmp_path / "pyproject.toml", text), KEYS)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "\ufeffworkers = 2\n")
    assert scan_file(file, KEYS)[0]["workers"] == Setting(2, str(file), tmp_path, line=1)


def test_an_unknown_key_is_named_with_its_line_and_its_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "voicepool.toml", "ring_frames = 3\nworker = 2\nwidth = 1\n")
    settings, (unknown, other) = scan_file(file, KEYS)
    assert set(settings) == {"ring_frames"}
    problem = "worker is no setting of voicepool; did you mean workers?"
    assert str(unknown) == f"{file}, line 2: {problem}"
    assert unknown.data == {"key": "worker", "origin": str(file), "line": 2, "problem": problem}
    assert other.key == "width"


def test_a_name_like_no_other_gets_the_list_if_that_is_short() -> None:
    assert nearest("zzz", KEYS) == "there are ring_frames, start_timeout_s, workers"
    assert nearest("zzz", [str(number) for number in range(50)]) == "voicepool config --explain lists all"


@pytest.mark.parametrize("header", ["[voicepool]", "[voicepool.inner]", "[[voicepool]]"])
def test_a_table_in_our_own_file_is_explained(tmp_path: Path, header: str) -> None:
    file = write(tmp_path / "voicepool.toml", f"# ours\n{header}\nworkers = 2\n")
    _, (unknown,) = scan_file(file, KEYS)
    assert (unknown.key, unknown.data["line"]) == ("voicepool", 2)
    if not header.startswith("[["):
        assert "[voicepool] is no table of voicepool; settings stand at the top level" in str(unknown)


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
        scan_file(file, KEYS)
    assert str(file) in str(caught.value)
    assert caught.value.data.get("line") == line
    assert caught.value.key is None


def test_an_endless_number_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no valid TOML"):
        scan_file(write(tmp_path / "voicepool.toml", "workers = " + "9" * 5000), KEYS)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        scan_file(file, KEYS)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: .* cannot be read"):
        scan_file(tmp_path / "missing.toml", KEYS)
    with pytest.raises(ConfigError, match="cannot be read"):
        scan_file(tmp_path, KEYS)


def test_variables_are_read_as_text() -> None:
    env = {"VOICEPOOL_RING_FRAMES": " 9 ", "VOICEPOOL_WORKERS": "", "VOICEPOOL_CONFIG": "x.toml", "HOME": "/"}
    settings, unknown = scan_environment(env, KEYS)
    assert settings == {"ring_frames": Setting("9", "VOICEPOOL_RING_FRAMES")}
    assert unknown == []
    assert settings["ring_frames"].place == "VOICEPOOL_RING_FRAMES"
    assert settings["ring_frames"].facts == {"origin": "VOICEPOOL_RING_FRAMES"}


@pytest.mark.parametrize(
    ("name", "nearest"), [("VOICEPOOL_WORKER", "VOICEPOOL_WORKERS"), ("VOICEPOOL_CONFG", "VOICEPOOL_CONFIG")]
)
def test_an_unknown_variable_is_named_with_its_nearest(name: str, nearest: str) -> None:
    settings, (unknown,) = scan_environment({name: "", "VOICEPOOL_WORKERS": "3"}, KEYS)
    assert set(settings) == {"workers"}
    assert f"{name} names no setting of voicepool; did you mean {nearest}?" in str(unknown)
    assert unknown.origin == name


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    write(tmp_path / "voicepool.toml", "")
    assert find_file(None, {"VOICEPOOL_CONFIG": ""}) == Path("voicepool.toml")
    assert find_file(None, {"VOICEPOOL_CONFIG": "other.toml"}) == Path("other.toml")
    assert find_file("given.toml", {"VOICEPOOL_CONFIG": "other.toml"}) == Path("given.toml")
