"""Who may import whom, by reading the imports of every file; and what a fresh process really loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"voicepool": "voicepool", "ipc": "voicepool.ipc", "workers": "voicepool.workers"}
"""Folders at the top of the checkout, and the names they are imported by."""

FOLDERS_OF_WORKERS: dict[str, set[str]] = {
    "audio": set(),
    "dave": {"audio", "gateway"},
    "gateway": set(),
    "pacing": {"audio"},
    "transport": set(),
}
"""Which other folder of ``workers`` each may import; the files at its top join them all."""

FOLDERS_OF_THE_CLIENT: dict[str, set[str]] = {
    "_machine": set(),
    "_settings": {"_machine"},
    "_process": {"_machine"},
    "_playing": {"_process"},
    "_fleet": {"_machine", "_process", "_settings"},
    "_calls": {"_fleet", "_playing", "_process"},
    "_watching": {"_calls", "_process"},
}
"""Likewise for the private folders of ``voicepool``, from the bottom up."""

IMPURE = {"asyncio", "socket", "threading", "time", "zmq", "selectors", "subprocess", "signal"}

AT_HOME = {
    "davey": {"voicepool.workers.dave.group", "voicepool.testing.dave_members"},
    "hikari": {"voicepool.hikari", "voicepool.cli._demo_bot"},
    "opuslib": {"voicepool.workers.audio.libopus"},
}
"""Libraries, and the modules or folders that alone may know them."""


class Module(NamedTuple):
    """A file, its imported name, and what it imports: dotted names, as written."""

    path: Path
    name: str
    imports: tuple[str, ...]
    relative: bool
    docstring: str

    def __str__(self) -> str:
        return self.name

    def reaches(self, package: str) -> list[str]:
        return [name for name in self.imports if name == package or name.startswith(f"{package}.")]


def read(path: Path, name: str) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: list[str] = []
    relative = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative |= node.level > 0
            # `from voicepool import ipc` names a module, `from x import Class` does not: both forms count.
            imports += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return Module(path, name, tuple(imports), relative, ast.get_docstring(tree) or "")


def modules() -> Iterator[Module]:
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if folder == "voicepool" and inside.parts[0] in {"ipc", "workers"}:
                # The links, where rglob follows them.
                continue
            parts = inside.with_suffix("").parts
            yield read(path, ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts))))


ALL = list(modules())


def of(package: str) -> list[Module]:
    return [module for module in ALL if module.name == package or module.name.startswith(f"{package}.")]


def client() -> list[Module]:
    return [module for module in ALL if module not in of("voicepool.ipc") + of("voicepool.workers")]


def core() -> list[Module]:
    return [module for module in client() if not {"testing", "cli"} & set(module.name.split("."))]


def test_the_files_are_found() -> None:
    assert {"voicepool", "voicepool.ipc", "voicepool.ipc.codec", "voicepool.workers", "voicepool.pool"} <= {
        module.name for module in ALL
    }


def assert_absolute(module: Module) -> None:
    assert not module.relative, f"{module}: relative imports read differently in the checkout and installed"
    for bare in ("ipc", "workers"):
        assert not module.reaches(bare), f"{module}: `{bare}` works in the checkout only, as a second copy"


@pytest.mark.parametrize("module", ALL, ids=str)
def test_imports_are_absolute_and_by_the_installed_names(module: Module) -> None:
    assert_absolute(module)


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_so_are_those_of_what_is_not_installed(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        assert_absolute(read(path, ".".join(path.relative_to(ROOT).with_suffix("").parts)))


@pytest.mark.parametrize("module", of("voicepool.ipc"), ids=str)
def test_ipc_imports_nothing_of_ours(module: Module) -> None:
    assert set(module.reaches("voicepool")) <= {"voicepool", *module.reaches("voicepool.ipc")}


@pytest.mark.parametrize("module", of("voicepool.workers"), ids=str)
def test_workers_import_themselves_and_ipc(module: Module) -> None:
    allowed = module.reaches("voicepool.ipc") + module.reaches("voicepool.workers")
    assert set(module.reaches("voicepool")) <= {"voicepool", *allowed}


@pytest.mark.parametrize("module", client(), ids=str)
def test_the_client_never_imports_workers(module: Module) -> None:
    assert not module.reaches("voicepool.workers")


@pytest.mark.parametrize("module", of("voicepool.testing"), ids=str)
def test_the_stand_ins_share_no_code_with_what_they_test(module: Module) -> None:
    assert set(module.reaches("voicepool")) <= {"voicepool", *module.reaches("voicepool.testing")}


@pytest.mark.parametrize(
    "module",
    [module for module in client() if ".testing" not in module.name and ".cli" not in module.name],
    ids=str,
)
def test_the_client_needs_neither_stand_ins_nor_commands(module: Module) -> None:
    reached = module.reaches("voicepool.testing") + module.reaches("voicepool.cli")
    assert not reached or module.name == "voicepool.__main__"


@pytest.mark.parametrize("module", ALL, ids=str)
def test_libraries_stay_at_home(module: Module) -> None:
    for library, homes in AT_HOME.items():
        at_home = any(module.name == home or module.name.startswith(f"{home}.") for home in homes)
        assert at_home or not module.reaches(library)


@pytest.mark.parametrize("module", of("voicepool.workers"), ids=str)
def test_folders_of_workers_keep_apart(module: Module) -> None:
    parts = module.name.split(".")
    folder = parts[2] if len(parts) > 3 or (module.path.name == "__init__.py" and len(parts) > 2) else None
    if folder is None:
        return
    assert folder in FOLDERS_OF_WORKERS, f"say in this file what workers/{folder} may import"
    for other in FOLDERS_OF_WORKERS.keys() - {folder} - FOLDERS_OF_WORKERS[folder]:
        assert not module.reaches(f"voicepool.workers.{other}")


@pytest.mark.parametrize("folder", FOLDERS_OF_THE_CLIENT)
def test_folders_of_the_client_build_on_those_below(folder: str) -> None:
    inside = of(f"voicepool.{folder}")
    assert len(inside) > 1
    for module in inside:
        for other in FOLDERS_OF_THE_CLIENT.keys() - {folder} - FOLDERS_OF_THE_CLIENT[folder]:
            assert not module.reaches(f"voicepool.{other}"), f"{module} looks up, or aside, at {other}"


def test_each_private_folder_of_the_client_has_its_place() -> None:
    folders = {path.parent.name for path in (ROOT / "voicepool").glob("_*/__init__.py")}
    assert folders == set(FOLDERS_OF_THE_CLIENT)


def is_pure(module: Module) -> bool:
    first = module.docstring.partition("\n")[0]
    marked = "[pure]" in first or "[no I/O]" in first
    return marked or any(line.startswith("Pure.") for line in module.docstring.splitlines())


@pytest.mark.parametrize("module", [module for module in ALL if is_pure(module)], ids=str)
def test_pure_files_do_no_io_and_know_no_clock(module: Module) -> None:
    assert not {name.partition(".")[0] for name in module.imports} & IMPURE


def test_what_must_be_pure_says_so() -> None:
    pure = {module.name for module in ALL if is_pure(module)}
    assert pure >= {
        "voicepool._process.health",
        "voicepool._fleet.placement",
        "voicepool.ipc.codec",
        "voicepool.ipc.histogram",
        "voicepool.workers.transport.aead",
        "voicepool.workers.transport.rtp",
    }


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_else() -> None:
    ours = {name for name in loaded_by("import voicepool") if name.partition(".")[0] == "voicepool"}
    assert ours == {"voicepool"}


def test_a_worker_loads_nothing_of_the_client() -> None:
    loaded = loaded_by("import voicepool.workers.process")
    ours = {name for name in loaded if name.partition(".")[0] == "voicepool"} - {"voicepool"}
    assert {".".join(name.split(".")[:2]) for name in ours} == {"voicepool.ipc", "voicepool.workers"}
    assert not loaded & {"hikari", "aiohttp", "discord"}


def test_the_client_loads_nothing_of_the_workers() -> None:
    loaded = loaded_by("import voicepool\nvoicepool.VoicePool, voicepool.PoolConfig, voicepool.AudioFile")
    assert not {name for name in loaded if name.startswith("voicepool.workers")}
    assert not loaded & {"hikari", "aiohttp", "av", "opuslib", "numpy", "nacl", "websockets", "davey"}
