"""README promises nothing that is not so. ``python -m tests.test_readme`` rewrites its generated part."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import voicepool
import voicepool.events
import voicepool.filters
import voicepool.pool_events
from tests.examples.icecast import on_the_air
from tests.fakes.running import asyncio_test
from tests.integration.calls import world
from tests.workers.audio.media_files import encode, opus

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


def test_linked_sections_exist() -> None:
    headings = re.findall(r"^#+ (.*)$", README.read_text(), re.MULTILINE)
    places = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(#([^)]+)\)", README.read_text()):
        assert link in places, link


def test_the_table_of_options_is_complete() -> None:
    table = _section("Tracks").rpartition("| --- |")[2]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
    assert sorted(named) == sorted(voicepool.PlayOptions.__annotations__)


def test_all_filters_are_named() -> None:
    classes = {name for name, found in vars(voicepool.filters).items() if isinstance(found, type)}
    wanted = {name for name in classes if name in voicepool.filters.__all__} - {"Filter"}
    assert wanted <= set(re.findall(r"`(\w+)`", _section("Filters and speed")))


def test_the_tables_of_events_are_complete_and_true() -> None:
    rows = re.findall(r"^\|(.*?)\|", _section("What happens") + _section("Staying in the call"), re.MULTILINE)
    told = dict(re.findall(r"`(\w+)\(([^)`]*)\)`", "".join(rows)))
    classes = {name: getattr(voicepool, name) for name in told}
    assert set(classes.values()) == set(voicepool.events.ConnectionEvent.__args__)
    for name, fields in told.items():
        if fields != "…":
            assert [*filter(None, fields.split(", "))] == [*classes[name].__dataclass_fields__], name


def test_the_table_of_pool_events_is_complete_and_true() -> None:
    told = dict(re.findall(r"^\| `(\w+)\(([^)`]*)\)`", _section("When something dies"), re.MULTILINE))
    assert {getattr(voicepool, name) for name in told} == set(voicepool.pool_events.PoolEvent.__args__)
    for name, fields in told.items():
        assert fields.split(", ") == [*getattr(voicepool, name).__dataclass_fields__], name


def test_the_table_of_stutters_is_complete() -> None:
    causes = re.findall(r"^\|[^|]*\| ([^|]+) \|", _section("Is it well?"), re.MULTILINE)
    assert sorted(causes[1:]) == ["---", *sorted(voicepool.StutterCause)]


@asyncio_test
async def test_what_it_says_of_more_and_fewer_workers_is_so(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    file.write_text("workers = 1\nconfig_check_s = 0\n")
    blocks = re.findall(r"```python\n(.*?)```", _chapter("Operations"), re.DOTALL)
    assert len(blocks) == 2
    async with voicepool.VoicePool(voicepool.PoolConfig.load(file, env={})) as pool:
        names: dict[str, Any] = {"voicepool": voicepool, "pool": pool}
        for block in blocks:
            source = block.replace("scale(4)", "scale(2)")
            code = compile(source, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            running = eval(code, names)
            if inspect.iscoroutine(running):
                await running
        # Drained, and replaced once more with all others.
        assert sorted(worker.name for worker in pool.workers) == ["w0.3", "w1.2"]
        # It was scaled by hand, and the file says otherwise.
        assert names["changed"] == frozenset()


@asyncio_test
async def test_what_it_says_of_playing_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of the chapter runs, as it stands, and is heard."""
    for name, seconds in {"song": 1.5, "c": 1.0}.items():
        (tmp_path / f"{name}.flac").write_bytes(encode("flac", "flac", seconds=seconds))
    for name in ("a", "b", "horn", "bell"):
        (tmp_path / f"{name}.opus").write_bytes(opus(seconds=0.5))
    (tmp_path / "mybot").mkdir()
    (tmp_path / "mybot" / "library.py").write_text("def find(query):\n    return 'song.flac'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def synthesise(text: str) -> AsyncIterator[bytes]:
        for _ in text:
            yield bytes(range(256)) * 2

    blocks = re.findall(r"```python\n(.*?)```", _chapter("Playing"), re.DOTALL)
    assert len(blocks) >= 8
    with on_the_air(440.0, "On the air") as station:
        async with world() as here:
            voice = await here.join()
            session = here.session()
            names: dict[str, Any] = {
                "voicepool": voicepool,
                "asyncio": asyncio,
                "voice": voice,
                "synthesise": synthesise,
            }
            for block in blocks:
                before = session.packets
                source = block.replace("https://radio.example/live.mp3", station.url)
                code = compile(
                    source, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
                )
                running = eval(code, names)
                if inspect.iscoroutine(running):
                    await running
                await voice.stop()
                voice.queue.clear()
                voice.queue.loop = voicepool.Loop.OFF
                voice.volume = 1.0
                if re.search(r"(play|start|overlay|add)\(", block):
                    await session.wait_for_packets(before + 1)


def _chapter(title: str) -> str:
    return README.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _section(title: str) -> str:
    text = README.read_text()
    # A heading begins with a capital, which tells it from a comment in an example.
    return re.split(r"\n#+ (?=[A-Z])", re.split(rf"\n#+ {re.escape(title)}\n", text)[1])[0]


if __name__ == "__main__":
    README.write_text(generated())
