"""[pure] What ``voicepool doctor`` thinks of what it found: facts in, one judged line a subject out.

Here are the libraries and what a worker reports; `voicepool.cli._diagnosis_machine` has the rest. The
worker's facts are what `voicepool.workers.doctor` prints; the classes below mirror its JSON, since the client
may not import it (a test holds the two together). A line fails only if no sound can be made.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final, Self

import msgspec

if TYPE_CHECKING:
    from voicepool.config import PoolConfig

__all__ = [
    "Check",
    "Requirement",
    "Verdict",
    "WorkerFacts",
    "judge_dependency",
    "judge_python",
    "judge_worker",
]

_OLDEST_PYTHON: Final = (3, 11)
_LATE_P99_MS: Final = 1.0
"""Lateness that a listener's jitter buffer does not notice, with room for what playing adds."""
_SLOW_SEAL_US: Final = 10.0
_ORIGINS: Final = {"system": "the system's", "pyav": "from PyAV's wheel", "configured": "named in the config"}


class Verdict(enum.StrEnum):
    """How a line of the report is meant."""

    OK = "ok"
    """As it should be."""
    WARN = "warn"
    """Sound can be made, at more cost or with less certainty."""
    FAIL = "fail"
    """No sound can be made."""


class Check(msgspec.Struct, frozen=True):
    """One line of the report.

    Attributes
    ----------
    name
        The subject, in one or two words.
    verdict
        What it means for sound.
    found
        What is there.
    fix
        What to do about it, as a sentence; empty for `Verdict.OK`.
    """

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


class Requirement(msgspec.Struct, frozen=True):
    """A library that voicepool's own metadata asks for.

    Attributes
    ----------
    name
        Of the distribution.
    oldest
        The oldest version that will do.
    extra
        The extra of voicepool that wants it; empty if voicepool itself does.
    marker
        The environment it is wanted in, as the metadata has it; empty for every one.
    """

    name: str
    oldest: str
    extra: str
    marker: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a requirement in our forms: ``av>=14.2``, ``yt-dlp[default]>=2025; extra == "ytdlp"``."""
        specifier, _, marker = line.partition(";")
        name, _, oldest = specifier.partition(">=")
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", marker)
        name, _, _ = name.partition("[")
        return cls(name.strip(), oldest.strip() or "0", extra[1] if extra else "", marker.strip())


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the worker's report; `error` is set when it could not be looked at."""

    error: str | None = None


class LibopusFacts(_Part, frozen=True, kw_only=True):
    """The libopus that a worker loads."""

    path: str = ""
    origin: str = ""
    version: str = ""


class AesFacts(_Part, frozen=True, kw_only=True):
    """How fast AES-GCM is; `hardware` is None where neither flags nor a comparison tell."""

    hardware: bool | None = None
    evidence: str = ""
    ratio_to_chacha20: float | None = None
    seal_us_per_frame: float = 0.0


class DaveyFacts(_Part, frozen=True, kw_only=True):
    """The library for end-to-end encryption."""

    version: str = ""
    protocol_version: int = 0


class UvloopFacts(_Part, frozen=True, kw_only=True):
    """The event loop of a worker's control thread."""

    active: bool = False
    version: str | None = None


class SchedulingFacts(_Part, frozen=True, kw_only=True):
    """What the kernel lets a thread be: the encoder's class, a way back from it, and real-time."""

    encoder: str = "normal"
    lift: bool = False
    fifo: bool = False


class PinningFacts(_Part, frozen=True, kw_only=True):
    """Whether a worker can be kept on one core, and which there are."""

    possible: bool = False
    cores: tuple[int, ...] = ()


class TimerFacts(_Part, frozen=True, kw_only=True):
    """How late waits end, the way the pacing thread waits; durations as their names say."""

    waits: int = 0
    wait_ms: float = 0.0
    late_p50_ms: float = 0.0
    late_p99_ms: float = 0.0
    late_max_ms: float = 0.0
    sharpened: bool = False
    default_slack_us: float | None = None


class StepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a worker gives up at its start; `detail` is the limit, or why there is none."""

    name: str
    applied: bool
    detail: str


class HardeningFacts(_Part, frozen=True, kw_only=True):
    """What a worker gives up before it reads anything from outside."""

    steps: tuple[StepFacts, ...] = ()


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker process reports about the machine."""

    python: str
    executable: str
    libopus: LibopusFacts
    aes: AesFacts
    davey: DaveyFacts
    uvloop: UvloopFacts
    scheduling: SchedulingFacts
    pinning: PinningFacts
    timer: TimerFacts
    hardening: HardeningFacts


def judge_python(version: tuple[int, ...], implementation: str) -> Check:
    """Judge the interpreter by its version, for example ``(3, 12, 1)``."""
    found = f"{'.'.join(map(str, version))} ({implementation})"
    if version[:2] < _OLDEST_PYTHON:
        return Check("python", Verdict.FAIL, found, "Run voicepool with Python 3.11 or newer.")
    return Check("python", Verdict.OK, found)


def judge_dependency(requirement: Requirement, version: str | None) -> Check:
    """Judge a library by its installed version, None where there is none."""
    name, oldest = requirement.name, requirement.oldest
    wanted = f"voicepool[{requirement.extra}]" if requirement.extra else f"{name}>={oldest}"
    install = f'Install it: pip install "{wanted}".'
    needed = not (requirement.extra or requirement.marker)
    if version is None:
        if needed:
            return Check(name, Verdict.FAIL, "not installed", install)
        where = f"by {wanted}" if requirement.extra else f"where {requirement.marker}"
        return Check(name, Verdict.OK, f"not installed; wanted {where}")
    if _release(version) < _release(oldest):
        verdict = Verdict.FAIL if needed else Verdict.WARN
        return Check(name, verdict, f"{version}, older than {oldest}", install)
    return Check(name, Verdict.OK, version)


def judge_worker(facts: WorkerFacts, config: PoolConfig, platform: str) -> list[Check]:
    """Judge what a worker process reported.

    Parameters
    ----------
    facts
        Its report.
    config
        The settings in force: what is switched off there is not missed.
    platform
        `sys.platform`.
    """
    return [
        Check("worker process", Verdict.OK, f"starts with Python {facts.python} ({facts.executable})"),
        _judge_libopus(facts.libopus),
        _judge_aes(facts.aes),
        _judge_davey(facts.davey),
        _judge_uvloop(facts.uvloop, platform),
        _judge_scheduling(facts.scheduling, config, platform),
        _judge_pinning(facts.pinning, config, platform),
        _judge_timer(facts.timer, platform),
        _judge_hardening(facts.hardening, platform),
    ]


def _judge_libopus(libopus: LibopusFacts) -> Check:
    if libopus.error is not None:
        return Check(
            "libopus",
            Verdict.FAIL,
            libopus.error,
            "Install the system's (Debian: apt install libopus0; macOS: brew install opus), or reinstall av "
            "from its wheel, which carries one, or name a file in the setting libopus (VOICEPOOL_LIBOPUS).",
        )
    origin = _ORIGINS.get(libopus.origin, libopus.origin)
    return Check("libopus", Verdict.OK, f"{libopus.version}, {origin} ({libopus.path})")


def _judge_aes(aes: AesFacts) -> Check:
    if aes.error is not None:
        return Check(
            "aes-gcm", Verdict.FAIL, aes.error, 'Reinstall it: pip install --force-reinstall "cryptography".'
        )
    found = f"{aes.seal_us_per_frame:g} µs a frame"
    if aes.hardware is None:
        return Check("aes-gcm", Verdict.OK, f"{found}; whether by hardware is not known")
    if not aes.hardware:
        return Check(
            "aes-gcm",
            Verdict.WARN,
            f"{found}, without AES instructions ({aes.evidence})",
            'Prefer the other cipher: set modes to "aead_xchacha20_poly1305_rtpsize" alone, or let the '
            "virtual machine see the host's CPU flags.",
        )
    if aes.seal_us_per_frame > _SLOW_SEAL_US:
        return Check(
            "aes-gcm",
            Verdict.WARN,
            f"{found}, though the CPU has AES instructions",
            "Look for an OPENSSL_ia32cap that masks them, or a machine that is overloaded right now.",
        )
    return Check("aes-gcm", Verdict.OK, f"in hardware ({aes.evidence}), {found}")


def _judge_davey(davey: DaveyFacts) -> Check:
    if davey.error is not None:
        return Check(
            "dave",
            Verdict.FAIL,
            davey.error,
            "Discord takes end-to-end encrypted calls only; install its library: pip install davey.",
        )
    return Check("dave", Verdict.OK, f"davey {davey.version}, protocol version {davey.protocol_version}")


def _judge_uvloop(uvloop: UvloopFacts, platform: str) -> Check:
    if uvloop.active and uvloop.error is None:
        return Check("event loop", Verdict.OK, f"uvloop {uvloop.version}")
    if platform == "win32":
        return Check("event loop", Verdict.OK, "asyncio's own; there is no uvloop for Windows")
    reason = uvloop.error or "uvloop is not installed"
    fix = "Install it for less CPU time in the control thread: pip install uvloop."
    return Check("event loop", Verdict.WARN, f"asyncio's own ({reason})", fix)


def _judge_scheduling(scheduling: SchedulingFacts, config: PoolConfig, platform: str) -> Check:
    name = "scheduling"
    if scheduling.error is not None:
        return Check(name, Verdict.WARN, scheduling.error, "Sound can be made; please report this text.")
    if config.pacing_class == "normal":
        pacing = "pacing thread normal, as the config says"
    elif scheduling.fifo:
        pacing = "pacing thread in SCHED_FIFO"
    else:
        pacing = "pacing thread normal (SCHED_FIFO wants CAP_SYS_NICE or RLIMIT_RTPRIO 1, and is not needed)"
    if config.encoder_class == "normal":
        return Check(name, Verdict.OK, f"encoder thread normal, as the config says; {pacing}")
    if scheduling.fifo and config.pacing_class == "auto":
        return Check(name, Verdict.OK, f"{pacing}; encoder thread normal, since that cannot keep it waiting")
    if scheduling.encoder == "idle":
        # Without it a thread that starves keeps the frame it has in hand until it gets the core.
        stays = "" if scheduling.lift else ", for good (the way back wants CAP_SYS_NICE or RLIMIT_NICE 20)"
        return Check(name, Verdict.OK, f"encoder thread in SCHED_IDLE{stays}; {pacing}")
    if platform == "linux":
        fix = "Permit sched_setscheduler to the process: a seccomp profile or sandbox refuses it."
    else:
        fix = "Only Linux has the class; leave some CPU time free, so that encoding does not delay sending."
    return Check(name, Verdict.WARN, f"encoder thread normal, SCHED_IDLE not to be had; {pacing}", fix)


def _judge_pinning(pinning: PinningFacts, config: PoolConfig, platform: str) -> Check:
    name = "pinning"
    if not config.pin_workers:
        return Check(name, Verdict.OK, "switched off in the config")
    if pinning.error is None and pinning.possible:
        return Check(name, Verdict.OK, f"possible, cores {', '.join(map(str, pinning.cores))}")
    if platform != "linux":
        return Check(name, Verdict.OK, "not offered by this platform; the scheduler places the workers")
    fix = "Permit sched_setaffinity to the process: a seccomp profile or sandbox refuses it."
    return Check(name, Verdict.WARN, pinning.error or "refused", fix)


def _judge_timer(timer: TimerFacts, platform: str) -> Check:
    name = "timer"
    if timer.error is not None:
        return Check(name, Verdict.WARN, timer.error, "Sound can be made; please report this text.")
    slack = "timer slack 1 ns" if timer.sharpened else "timer slack as it is"
    found = (
        f"late by {timer.late_p50_ms:g} ms (p50), {timer.late_p99_ms:g} ms (p99), "
        f"{timer.late_max_ms:g} ms (max) of {timer.waits} waits; {slack}"
    )
    if timer.late_p99_ms > _LATE_P99_MS:
        fix = "Packets leave that late: look for programs that use all cores, or a machine short of CPU time."
        return Check(name, Verdict.WARN, found, fix)
    if platform == "linux" and not timer.sharpened:
        return Check(
            name, Verdict.WARN, found, "Permit prctl(PR_SET_TIMERSLACK) to the process, for 50 µs less."
        )
    return Check(name, Verdict.OK, found)


def _judge_hardening(hardening: HardeningFacts, platform: str) -> Check:
    name = "hardening"
    if hardening.error is not None:
        return Check(name, Verdict.WARN, hardening.error, "Sound can be made; please report this text.")
    applied = ", ".join(step.name for step in hardening.steps if step.applied) or "none"
    missing = "; ".join(f"{step.name} ({step.detail})" for step in hardening.steps if not step.applied)
    if not missing:
        return Check(name, Verdict.OK, applied)
    found = f"{applied}; not {missing}"
    if platform != "linux":
        return Check(name, Verdict.OK, f"{found}: not offered by this platform")
    fix = "Permit prctl and setrlimit to the process: a seccomp profile or sandbox refuses them."
    return Check(name, Verdict.WARN, found, fix)


def _release(version: str) -> tuple[int, ...]:
    """Read the numbers at the start of a version: ``14.2.0rc1`` is (14, 2), the zero at the end dropped."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
