"""What a worker process finds on this machine: facts for ``voicepool doctor``, no judgement.

The client may not import this package, and what counts is what a worker sees anyway; so ``voicepool doctor``
starts ``python -m voicepool.workers --doctor``, which prints `report` as one JSON object. Its parts are
independent: where one cannot be looked at, it is ``{"error": sentence}`` and the others are still there.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import importlib.metadata
import os
import platform
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from voicepool.workers.clock import MonotonicClock, lift_thread, lower_thread_priority, sharpen_timers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voicepool.workers.hardening import Step

__all__ = ["report"]

_T = TypeVar("_T")

_WAITS: Final = 100
_WAIT_MS: Final = 2
_FRAME_BYTES: Final = 320
"""20 ms of Opus at 128 kbit/s."""
_BLOCK_BYTES: Final = 16_384
"""Long enough that the cipher outweighs the call."""
_HARDWARE_RATIO: Final = 1.2
"""AES-GCM over ChaCha20 in time for a block: about 0.4 with AES instructions, above 2 in software."""


def report(hardened: Sequence[Step] = ()) -> dict[str, object]:
    """Look at everything a worker depends on. Takes about a third of a second; needs no event loop.

    The libopus looked at is the one that ``VOICEPOOL_LIBOPUS`` names, else what a worker would find.

    Parameters
    ----------
    hardened
        What this process gave up at its start: it cannot be tried here and then taken back.
    """
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "libopus": _part(_libopus),
        "aes": _part(_aes),
        "davey": _part(_davey),
        "uvloop": _part(_uvloop),
        "scheduling": _part(_scheduling),
        "pinning": _part(_pinning),
        "timer": _part(_timer),
        "hardening": {"steps": [dataclasses.asdict(step) for step in hardened]},
    }


def _part(look: Callable[[], dict[str, object]]) -> dict[str, object]:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - whatever is broken is a finding, not the end of the report
        return {"error": str(error) or type(error).__name__}


def _libopus() -> dict[str, object]:
    from voicepool.workers.audio.libopus import libopus_info  # noqa: PLC0415 - may fail, and then is a finding

    info = libopus_info()
    return {"path": str(info.path), "origin": info.origin, "version": info.version}


def _aes() -> dict[str, object]:
    block, frame = bytes(_BLOCK_BYTES), bytes(_FRAME_BYTES)
    # Throw-away keys: the nonce may repeat, nothing of this is ever sent.
    nonce, key = bytes(12), secrets.token_bytes(32)
    gcm = AESGCM(key)
    ratio: float | None
    try:
        chacha = ChaCha20Poly1305(key)
        ratio = _cost_us(lambda: gcm.encrypt(nonce, block, None)) / _cost_us(
            lambda: chacha.encrypt(nonce, block, None)
        )
    except UnsupportedAlgorithm:  # an OpenSSL in FIPS mode has no ChaCha20
        ratio = None
    flag = _cpu_has_aes()
    measured = None if ratio is None else ratio < _HARDWARE_RATIO
    return {
        "hardware": measured if flag is None else flag,
        "evidence": "measured" if flag is None else "cpu flags",
        "ratio_to_chacha20": None if ratio is None else round(ratio, 2),
        "seal_us_per_frame": round(_cost_us(lambda: gcm.encrypt(nonce, frame, None)), 2),
    }


def _cpu_has_aes(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in {"flags", "Features"}:  # x86, arm64
            return "aes" in flags.split()
    return None


def _cost_us(work: Callable[[], object], rounds: int = 5, calls: int = 50) -> float:
    """Measure a call in microseconds; the best round is the one that nothing else disturbed."""
    best_ns = min(_elapsed_ns(work, calls) for _ in range(rounds))
    return best_ns / calls / 1_000


def _elapsed_ns(work: Callable[[], object], calls: int) -> int:
    start_ns = time.perf_counter_ns()
    for _ in range(calls):
        work()
    return time.perf_counter_ns() - start_ns


def _davey() -> dict[str, object]:
    davey = importlib.import_module("davey")
    return {"version": importlib.metadata.version("davey"), "protocol_version": davey.DAVE_PROTOCOL_VERSION}


def _uvloop() -> dict[str, object]:
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return {"active": False, "version": None}
    loop = uvloop.new_event_loop()
    loop.close()
    return {"active": True, "version": importlib.metadata.version("uvloop")}


def _scheduling() -> dict[str, object]:
    """Try each class on a thread that is thrown away, since a thread may not get out of it again."""
    return {
        "encoder": _on_scratch_thread(lower_thread_priority),
        "lift": _on_scratch_thread(_try_lift),
        "fifo": hasattr(os, "SCHED_FIFO") and _on_scratch_thread(_try_fifo),
    }


def _try_lift() -> bool:
    return lower_thread_priority() == "idle" and lift_thread(threading.get_native_id())


def _try_fifo() -> bool:
    # Pid 0 is the calling thread.
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
    except OSError:
        return False
    return True


def _pinning() -> dict[str, object]:
    if not hasattr(os, "sched_setaffinity"):
        return {"possible": False, "cores": []}
    cores = sorted(os.sched_getaffinity(0))
    return {"possible": _on_scratch_thread(lambda: _may_pin(cores[0])), "cores": cores}


def _may_pin(core: int) -> bool:
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return False
    return os.sched_getaffinity(0) == {core}


def _timer() -> dict[str, object]:
    """Wait as the pacing thread waits: with its clock, and its timer slack where that can be set."""
    sharpened, lateness_ms = _on_scratch_thread(_measure_waits)
    lateness_ms.sort()
    return {
        "waits": _WAITS,
        "wait_ms": _WAIT_MS,
        "late_p50_ms": round(lateness_ms[_WAITS // 2], 3),
        "late_p99_ms": round(lateness_ms[_WAITS * 99 // 100 - 1], 3),
        "late_max_ms": round(lateness_ms[-1], 3),
        "sharpened": sharpened,
        "default_slack_us": _timer_slack_us(),
    }


def _measure_waits() -> tuple[bool, list[float]]:
    sharpened = sharpen_timers()
    clock = MonotonicClock()
    lateness_ms = []
    for _ in range(_WAITS):
        due_ns = clock.now_ns() + _WAIT_MS * 1_000_000
        clock.sleep_until(due_ns)
        lateness_ms.append((clock.now_ns() - due_ns) / 1e6)
    return sharpened, lateness_ms


def _timer_slack_us(path: Path = Path("/proc/self/timerslack_ns")) -> float | None:
    try:
        return int(path.read_text(encoding="ascii")) / 1_000
    except (OSError, ValueError):
        return None


def _on_scratch_thread(work: Callable[[], _T]) -> _T:
    with concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="voicepool-doctor") as pool:
        return pool.submit(work).result()
