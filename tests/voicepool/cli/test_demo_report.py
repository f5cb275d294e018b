"""Verdict, table and JSON of a demo."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from voicepool.cli._demo_report import DemoReport, render, to_json, verdict

GOOD = DemoReport(
    guilds=2,
    workers=1,
    seconds=10.0,
    source="demo.mp3",
    source_s=10.0,
    frames_sent=1_010,
    frames_received=1_010,
    sequence_gaps=0,
    nonce_reuses=0,
    kernel_drops=0,
    violations=[],
    remarks=[],
    underruns=0,
    ticks_skipped=0,
    lateness_p50_ms=0.08,
    lateness_p99_ms=0.2,
    lateness_p999_ms=0.4,
    lateness_max_ms=1.25,
    bot_cpu_us_per_frame=2.123456,
    worker_cpu_us_per_frame=150.0,
    correlations={"guild-0": 0.998, "guild-1": 0.9971234},
    heard_s=10.0,
    libopus="libopus 1.6.1 (pyav)",
    mode="aead_aes256_gcm_rtpsize",
    dave=True,
    dave_protocol_version=1,
    dave_failures=0,
    wav_dir=Path("demo-out"),
    wav_files=["guild-0.wav", "guild-1.wav"],
)

KEYS_OF_THE_ISSUE = {
    "guilds",
    "workers",
    "seconds",
    "frames_sent",
    "frames_received",
    "lateness_ms",
    "bot_cpu_us_per_frame",
    "worker_cpu_us_per_frame",
    "correlation_min",
    "libopus",
    "mode",
    "dave_protocol_version",
    "dave_failures",
}


def worse(**changes: Any) -> DemoReport:
    return dataclasses.replace(GOOD, **changes)


def test_nothing_is_wrong_with_a_good_run() -> None:
    assert verdict(GOOD) is None
    assert verdict(worse(heard_s=9.6, remarks=["1 timestamp jumps"], underruns=1)) is None
    assert verdict(worse(dave=False, dave_protocol_version=0)) is None


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (worse(frames_sent=0, frames_received=0), "not a single frame was sent"),
        (worse(frames_received=1_008), "2 of 1,010 frames did not arrive"),
        (
            worse(frames_received=1_008, kernel_drops=2),
            (
                "2 of 1,010 frames did not arrive; the kernel dropped 2 of them because the stand-in was too "
                "slow"
            ),
        ),
        (worse(frames_received=1_013), "3 frames arrived that no worker has counted"),
        (
            worse(dave_protocol_version=0),
            "a call was not end-to-end encrypted: DAVE was on, and its protocol version is 0",
        ),
        (worse(dave_failures=1), "1 frame could not be decrypted end to end (DAVE)"),
        (worse(dave_failures=1_010), "1,010 frames could not be decrypted end to end (DAVE)"),
        (worse(sequence_gaps=1), "1 packet missing by sequence number"),
        (worse(nonce_reuses=2), "2 nonces used twice under one key"),
        (worse(violations=["voice: this", "that"]), "2 violations of the protocol, first: voice: this"),
        (worse(heard_s=4.0), "one guild heard 4.0 s of 10.0 s"),
        (
            worse(correlations={"guild-0": 0.998, "guild-1": 0.5}),
            "what guild-1 heard differs from the source: the correlation is 0.500, less than 0.95",
        ),
        (
            worse(correlations={"guild-1": 0.5}, underruns=3, ticks_skipped=1),
            (
                "what guild-1 heard differs from the source: the correlation is 0.500, less than 0.95; this "
                "machine was too busy: 3 underruns, 1 tick skipped"
            ),
        ),
    ],
)
def test_each_fault_has_its_sentence(report: DemoReport, sentence: str) -> None:
    assert verdict(report) == sentence
    assert to_json(report)["ok"] is False
    assert to_json(report)["problem"] == sentence


@pytest.mark.parametrize("correlation", [0.95, 1.0])
def test_enough_is_enough(correlation: float) -> None:
    assert verdict(worse(correlations={"guild-0": correlation})) is None


@pytest.mark.parametrize("correlations", [{"guild-0": 0.9499}, {"guild-0": math.nan}, {}, {"guild-0": -1.0}])
def test_too_little_is_too_little(correlations: dict[str, float]) -> None:
    assert "differs" in (verdict(worse(correlations=correlations)) or "")


def test_a_frame_that_is_missing_comes_before_what_follows_from_it() -> None:
    report = worse(frames_received=900, sequence_gaps=110, correlations={"guild-0": 0.3})
    assert "did not arrive" in (verdict(report) or "")


def test_json_has_the_promised_keys_and_plain_values() -> None:
    values = to_json(GOOD)
    assert values.keys() >= KEYS_OF_THE_ISSUE
    assert values["ok"] is True
    assert values["problem"] is None
    assert values["lateness_ms"] == {"p50": 0.08, "p99": 0.2, "p999": 0.4, "max": 1.25}
    assert values["correlation_min"] == 0.99712
    assert values["bot_cpu_us_per_frame"] == 2.12
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_the_table_has_every_figure_on_one_line_each() -> None:
    table = render(GOOD)
    for shown in (
        "2, on 1 worker process\n",
        "demo.mp3, 10.0 s",
        "libopus 1.6.1 (pyav); aead_aes256_gcm_rtpsize",
        "encrypted by DAVE, protocol version 1; 0 failures\n",
        "1,010, all of them",
        "0 sequence gaps, 0 nonce reuses, 0 violations, 0 underruns",
        "p50 0.08 ms, p99 0.20 ms, p99.9 0.40 ms, max 1.25 ms",
        "bot 2.1 µs, workers 150.0 µs",
        "0.9971 with the source in guild-1",
        "demo-out: guild-0.wav … guild-1.wav",
        "Every frame arrived",
    ):
        assert shown in table
    assert all(len(line) <= 110 for line in table.splitlines())


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (worse(dave_failures=1), "encrypted by DAVE, protocol version 1; 1 failure\n"),
        (worse(dave_protocol_version=0), "not encrypted\n"),
        (worse(dave_protocol_version=0, dave=False), "not encrypted: DAVE is turned off\n"),
    ],
)
def test_the_table_tells_how_it_stands_with_end_to_end_encryption(report: DemoReport, shown: str) -> None:
    assert shown in render(report)


def test_the_table_of_a_bad_run_promises_nothing() -> None:
    table = render(worse(frames_received=1_000, remarks=["guild-0 had a pause"], wav_files=["one.wav"]))
    assert "1,000, +10 missing" in table
    assert "guild-0 had a pause" in table
    assert "Every frame" not in table
    assert "demo-out: one.wav" in table
    assert "none" in render(worse(wav_files=[], correlations={}))
