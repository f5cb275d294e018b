from __future__ import annotations

import dataclasses
import json

from tests.testing.test_voice_session import Desk


def test_a_report_is_plain_values() -> None:
    desk = Desk()
    desk.session.speak(5)
    report = desk.session.report()
    data = report.to_dict()
    assert json.loads(json.dumps(data))["lateness"] == {
        "samples": 0,
        "p50_ms": 0.0,
        "p99_ms": 0.0,
        "p999_ms": 0.0,
        "max_ms": 0.0,
    }
    assert data["speaking_updates"] == (5,)
    assert data["state"] == "identified"
    assert report.problems == ()


def test_problems_say_what_was_wrong_and_how_often() -> None:
    report = dataclasses.replace(Desk().session.report(), sequence_gaps=3, violations=("it did wrong",))
    assert report.problems == ("it did wrong", "3 packets missing by sequence number")


def test_what_a_test_had_dropped_is_not_held_against_the_client() -> None:
    report = Desk().session.report()
    assert dataclasses.replace(report, sequence_gaps=3, dropped_packets=3).problems == ()
    assert dataclasses.replace(report, sequence_gaps=3, dropped_packets=4).problems == ()
    (problem,) = dataclasses.replace(report, sequence_gaps=3, dropped_packets=2).problems
    assert problem == "1 packets missing by sequence number"
