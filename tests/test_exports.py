"""The public names: what is listed is there, and what is there is listed."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import voicepool
import voicepool.errors
import voicepool.testing
from tests.test_layering import ALL, Module

LAZY = [voicepool, voicepool.testing]
DEFINITIONS = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_every_public_name_is_there(module: ModuleType) -> None:
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    assert module.__all__ == sorted(module.__all__, key=lambda name: (name.islower(), name))


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_list_table_and_type_checkers_agree(module: ModuleType) -> None:
    table = dict(module._HOME_OF)
    assert set(table) | {"__version__"} == set(module.__all__) | {"__version__"}
    assert typed_names(Path(str(module.__file__))) == table


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_a_name_is_public_where_it_lives(module: ModuleType) -> None:
    for name, home in module._HOME_OF.items():
        assert name in importlib.import_module(home).__all__


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_other_names_are_an_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nonsense'"):
        _ = module.nonsense


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(voicepool.errors).items()
        if isinstance(value, type) and issubclass(value, voicepool.VoicePoolError)
    }
    assert errors <= set(voicepool.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert voicepool.__version__ == importlib.metadata.version("voicepool")


@pytest.mark.parametrize("module", ALL, ids=str)
def test_every_module_lists_its_names_first(module: Module) -> None:
    tree = ast.parse(module.path.read_text(encoding="utf-8"))
    names = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    defines = any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body
    )
    if not names:
        assert not defines or module.path.name in {"__init__.py", "__main__.py"}
        return
    listed: list[str] = list(ast.literal_eval(names[0]))
    defined: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets: list[Any] = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    assert set(listed) <= defined | {"__version__"}
    assert len(set(listed)) == len(listed)


def test_without_hikari_the_rest_works_and_the_way_out_is_told() -> None:
    code = (
        "import sys\n"
        "sys.modules['hikari'] = None\n"
        "import voicepool\n"
        "voicepool.VoicePool\n"
        "try:\n"
        "    voicepool.VoiceConnection\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    assert b"install voicepool[hikari]" in done.stdout


def typed_names(path: Path) -> dict[str, str]:
    """What a type checker sees: name to module, from the TYPE_CHECKING block."""
    seen: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom):
                    for alias in statement.names:
                        assert alias.asname == alias.name, "without `as` a type checker takes it for private"
                        seen[alias.name] = str(statement.module)
    return seen
