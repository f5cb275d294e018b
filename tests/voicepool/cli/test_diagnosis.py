"""Verdicts: each finding gets the right one, and whatever is not well comes with a way out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from voicepool.cli._diagnosis import (
    Check,
    Requirement,
    Verdict,
    WorkerFacts,
    judge_dependency,
    judge_python,
    judge_worker,
)
from voicepool.config import PoolConfig

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

WELL: dict[str, Any] = {
    "python": "3.12.1",
    "executable": "/usr/bin/python3",
    "libopus": {"path": "libopus.so.0", "origin": "system", "version": "libopus 1.5.2"},
    "aes": {"hardware": True, "evidence": "cpu flags", "ratio_to_chacha20": 0.4, "seal_us_per_frame": 0.8},
    "davey": {"version": "0.1.7", "protocol_version": 1},
    "uvloop": {"active": True, "version": "0.23.0"},
    "scheduling": {"encoder": "idle", "lift": False, "fifo": False},
    "pinning": {"possible": True, "cores": [0, 1]},
    "timer": {
        "waits": 100,
        "wait_ms": 2,
        "late_p50_ms": 0.03,
        "late_p99_ms": 0.1,
        "late_max_ms": 0.2,
        "sharpened": True,
        "default_slack_us": 50.0,
    },
    "hardening": {
        "steps": [
            {"name": "no new privileges", "applied": True, "detail": "no set-user-id bits"},
            {"name": "no core dumps", "applied": True, "detail": "RLIMIT_CORE 0"},
        ]
    },
}


def judge(
    part: str = "", /, platform: str = "linux", config: PoolConfig | None = None, **changed: Any
) -> dict[str, Check]:
    raw = {**WELL, part: {**WELL[part], **changed}} if part else WELL
    checks = judge_worker(msgspec.convert(raw, WorkerFacts), config or PoolConfig(), platform)
    for check in checks:
        assert (check.verdict is OK) == (not check.fix)
        assert not check.fix or check.fix.endswith(".")
    return {check.name: check for check in checks}


def test_a_machine_in_good_health() -> None:
    checks = judge()
    assert {check.verdict for check in checks.values()} == {OK}
    assert {name: check.found for name, check in checks.items()} == {
        "worker process": "starts with Python 3.12.1 (/usr/bin/python3)",
        "libopus": "libopus 1.5.2, the system's (libopus.so.0)",
        "aes-gcm": "in hardware (cpu flags), 0.8 µs a frame",
        "dave": "davey 0.1.7, protocol version 1",
        "event loop": "uvloop 0.23.0",
        "scheduling": (
            "encoder thread in SCHED_IDLE, for good (the way back wants CAP_SYS_NICE or RLIMIT_NICE 20); "
            "pacing thread normal (SCHED_FIFO wants CAP_SYS_NICE or RLIMIT_RTPRIO 1, and is not needed)"
        ),
        "pinning": "possible, cores 0, 1",
        "timer": "late by 0.03 ms (p50), 0.1 ms (p99), 0.2 ms (max) of 100 waits; timer slack 1 ns",
        "hardening": "no new privileges, no core dumps",
    }


def test_a_user_who_may_choose_scheduling_classes() -> None:
    check = judge("scheduling", lift=True, fifo=True)["scheduling"]
    assert (
        check.found == "pacing thread in SCHED_FIFO; encoder thread normal, since that cannot keep it waiting"
    )
    paced = PoolConfig(pacing_class="normal")
    check = judge("scheduling", "linux", paced, lift=True, fifo=True)["scheduling"]
    assert check.found == "encoder thread in SCHED_IDLE; pacing thread normal, as the config says"


@pytest.mark.parametrize(
    ("origin", "words"),
    [("pyav", "from PyAV's wheel"), ("configured", "named in the config"), ("odd", "odd")],
)
def test_where_libopus_is_from(origin: str, words: str) -> None:
    assert words in judge("libopus", origin=origin)["libopus"].found


@pytest.mark.parametrize(
    ("part", "changed", "name", "verdict"),
    [
        ("libopus", {"error": "not found"}, "libopus", FAIL),
        ("aes", {"error": "no OpenSSL"}, "aes-gcm", FAIL),
        ("aes", {"hardware": False}, "aes-gcm", WARN),
        ("aes", {"hardware": None}, "aes-gcm", OK),
        ("aes", {"seal_us_per_frame": 30.0}, "aes-gcm", WARN),
        ("davey", {"error": "no module"}, "dave", FAIL),
        ("uvloop", {"active": False}, "event loop", WARN),
        ("uvloop", {"error": "no symbol"}, "event loop", WARN),
        ("scheduling", {"error": "odd"}, "scheduling", WARN),
        ("scheduling", {"encoder": "normal"}, "scheduling", WARN),
        ("pinning", {"error": "odd"}, "pinning", WARN),
        ("pinning", {"possible": False}, "pinning", WARN),
        ("timer", {"error": "odd"}, "timer", WARN),
        ("hardening", {"error": "odd"}, "hardening", WARN),
        ("timer", {"late_p99_ms": 1.01}, "timer", WARN),
        ("timer", {"late_p99_ms": 1.0}, "timer", OK),
        ("timer", {"sharpened": False}, "timer", WARN),
    ],
)
def test_a_finding_changes_its_own_line_only(
    part: str, changed: dict[str, Any], name: str, verdict: Verdict
) -> None:
    checks = judge(part, **changed)
    assert checks[name].verdict is verdict
    assert {check.verdict for other, check in checks.items() if other != name} == {OK}
    if "error" in changed:
        assert changed["error"] in checks[name].found


@pytest.mark.parametrize(
    ("platform", "part", "changed", "name", "verdict"),
    [
        ("win32", "uvloop", {"active": False}, "event loop", OK),
        ("darwin", "uvloop", {"active": False}, "event loop", WARN),
        ("darwin", "pinning", {"possible": False}, "pinning", OK),
        ("darwin", "scheduling", {"encoder": "normal"}, "scheduling", WARN),
        ("darwin", "timer", {"sharpened": False}, "timer", OK),
    ],
)
def test_what_a_platform_lacks_by_nature_is_not_held_against_it(
    platform: str, part: str, changed: dict[str, Any], name: str, verdict: Verdict
) -> None:
    assert judge(part, platform, **changed)[name].verdict is verdict


def test_what_the_config_switches_off_is_not_missed() -> None:
    normal = PoolConfig(encoder_class="normal")
    assert judge("scheduling", "linux", normal, encoder="normal")["scheduling"].verdict is OK
    unpinned = PoolConfig(pin_workers=False)
    assert judge("pinning", "linux", unpinned, possible=False)["pinning"].verdict is OK


@pytest.mark.parametrize(("version", "verdict"), [((3, 10, 9), FAIL), ((3, 11, 0), OK), ((3, 14, 1), OK)])
def test_python(version: tuple[int, ...], verdict: Verdict) -> None:
    check = judge_python(version, "CPython")
    assert check.verdict is verdict
    assert check.found == ".".join(map(str, version)) + " (CPython)"


@pytest.mark.parametrize(
    ("line", "requirement"),
    [
        ("av>=14.2", Requirement("av", "14.2", "", "")),
        ("PyNaCl", Requirement("PyNaCl", "0", "", "")),
        ('hikari>=2.3; extra == "hikari"', Requirement("hikari", "2.3", "hikari", 'extra == "hikari"')),
        (
            "uvloop>=0.21 ; sys_platform != 'win32'",
            Requirement("uvloop", "0.21", "", "sys_platform != 'win32'"),
        ),
    ],
)
def test_requirements_are_read(line: str, requirement: Requirement) -> None:
    assert Requirement.parse(line) == requirement


@pytest.mark.parametrize(
    ("line", "version", "verdict"),
    [
        ("av>=14.2", None, FAIL),
        ("av>=14.2", "14.1.9", FAIL),
        ("av>=14.2", "14.2", OK),
        ("av>=14.2", "14.2.0rc1", OK),
        ("av>=14", "14.0.0", OK),
        ("av>=14.0", "14", OK),
        ("av>=14.2", "114.0", OK),
        ("av", "unknown", OK),
        ('hikari>=2.3; extra == "hikari"', None, OK),
        ('hikari>=2.3; extra == "hikari"', "2.0", WARN),
        ("uvloop>=0.21; sys_platform != 'win32'", None, OK),
    ],
)
def test_dependencies(line: str, version: str | None, verdict: Verdict) -> None:
    check = judge_dependency(Requirement.parse(line), version)
    assert check.verdict is verdict
    assert (check.verdict is OK) == (not check.fix)


def test_a_missing_extra_says_how_to_get_it() -> None:
    check = judge_dependency(Requirement.parse('hikari>=2.3; extra == "hikari"'), None)
    assert check.found == "not installed; wanted by voicepool[hikari]"


def test_hardening_that_is_missing_is_named() -> None:
    steps = [*WELL["hardening"]["steps"], {"name": "not dumpable", "applied": False, "detail": "refused"}]
    check = judge("hardening", steps=steps)["hardening"]
    assert check.verdict is WARN
    assert check.found == "no new privileges, no core dumps; not not dumpable (refused)"
    assert "seccomp" in check.fix
    check = judge("hardening", "darwin", steps=steps)["hardening"]
    assert check.verdict is OK
    assert check.found.endswith("not offered by this platform")
