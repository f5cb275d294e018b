from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import libopus
from voicepool.workers.errors import WorkerSideError


def in_fresh_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pyav_copy() -> str:
    return str(next(libopus._in_pyav()))


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no libopus had been loaded; what the session uses is put back afterwards."""
    libopus.load_libopus()
    monkeypatch.setattr(libopus, "_loaded", None)
    monkeypatch.delenv(libopus.ENVIRONMENT_VARIABLE, raising=False)
    for name in [name for name in sys.modules if name.startswith("opuslib")]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])


def test_says_what_it_loaded() -> None:
    info = libopus.libopus_info()
    assert info.version.startswith("libopus ")
    assert info.origin in {"system", "pyav", "configured"}
    assert info.path


def test_importing_loads_nothing_and_needs_no_opuslib() -> None:
    code = (
        "import sys, voicepool.workers.audio.opus_encoder; "
        "print([m for m in sys.modules if m.startswith(('opuslib', 'av.'))])"
    )
    assert in_fresh_process(code) == "[]"


def test_works_in_a_fresh_process_where_warnings_are_errors() -> None:
    code = "from voicepool.workers.audio.libopus import libopus_info; print(libopus_info().version)"
    assert in_fresh_process(code, PYTHONDONTWRITEBYTECODE="1").startswith("libopus ")


def test_pyav_brings_one() -> None:
    assert "opus" in Path(pyav_copy()).name


@pytest.mark.usefixtures("unloaded")
def test_configured_path_wins() -> None:
    info = libopus.libopus_info(pyav_copy())
    assert (info.origin, info.path) == ("configured", pyav_copy())


@pytest.mark.usefixtures("unloaded")
def test_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(libopus.ENVIRONMENT_VARIABLE, pyav_copy())
    assert libopus.libopus_info().origin == "configured"


@pytest.mark.usefixtures("unloaded")
def test_system_comes_before_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyAV's copy plays the system's, found by an absolute name.
    monkeypatch.setattr(libopus, "_SYSTEM_NAMES", {sys.platform: ("libopus-nowhere.so.0", pyav_copy())})
    assert libopus.libopus_info().origin == "system"


@pytest.mark.usefixtures("unloaded")
def test_without_a_system_library_pyavs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libopus, "_SYSTEM_NAMES", {sys.platform: ()})
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    assert libopus.libopus_info().origin == "pyav"


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("what", ["missing", "text", "other library"])
def test_unusable_configured_path_is_one_clear_error(what: str, tmp_path: Path) -> None:
    path = tmp_path / "libopus.so"
    if what == "text":
        path.write_text("no library")
    elif what == "other library":
        path = next(file for file in Path(pyav_copy()).parent.glob("lib*") if "opus" not in file.name)
    with pytest.raises(WorkerSideError, match="setting libopus") as caught:
        libopus.load_libopus(str(path))
    assert caught.value.code is ErrorCode.LIBOPUS_MISSING
    assert str(path) in caught.value.text


@pytest.mark.usefixtures("unloaded")
def test_none_anywhere_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libopus, "_SYSTEM_NAMES", {sys.platform: ()})
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    monkeypatch.setattr(libopus, "_in_pyav", lambda: iter(()))
    with pytest.raises(WorkerSideError, match="neither on the system nor inside PyAV's wheel") as caught:
        libopus.load_libopus()
    assert caught.value.code is ErrorCode.LIBOPUS_MISSING


@pytest.mark.usefixtures("unloaded")
def test_find_library_is_its_own_again_afterwards() -> None:
    before = ctypes.util.find_library
    libopus.load_libopus()
    assert ctypes.util.find_library is before
    with pytest.raises(OSError, match="nowhere"):
        libopus._import_opuslib("/nowhere/libopus.so.0")
    assert ctypes.util.find_library is before


@pytest.mark.usefixtures("unloaded")
def test_threads_that_race_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str | None] = []
    real = libopus._load

    def counting(configured: str | None) -> libopus.OpusFunctions:
        calls.append(configured)
        return real(configured)

    monkeypatch.setattr(libopus, "_load", counting)
    barrier = threading.Barrier(4)
    got: list[libopus.OpusFunctions] = []

    def load() -> None:
        barrier.wait()
        got.append(libopus.load_libopus())

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({id(functions) for functions in got}) == 1
