"""The lists in ``pyproject.toml`` equal what is on disk."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS: dict[str, Any] = PYPROJECT["tool"]["setuptools"]


def packages_on_disk() -> set[str]:
    found = set()
    for package, folder in SETUPTOOLS["package-dir"].items():
        home = ROOT / folder
        for path in home.rglob("__init__.py"):
            inside = path.parent.relative_to(home)
            if package == "voicepool" and inside.parts[:1] in {("ipc",), ("workers",)}:
                # The links, where rglob follows them.
                continue
            found.add(".".join((package, *inside.parts)))
    return found


def test_every_folder_is_a_package_and_every_package_a_folder() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_on_disk()
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])


def test_every_folder_with_code_is_a_package() -> None:
    for folder in SETUPTOOLS["package-dir"].values():
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} is left out of the wheel"


@pytest.mark.parametrize("link", ["ipc", "workers"])
def test_the_links_of_the_checkout_point_to_the_real_folders(link: str) -> None:
    path = ROOT / "voicepool" / link
    if not path.is_symlink():
        # A checkout on a system without links: everything but type checks works.
        assert path.read_text(encoding="utf-8").strip() == f"../{link}"
        return
    assert path.readlink() == Path(f"../{link}"), "an absolute link is broken in every other checkout"


def test_files_that_are_no_code_are_shipped() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        base = next(
            (ROOT / folder / package.removeprefix(name).replace(".", "/").lstrip("/"))
            for name, folder in sorted(SETUPTOOLS["package-dir"].items(), reverse=True)
            if package == name or package.startswith(f"{name}.")
        )
        for pattern in patterns:
            if pattern == "py.typed":
                assert (base / pattern).exists()
        shipped = {path for pattern in patterns for path in base.glob(pattern)}
        other = {path for path in base.iterdir() if path.is_file() and path.suffix not in {".py", ".pyc"}}
        # On a system without links they are files.
        assert other - shipped - {base / "ipc", base / "workers"} == set()


def test_every_folder_of_tests_is_a_package() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert (path.parent / "__init__.py").exists(), "two test files may only then share a name"


def test_the_interpreters_it_claims_are_those_it_needs() -> None:
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"


def test_nothing_of_ours_shadows_a_top_level_name_when_installed() -> None:
    tops = {package.partition(".")[0] for package in SETUPTOOLS["packages"]}
    assert tops == {"voicepool"}
    assert SETUPTOOLS["package-dir"]["voicepool"] == "voicepool"
