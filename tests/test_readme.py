"""README promises nothing that is not so. ``python -m tests.test_readme`` rewrites its generated part."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import voicepool

README = Path(__file__).parent.parent / "README.md"
MARKERS = ("<!-- knobs -->", "<!-- /knobs -->")


def knob_table() -> str:
    """Return the table of all settings, made from what `PoolConfig` says of itself."""
    lines = ["| key | default | allowed | unit | effect |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{knob.key}` | `{_toml(knob.default)}` | {knob.allowed} | {knob.unit or ''} | {knob.effect} |"
        for knob in voicepool.PoolConfig.explain()
    ]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def generated() -> str:
    """Return README as it should be."""
    before, _, rest = README.read_text().partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{knob_table()}\n{MARKERS[1]}{after}"


def test_the_table_of_settings_is_complete_and_true() -> None:
    assert README.read_text() == generated(), "run: python -m tests.test_readme"


def test_every_name_in_the_examples_exists() -> None:
    text = README.read_text()
    names = set(re.findall(r"\bvoicepool\.([A-Z]\w+)", text))
    assert {"VoicePool", "PoolConfig", "VoiceConnection", "VoiceCredentials", "AudioFile"} <= names
    assert names <= set(voicepool.__all__)
    for name in re.findall(r"`(\w+Error)`", text):
        assert hasattr(voicepool, name), name


def test_python_examples_parse() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        compile(block, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


def test_linked_files_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link


if __name__ == "__main__":
    README.write_text(generated())
