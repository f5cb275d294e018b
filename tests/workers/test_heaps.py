"""The heaps of a worker: counted in real processes, by the C library itself."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from tests.fakes.running import SAFETY_S
from voicepool.workers import heaps
from voicepool.workers.heaps import HEAPS, give_back, share_heaps

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such heaps")

_THREADS = 3 * HEAPS
_PROGRAM = f"""
import ctypes, sys, threading

sys.path[:] = {sys.path!r}
from voicepool.workers.heaps import share_heaps

share_heaps()
c = ctypes.CDLL(None)
c.malloc.restype = c.fopen.restype = ctypes.c_void_p
c.malloc.argtypes = (ctypes.c_size_t,)
c.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
c.fclose.argtypes = (ctypes.c_void_p,)
all_have_some = threading.Barrier({_THREADS} + 1)
may_end = threading.Event()

def take():
    c.malloc(100_000)
    all_have_some.wait()
    may_end.wait()

threads = [threading.Thread(target=take) for _ in range({_THREADS})]
for thread in threads:
    thread.start()
all_have_some.wait()
out = c.fopen(b"/dev/stdout", b"w")
c.malloc_info(0, out)
c.fclose(out)
may_end.set()
"""


def heaps_of_a_process(**environment: str) -> int:
    """Return how many heaps some threads come to that all hold memory at once."""
    without = {name: value for name, value in os.environ.items() if name not in heaps._OWN_WISHES}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        timeout=SAFETY_S,
        check=True,
        env=without | environment,
    )
    return done.stdout.count(b"<heap nr=")


@glibc_only
def test_all_threads_share_two_heaps() -> None:
    assert heaps_of_a_process() == HEAPS


@glibc_only
@pytest.mark.parametrize("wish", [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4")])
def test_who_runs_the_bot_may_want_more(wish: tuple[str, str]) -> None:
    assert heaps_of_a_process(**dict([wish])) == 4


@glibc_only
def test_what_is_free_in_the_midst_of_a_heap_is_given_back() -> None:
    program = f"""
import ctypes, sys

sys.path[:] = {sys.path!r}
from voicepool.workers.heaps import give_back

def held():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])

c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.malloc.argtypes = c.free.argtypes = (ctypes.c_size_t,)
# Less than is mapped by itself (M_MMAP_THRESHOLD), and one in front of each that stays.
pieces = [c.malloc(size) for _ in range(1000) for size in (100, 100_000)]
for piece in pieces[1::2]:
    ctypes.memset(piece, 1, 100_000)
    c.free(piece)
before = held()
given = give_back()
print(given, before - held())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=SAFETY_S, check=True, text=True
    )
    given, pages = done.stdout.split()
    assert given == "True"
    assert int(pages) > 0


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_there_is_nothing_to_bound(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert (share_heaps(), give_back()) == (False, False)


class _OtherLibrary:
    """A C library without `mallopt` and `malloc_trim`, as musl is."""


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in heaps._OWN_WISHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: _OtherLibrary())
    assert (share_heaps(), give_back()) == (False, False)
