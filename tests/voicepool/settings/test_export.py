"""The documented file and the schema say what `PoolConfig` does."""

from __future__ import annotations

import importlib.util
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.voicepool.test_config import BAD
from voicepool._settings.export import example, toml_value
from voicepool.config import PoolConfig

EXAMPLE = Path(__file__).parents[3] / "examples" / "voicepool.toml"
ABOUT_FILES = {"ca_file"}
"""Settings whose wrong values no schema can tell: it would have to open the file."""


def test_the_example_in_the_repository_is_up_to_date() -> None:
    assert EXAMPLE.read_text() == example(PoolConfig.explain()), (
        "run: voicepool config --example > examples/voicepool.toml"
    )


def test_the_example_changes_nothing() -> None:
    assert PoolConfig.load(EXAMPLE, env={}) == PoolConfig()


def test_the_example_with_every_setting_uncommented_is_the_defaults(tmp_path: Path) -> None:
    text = "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in example(PoolConfig.explain()).splitlines()
        if '= ""' not in line
    )
    keys = {item.key for item in PoolConfig.explain() if item.default is not None}
    assert set(tomllib.loads(text)) == keys
    file = tmp_path / "voicepool.toml"
    file.write_text(text)
    assert PoolConfig.load(file, env={}) == PoolConfig()


def test_the_example_documents_every_setting() -> None:
    text = " ".join(line.removeprefix("# ") for line in example(PoolConfig.explain()).splitlines())
    for item in PoolConfig.explain():
        for fact in (item.effect, f"Allowed: {item.allowed}.", f"Takes effect: {item.takes_effect}."):
            assert fact in text
    assert text.count("----") == 2 * 6


def test_values_are_written_as_toml() -> None:
    for value in (True, 3, 0.5, 'a"b\\', ["x", "y"]):
        assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
    assert toml_value(None) == '""'


def test_the_schema_lists_exactly_the_settings() -> None:
    schema: dict[str, Any] = PoolConfig.schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    for item in PoolConfig.explain():
        described = schema["properties"].pop(item.key)
        assert item.effect in described["description"]
        assert described.get("x-unit", "") == item.unit
        assert described.get("default") == item.default
    assert schema["properties"] == {}


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="jsonschema is not installed")
def test_the_schema_takes_and_refuses_what_the_config_does() -> None:
    import jsonschema  # type: ignore[import-untyped,import-not-found,unused-ignore]

    jsonschema.Draft202012Validator.check_schema(PoolConfig.schema())
    validator = jsonschema.Draft202012Validator(
        PoolConfig.schema(), format_checker=jsonschema.FormatChecker()
    )
    defaults = {key: value for key, value in PoolConfig().as_dict().items() if value is not None}
    validator.validate(defaults)
    for key, value in BAD:
        # Neither TOML nor JSON can say None or NaN.
        if (
            key not in ABOUT_FILES
            and value is not None
            and not (isinstance(value, float) and math.isnan(value))
        ):
            assert not validator.is_valid({key: value}), (key, value)
    assert not validator.is_valid({"worker": 1})


def test_the_schemas_bounds_are_the_knobs() -> None:
    properties: dict[str, Any] = PoolConfig.schema()["properties"]  # type: ignore[assignment]
    for key, described in properties.items():
        for bounds in (described, *described.get("anyOf", ())):
            if "maximum" not in bounds:
                continue
            for inside in (bounds["minimum"], bounds["maximum"]):
                assert _refusals(key, inside) == []
            for outside in (bounds["minimum"] - 1, bounds["maximum"] + 1):
                assert _refusals(key, outside) == [key]
        for word in described.get("enum", ()):
            assert _refusals(key, word) == []


def _refusals(key: str, value: object) -> list[str | None]:
    """Return the setting if this value of it is refused, whatever it contradicts."""
    problems = PoolConfig.examine("/dev/null", env={f"VOICEPOOL_{key.upper()}": str(value)}).problems
    return [problem.key for problem in problems if "set both" not in str(problem)]
