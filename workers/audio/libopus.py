"""Find libopus and load it, once a process, when the first codec is made.

`opuslib` asks `ctypes.util.find_library` for a system libopus while it is being imported, and fails without
one. So that installing voicepool is all a user has to do, three places are tried in this order:

1. the path that the config names (or the environment variable ``VOICEPOOL_LIBOPUS``); no fall-back from
   here, since a user who names a library wants that one;
2. the system's library, by the names its packages give it;
3. the copy inside PyAV's wheel, which all its wheels for Linux, macOS and Windows carry.

What is found is handed to `opuslib` by answering its question while the import lasts. Nothing is loaded
by importing this module: on Windows a loaded library cannot be replaced by an upgrade.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import WorkerSideError

__all__ = ["ENVIRONMENT_VARIABLE", "LibopusInfo", "OpusFunctions", "libopus_info", "load_libopus"]

ENVIRONMENT_VARIABLE: Final = "VOICEPOOL_LIBOPUS"

Origin: TypeAlias = Literal["system", "pyav", "configured"]

_SYSTEM_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "linux": ("libopus.so.0",),
    "darwin": (
        "libopus.0.dylib",
        "/opt/homebrew/lib/libopus.0.dylib",
        "/usr/local/lib/libopus.0.dylib",
    ),
    "win32": ("opus.dll", "libopus-0.dll", "libopus.dll"),
}
"""What the loader is asked for. On Linux this is all that `find_library` would find, without the compiler
and linker processes that it starts when there is no such library."""


@dataclass(frozen=True, slots=True)
class LibopusInfo:
    """Which libopus is in use.

    Attributes
    ----------
    path
        File, or the name under which the system's loader found it.
    origin
        ``"configured"``, ``"system"`` or ``"pyav"``.
    version
        In libopus' words, for example ``"libopus 1.5.2"``.
    """

    path: str
    origin: Origin
    version: str


@dataclass(frozen=True, slots=True)
class OpusFunctions:
    """The functions of libopus that voicepool calls, with their C signatures declared.

    States and buffers are addresses. The calls let other Python threads run. ``*_ctl`` are the variadic
    functions: their third argument must be a ctypes object (see `_functions`).
    """

    info: LibopusInfo
    strerror: Callable[[int], bytes]
    encoder_create: Callable[[int, int, int, object], int | None]
    encoder_destroy: Callable[[int], None]
    encoder_ctl: Callable[..., int]
    encode_float: Callable[[int, int, int, object, int], int]
    decoder_create: Callable[[int, int, object], int | None]
    decoder_destroy: Callable[[int], None]
    decoder_ctl: Callable[..., int]
    decode_float: Callable[[int, bytes | None, int, int, int, int], int]


_lock: Final = threading.Lock()
_loaded: OpusFunctions | None = None


def load_libopus(path: str | None = None) -> OpusFunctions:
    """Load libopus; later calls return what the first one loaded.

    Parameters
    ----------
    path
        The library to load. `None` looks at ``VOICEPOOL_LIBOPUS``, then searches. Ignored by every call
        after the first that succeeded, since a process holds one libopus.

    Raises
    ------
    WorkerSideError
        ``LIBOPUS_MISSING``, with where it was looked for.
    """
    global _loaded  # noqa: PLW0603 - the one libopus of the process
    if _loaded is not None:
        return _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load(path or os.environ.get(ENVIRONMENT_VARIABLE) or None)
        return _loaded


def libopus_info(path: str | None = None) -> LibopusInfo:
    """Return which libopus is in use, loading it if need be (`load_libopus`, same errors)."""
    return load_libopus(path).info


def _load(configured: str | None) -> OpusFunctions:
    for candidate, origin in _candidates(configured):
        try:
            handle = _import_opuslib(candidate)
            return _functions(handle, candidate, origin)
        except (OSError, AttributeError):
            # Not there, of another architecture, or not a libopus: the next place may do.
            continue
    if configured is not None:
        text = (
            f"libopus cannot be loaded from {configured}: no such file, or no libopus for this platform. "
            "Correct the setting libopus, or leave it out to use the one PyAV brings."
        )
    else:
        text = (
            "libopus was found neither on the system nor inside PyAV's wheel. Install it (Debian: libopus0, "
            "Homebrew: opus), install PyAV from its wheel, or name the file in the setting libopus."
        )
    raise WorkerSideError(ErrorCode.LIBOPUS_MISSING, text)


def _candidates(configured: str | None) -> Iterator[tuple[str, Origin]]:
    if configured is not None:
        yield configured, "configured"
        return
    for name in _SYSTEM_NAMES.get(sys.platform, ("libopus.so.0", "libopus.so")):
        yield name, "system"
    if sys.platform in {"win32", "darwin"}:
        found = ctypes.util.find_library("opus")
        if found is not None:
            yield found, "system"
    for file in _in_pyav():
        yield str(file), "pyav"


def _in_pyav() -> Iterator[Path]:
    """Yield what looks like libopus among the libraries that PyAV's wheel brings, without importing PyAV."""
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return
    package = Path(spec.origin).parent
    # Repair tools name the folder: auditwheel and delvewheel `av.libs` beside it, delocate `.dylibs` inside.
    for folder in (package.with_name(package.name + ".libs"), package / ".dylibs"):
        for pattern in ("libopus[-.]*", "opus[-.]*.dll"):
            yield from sorted(folder.glob(pattern))


def _import_opuslib(library: str) -> ctypes.CDLL:
    """Import `opuslib` so that it takes `library` for the system's, and return its handle.

    Raises
    ------
    OSError
        The library cannot be loaded.
    """
    # Tried apart from the import: a failed import would leave half of opuslib behind.
    ctypes.CDLL(library)
    for name in [name for name in sys.modules if name == "opuslib" or name.startswith("opuslib.")]:
        del sys.modules[name]
    original = ctypes.util.find_library

    def find_library(name: str) -> str | None:
        return library if name == "opus" else original(name)

    ctypes.util.find_library = find_library
    try:
        with warnings.catch_warnings():
            # opuslib compares ints by identity, about which the compiler warns at its first import.
            warnings.simplefilter("ignore", SyntaxWarning)
            api = importlib.import_module("opuslib.api")
    finally:
        ctypes.util.find_library = original
    return cast("ctypes.CDLL", api.libopus)


def _functions(handle: ctypes.CDLL, path: str, origin: Origin) -> OpusFunctions:
    """Declare the C signatures (opus.h).

    ``handle[name]`` makes function objects of our own, so that opuslib's keep what opuslib declared.

    For the variadic ``opus_*_ctl`` only the fixed arguments are declared. ctypes then makes a variadic call
    when there is one more, which matters where variadic arguments are passed in another place than fixed
    ones (arm64 macOS: on the stack, not in registers). Such an argument has no declared type, so callers
    must hand over a ctypes object of the right one.

    Raises
    ------
    AttributeError
        The library is no libopus.
    """
    pointer, c_int, c_int32 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int32
    error = ctypes.POINTER(ctypes.c_int)

    def function(name: str, result: type | None, *arguments: type) -> Callable[..., object]:
        found = handle[name]
        found.restype = result
        found.argtypes = arguments
        return cast("Callable[..., object]", found)

    version = cast("Callable[[], bytes]", function("opus_get_version_string", ctypes.c_char_p))
    return OpusFunctions(
        info=LibopusInfo(path, origin, version().decode("ascii", "replace")),
        strerror=cast("Callable[[int], bytes]", function("opus_strerror", ctypes.c_char_p, c_int)),
        encoder_create=cast(
            "Callable[[int, int, int, object], int | None]",
            function("opus_encoder_create", pointer, c_int32, c_int, c_int, error),
        ),
        encoder_destroy=cast("Callable[[int], None]", function("opus_encoder_destroy", None, pointer)),
        encoder_ctl=cast("Callable[..., int]", function("opus_encoder_ctl", c_int, pointer, c_int)),
        encode_float=cast(
            "Callable[[int, int, int, object, int], int]",
            function("opus_encode_float", c_int32, pointer, pointer, c_int, pointer, c_int32),
        ),
        decoder_create=cast(
            "Callable[[int, int, object], int | None]",
            function("opus_decoder_create", pointer, c_int32, c_int, error),
        ),
        decoder_destroy=cast("Callable[[int], None]", function("opus_decoder_destroy", None, pointer)),
        decoder_ctl=cast("Callable[..., int]", function("opus_decoder_ctl", c_int, pointer, c_int)),
        decode_float=cast(
            "Callable[[int, bytes | None, int, int, int, int], int]",
            function("opus_decode_float", c_int, pointer, ctypes.c_char_p, c_int32, pointer, c_int, c_int),
        ),
    )
