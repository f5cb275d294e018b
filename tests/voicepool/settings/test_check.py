"""All problems at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepool._settings.check import check_argument, examine, find_contradictions
from voicepool._settings.file import Setting
from voicepool._settings.knobs import Number, WholeNumber
from voicepool.config import PoolConfig
from voicepool.errors import ConfigError

KNOBS = {
    "reconnect_longest_pause_s": Number(minimum=0, maximum=60, unit="s", effect=""),
    "reconnect_first_pause_s": Number(minimum=0, maximum=60, unit="s", effect=""),
    "workers": WholeNumber(minimum=1, maximum=8, effect=""),
    **{
        key: WholeNumber(minimum=1, maximum=8, effect="")
        for key in ("max_workers", "min_workers", "hang_timeout_s", "heartbeat_interval_s")
    },
}
DEFAULTS = {
    "reconnect_longest_pause_s": 15.0,
    "reconnect_first_pause_s": 0.5,
    "workers": 2,
    "max_workers": 8,
    "min_workers": 1,
    "hang_timeout_s": 8,
    "heartbeat_interval_s": 1,
}


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "voicepool.toml"
    file.write_text(text)
    return file


def test_problems_come_in_the_order_of_lines(tmp_path: Path) -> None:
    file = write(tmp_path, "workers = 9\nunknown = 1\nmin_workers = 'x'\nreconnect_longest_pause_s = 0.2\n")
    found = examine(file, {"VOICEPOOL_MAX_WORKERS": "no", "VOICEPOOL_NO": "1"}, KNOBS, DEFAULTS)
    assert [(error.key, error.data.get("line")) for error in found.problems] == [
        ("workers", 1),
        ("unknown", 2),
        ("min_workers", 3),
        ("reconnect_longest_pause_s", 4),
        ("no", None),
        ("max_workers", None),
    ]
    assert found.values == {"reconnect_longest_pause_s": 0.2}
    for error in found.problems:
        if error.data.get("line"):
            assert str(file) in str(error)
            assert str(file) not in str(error.data["problem"])


def test_the_environment_hides_what_the_file_says(tmp_path: Path) -> None:
    found = examine(write(tmp_path, "workers = 9"), {"VOICEPOOL_WORKERS": "3"}, KNOBS, DEFAULTS)
    assert (found.values, found.problems) == ({"workers": 3}, ())
    assert found.settings["workers"].origin == "VOICEPOOL_WORKERS"


def test_without_a_file() -> None:
    found = examine(None, {}, KNOBS, DEFAULTS)
    assert (found.file, dict(found.settings), dict(found.values), found.problems) == (None, {}, {}, ())


def test_a_file_that_cannot_be_read_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        examine(tmp_path / "missing.toml", {}, KNOBS, DEFAULTS)


def test_what_is_refused_contradicts_nothing() -> None:
    values = {**DEFAULTS, "reconnect_longest_pause_s": 0.1}
    (error,) = find_contradictions(values)
    assert error.key == "reconnect_longest_pause_s"
    assert list(find_contradictions(values, without={"reconnect_first_pause_s"})) == []


def test_a_contradiction_is_placed_where_one_of_both_was_given() -> None:
    settings = {"reconnect_first_pause_s": Setting(20.0, "f.toml", Path(), line=4)}
    (error,) = find_contradictions({**DEFAULTS, "reconnect_first_pause_s": 20.0}, settings)
    assert str(error) == (
        "reconnect_longest_pause_s = 15 is below reconnect_first_pause_s = 20; set both (from f.toml, line 4)"
    )


def test_an_argument_has_no_place() -> None:
    assert check_argument("workers", KNOBS["workers"], 3) == 3
    with pytest.raises(ConfigError) as caught:
        check_argument("workers", KNOBS["workers"], 30)
    assert str(caught.value) == "workers = 30 is above 8; allowed is a whole number from 1 to 8"


def test_the_rules_are_about_settings_there_are() -> None:
    assert set(KNOBS) <= set(PoolConfig().as_dict())
