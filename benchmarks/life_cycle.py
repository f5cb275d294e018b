"""What becomes of a call when something goes wrong?

Each row of the matrix is a bot of its own (hikari, `voicepool.connect`) on stand-ins of its own; all share a
real worker. It plays a song of three seconds, and after half a second the fault is brought about. Then the
song is waited for, or the end of the call, and what the listener heard is compared with what is expected.

How long a row is silent depends on the settings below and on the stand-in's heartbeat interval, which are
shorter than usual, and on what else the machine does. What it loses, and what it sends, does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.ailments import ROWS, Row
from benchmarks.outcomes import Outcome
from benchmarks.patient import HEARTBEAT_MS, SONG_S, Observed, Patient, admitted
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import open_sources
from voicepool.config import PoolConfig
from voicepool.pool import VoicePool
from voicepool.testing import CertificateAuthority

__all__ = ["rows", "run"]

_AT_ONCE: Final = 4
_QUICK: Final = frozenset({"nothing at all", "voice websocket cut", "kicked"})
_PATIENCE_S: Final = 60.0
_KNOBS: Final[dict[str, Any]] = {
    "connect_timeout_s": 2.0,
    "reconnect_first_pause_s": 0.25,
    "reconnect_longest_pause_s": 1.0,
    "removal_grace_s": 1.0,
    "server_wait_s": 5.0,
}


def rows(*, quick: bool = False) -> Sequence[Row]:
    """Return the rows in their order; few of them for the quick version."""
    return [row for row in ROWS if not quick or row.fault in _QUICK]


async def run(options: Options) -> Result:
    """Live through all rows."""
    began_s = time.monotonic()
    places = asyncio.Semaphore(_AT_ONCE)
    with CertificateAuthority() as authority:
        async with (
            open_sources(SONG_S) as sources,
            VoicePool(PoolConfig(workers=1, ca_file=str(authority.ca_file), **_KNOBS)) as pool,
        ):

            async def live(row: Row) -> Outcome:
                async with places, admitted(pool, authority, sources.wav) as patient:
                    return await _live_through(row, patient)

            outcomes = await asyncio.gather(*(live(row) for row in rows(quick=options.quick)))
    unexpected = sum(outcome.complaint is not None for outcome in outcomes)
    return Result(
        name="life_cycle",
        question=BENCHMARKS["life_cycle"].question,
        seconds=time.monotonic() - began_s,
        figures=[
            Figure(
                group=f"{len(outcomes)} faults",
                name="unexpected ends",
                value=unexpected,
                unit="",
                goal=Goal(0),
            )
        ],
        outcomes=outcomes,
        notes=[
            f"heartbeats each {HEARTBEAT_MS:g} ms, settings "
            + ", ".join(f"{name}={value:g}" for name, value in _KNOBS.items())
        ],
    )


async def _live_through(row: Row, patient: Patient) -> Outcome:
    patient.channel = row.channel
    trouble: str | None = None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await _inflict(row, patient)
    except TimeoutError as error:
        trouble = f"it got stuck: {error}"
    seen = patient.observe()
    complaint = trouble or row.complaint(seen)
    lasting = not row.expected.ends
    return Outcome(
        fault=row.fault,
        expected=row.expected.text,
        happened=_happened(seen),
        complaint=complaint,
        silent_ms=seen.silent_ms if lasting else None,
        lost=seen.lost if lasting else None,
        ops=seen.ops,
    )


async def _inflict(row: Row, patient: Patient) -> None:
    if row.before is not None:
        await row.before(patient)
        patient.begin()
    await patient.join(timeout_s=row.timeout_s)
    if patient.voice is None or row.inflict is None:
        return
    await patient.play()
    if row.before is None:
        patient.begin()
    await row.inflict(patient)
    await patient.finish()


def _happened(seen: Observed) -> str:
    if seen.error is not None:
        return type(seen.error).__name__
    if seen.closed:
        return "closed"
    parts = []
    if seen.resumes:
        parts.append("resumed" if seen.resumes == 1 else f"resumed {seen.resumes} times")
    if seen.sessions > 1:
        parts.append(f"{seen.sessions} sessions")
    return ", ".join(parts) or "one session"
