"""What a worker gives up before it reads anything from outside, so that a defect in a decoder stays its own.

A worker opens files and URLs that strangers chose, with parsers written in C. What such a file may reach, at
worst, is this one process. These steps bound what can be done from within it, and what others can see of it:

* *No new privileges*: nothing that it starts gains rights by a set-user-id bit (prctl(2)).
* *Not dumpable*: keys and tokens are in no core dump, and no other process of the same user may attach to it
  or read its memory. Its files in ``/proc`` belong to root then; its own it still reads itself, and root may
  look as ever (``sudo py-spy dump``). Where it hangs tells SIGUSR1 (`stackdump`), without any such right.
* *No core dumps*, of what it starts neither.
* *Bounded files*: nothing it writes grows beyond `LARGEST_FILE_BYTES`.
* *Open files*: as many as it is allowed to have, two a call and some for sources, since many systems begin
  with 1,024.
* *Bounded memory* (`limit_memory`): beyond it the kernel refuses more. The pool watches memory and replaces a
  worker that grows long before; this is for the one that grows too fast to be watched.
* *Bounded pieces* (`limit_pieces`): FFmpeg gets no large memory in one piece, whatever a file claims.

All of it is inherited by what a resolver starts. Where a platform has none of a step, the step says so.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["LARGEST_FILE_BYTES", "Step", "harden", "limit_memory", "limit_pieces", "log_steps"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

LARGEST_FILE_BYTES: Final = 4 * 1024**3
"""The longest WAV file there can be, for its header counts in 32 bits: six hours of 48 kHz stereo. A worker
itself writes nothing; resolvers may, and recordings are no longer than that."""
_MOST_FILES: Final = 1 << 20
"""Some containers allow a thousand times as many, and programs that close all they might have open, as some
that a resolver starts do, then take minutes."""
_RESERVED_BYTES: Final = 640 * 1024**2
"""Address space that counts as data though nobody touches it: stacks of 8 MiB for some 80 threads."""
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was to be given up.

    Attributes
    ----------
    name
        What it is: ``"no new privileges"``.
    applied
        Whether it is in force.
    detail
        The limit that holds, or why there is none.
    """

    name: str
    applied: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.applied else f"{self.name}: not applied, {self.detail}"


def harden() -> list[Step]:
    """Take all steps that need no settings, as far as the platform has them."""
    return [
        _step("no new privileges", _no_new_privileges),
        _step("not dumpable", _not_dumpable),
        _step("no core dumps", lambda: _limit("RLIMIT_CORE", 0)),
        _step("bounded files", lambda: _limit("RLIMIT_FSIZE", LARGEST_FILE_BYTES)),
        _step("open files", _raise_open_files),
    ]


def limit_memory(limit_bytes: int) -> Step:
    """Have the kernel refuse memory beyond a limit: private and writable, whether touched or not.

    Parameters
    ----------
    limit_bytes
        For what is touched. What threads reserve for their stacks is granted on top of it.
    """
    return _step("bounded memory", lambda: _limit("RLIMIT_DATA", limit_bytes + _RESERVED_BYTES))


def limit_pieces() -> Step:
    """Have FFmpeg refuse to take much memory at once, as some broken files make it do."""

    def limit() -> str:
        from voicepool.workers.audio.allocation import limit_allocations  # noqa: PLC0415  # loads FFmpeg

        return limit_allocations()

    return _step("bounded pieces", limit)


def log_steps(steps: list[Step]) -> None:
    """Write down what was applied."""
    for step in steps:
        _LOGGER.debug("%s", step)


def _step(name: str, take: Callable[[], str]) -> Step:
    try:
        return Step(name, applied=True, detail=take())
    except (OSError, ValueError, AttributeError, ImportError) as error:
        # None of it is needed to play music.
        return Step(name, applied=False, detail=str(error) or type(error).__name__)


def _no_new_privileges() -> str:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return "set-user-id bits have no effect"


def _not_dumpable() -> str:
    _prctl(_PR_SET_DUMPABLE, 0)
    return "only root may look inside"


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(f"{sys.platform} has no prctl")
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    prctl.restype = ctypes.c_int
    if prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "refused by the kernel")


def _limit(name: str, wanted: int) -> str:
    """Lower a limit for good; one that is lower already stays."""
    import resource  # noqa: PLC0415  # not on every platform

    which = getattr(resource, name)
    _, hard = resource.getrlimit(which)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(which, (limit, limit))
    return f"{name} {limit:,}"


def _raise_open_files() -> str:
    import resource  # noqa: PLC0415  # not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return f"RLIMIT_NOFILE {soft:,}"
