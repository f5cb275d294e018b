"""[pure] What a demo measured: as a verdict, as a table, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CORRELATION_FLOOR", "DemoReport", "render", "to_json", "verdict"]

CORRELATION_FLOOR: Final = 0.95
"""What is less like its source than this is not the same music any more."""
_SHORT_BY_S: Final = 0.5
_COLUMN: Final = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """All figures of one run.

    Attributes
    ----------
    guilds, workers, seconds
        As asked for.
    source, source_s
        What was played, and its length in seconds, as far as it was to be played.
    frames_sent
        Packets sent by the workers' account, audio and silence, 20 ms each.
    frames_received
        Opus packets that arrived at the stand-in and decrypted.
    sequence_gaps, nonce_reuses, kernel_drops
        As the stand-in counted them.
    violations
        Rules of Discord's protocols that were broken, in sentences.
    remarks
        What else a listener might have noticed, in sentences.
    underruns, ticks_skipped
        Times a call had nothing ready to send; turns that workers gave up after a stall.
    lateness_p50_ms, lateness_p99_ms, lateness_p999_ms, lateness_max_ms
        How late packets left the workers.
    bot_cpu_us_per_frame, worker_cpu_us_per_frame
        CPU time of this process and of all workers over the frames sent meanwhile; microseconds.
    correlations
        Of each guild with the source, by its name.
    heard_s
        Seconds of audio in the guild that got least.
    libopus, mode
        Version and origin of the workers' libopus; transport encryption in use.
    dave
        Whether calls were to be end-to-end encrypted.
    dave_protocol_version, dave_failures
        Lowest version of DAVE at which a call ended, 0 for none; frames that the stand-in's listeners could
        not decrypt end to end, or that came in the clear where they may not.
    wav_dir, wav_files
        Where the WAV files lie, and their names.
    """

    guilds: int
    workers: int
    seconds: float
    source: str
    source_s: float
    frames_sent: int
    frames_received: int
    sequence_gaps: int
    nonce_reuses: int
    kernel_drops: int
    violations: Sequence[str]
    remarks: Sequence[str]
    underruns: int
    ticks_skipped: int
    lateness_p50_ms: float
    lateness_p99_ms: float
    lateness_p999_ms: float
    lateness_max_ms: float
    bot_cpu_us_per_frame: float
    worker_cpu_us_per_frame: float
    correlations: dict[str, float]
    heard_s: float
    libopus: str
    mode: str
    dave: bool
    dave_protocol_version: int
    dave_failures: int
    wav_dir: Path
    wav_files: Sequence[str]

    @property
    def correlation_min(self) -> float:
        """The correlation of the guild that is least like the source."""
        return min(self.correlations.values(), default=0.0)

    @property
    def frames_missing(self) -> int:
        """Frames that were sent and did not arrive; negative if more arrived than were sent."""
        return self.frames_sent - self.frames_received


def verdict(report: DemoReport) -> str | None:
    """Say in one sentence what went wrong first; None when everything arrived as it was sent."""
    return next(_complaints(report), None)


def to_json(report: DemoReport) -> dict[str, object]:
    """Return the figures for ``--json``: times in the units of their names."""
    problem = verdict(report)
    return {
        "ok": problem is None,
        "problem": problem,
        "guilds": report.guilds,
        "workers": report.workers,
        "seconds": report.seconds,
        "source": report.source,
        "frames_sent": report.frames_sent,
        "frames_received": report.frames_received,
        "sequence_gaps": report.sequence_gaps,
        "nonce_reuses": report.nonce_reuses,
        "kernel_drops": report.kernel_drops,
        "violations": list(report.violations),
        "remarks": list(report.remarks),
        "underruns": report.underruns,
        "ticks_skipped": report.ticks_skipped,
        "lateness_ms": {
            "p50": report.lateness_p50_ms,
            "p99": report.lateness_p99_ms,
            "p999": report.lateness_p999_ms,
            "max": report.lateness_max_ms,
        },
        "bot_cpu_us_per_frame": round(report.bot_cpu_us_per_frame, 2),
        "worker_cpu_us_per_frame": round(report.worker_cpu_us_per_frame, 2),
        "correlation_min": round(report.correlation_min, 5),
        "correlations": {name: round(value, 5) for name, value in report.correlations.items()},
        "heard_s": round(report.heard_s, 3),
        "libopus": report.libopus,
        "mode": report.mode,
        "dave_protocol_version": report.dave_protocol_version,
        "dave_failures": report.dave_failures,
        "wav_dir": str(report.wav_dir),
        "wav_files": list(report.wav_files),
    }


def render(report: DemoReport) -> str:
    """Lay the figures out for people."""
    missing = "all of them" if report.frames_missing == 0 else f"{report.frames_missing:+,} missing"
    files = report.wav_files
    shown = files[0] if len(files) == 1 else f"{files[0]} … {files[-1]}" if files else "none"
    worst = min(report.correlations, key=lambda name: report.correlations[name], default="")
    faults = (
        _count(report.sequence_gaps, "sequence gap"),
        _count(report.nonce_reuses, "nonce reuse"),
        _count(len(report.violations), "violation"),
        _count(report.underruns, "underrun"),
    )
    lateness = (
        f"p50 {report.lateness_p50_ms:.2f} ms",
        f"p99 {report.lateness_p99_ms:.2f} ms",
        f"p99.9 {report.lateness_p999_ms:.2f} ms",
        f"max {report.lateness_max_ms:.2f} ms",
    )
    rows = [
        ("guilds", f"{report.guilds}, on {_count(report.workers, 'worker process', 'es')}"),
        ("source", f"{report.source}, {min(report.seconds, report.source_s):.1f} s of it"),
        ("encoding", f"{report.libopus}; {report.mode}"),
        ("end to end", _end_to_end(report)),
        ("frames sent", f"{report.frames_sent:,}"),
        ("frames received", f"{report.frames_received:,}, {missing}"),
        ("faults", ", ".join(faults)),
        ("lateness", ", ".join(lateness)),
        (
            "CPU per frame",
            f"bot {report.bot_cpu_us_per_frame:.1f} µs, workers {report.worker_cpu_us_per_frame:.1f} µs",
        ),
        ("correlation", f"{report.correlation_min:.4f} with the source in {worst}, which is least like it"),
        ("what was heard", f"{report.wav_dir}: {shown}"),
    ]
    lines = [f"{name:<{_COLUMN}}{text}" for name, text in rows]
    lines += [f"{'remark':<{_COLUMN}}{remark}" for remark in report.remarks]
    if verdict(report) is None:
        lines += ["", "Every frame arrived, and it sounds like its source."]
    return "\n".join(lines)


def _end_to_end(report: DemoReport) -> str:
    if report.dave_protocol_version:
        failures = _count(report.dave_failures, "failure")
        return f"encrypted by DAVE, protocol version {report.dave_protocol_version}; {failures}"
    return "not encrypted" + ("" if report.dave else ": DAVE is turned off")


def _complaints(report: DemoReport) -> Iterator[str]:
    if not report.frames_sent:
        yield "not a single frame was sent"
    if report.frames_missing > 0:
        yield _missing(report)
    if report.frames_missing < 0:
        yield f"{-report.frames_missing:,} frames arrived that no worker has counted"
    yield from _unencrypted(report)
    if report.sequence_gaps:
        yield f"{_count(report.sequence_gaps, 'packet')} missing by sequence number"
    if report.nonce_reuses:
        yield f"{_count(report.nonce_reuses, 'nonce')} used twice under one key"
    if report.violations:
        yield f"{_count(len(report.violations), 'violation')} of the protocol, first: {report.violations[0]}"
    if report.heard_s < report.source_s - _SHORT_BY_S:
        yield f"one guild heard {report.heard_s:.1f} s of {report.source_s:.1f} s{_excuse(report)}"
    # Not "less than", which a NaN would pass.
    if not report.correlation_min >= CORRELATION_FLOOR:
        yield _different(report)


def _unencrypted(report: DemoReport) -> Iterator[str]:
    if report.dave and not report.dave_protocol_version:
        yield "a call was not end-to-end encrypted: DAVE was on, and its protocol version is 0"
    if report.dave_failures:
        yield f"{_count(report.dave_failures, 'frame')} could not be decrypted end to end (DAVE)"


def _missing(report: DemoReport) -> str:
    text = f"{report.frames_missing:,} of {report.frames_sent:,} frames did not arrive"
    if report.kernel_drops:
        text += f"; the kernel dropped {report.kernel_drops:,} of them because the stand-in was too slow"
    return text


def _different(report: DemoReport) -> str:
    worst = min(report.correlations, key=lambda name: report.correlations[name], default="every guild")
    return (
        f"what {worst} heard differs from the source: the correlation is {report.correlation_min:.3f}, "
        f"less than {CORRELATION_FLOOR:g}{_excuse(report)}"
    )


def _excuse(report: DemoReport) -> str:
    if not report.underruns and not report.ticks_skipped:
        return ""
    return (
        f"; this machine was too busy: {_count(report.underruns, 'underrun')}, "
        f"{_count(report.ticks_skipped, 'tick')} skipped"
    )


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"
