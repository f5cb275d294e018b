"""What a terminal is told of a pool: bounded, and nothing that is nobody's business."""

from __future__ import annotations

import msgspec
import pytest

from tests.fakes.figures import report
from tests.fakes.subject import busy_subject
from voicepool._watching import status_view
from voicepool._watching.observatory import Observatory, View
from voicepool._watching.status_view import Playing, Status, read, status_of, write
from voicepool.stats import WorkerInfo, WorkerState
from voicepool.stutters import Stutter, StutterCause


def view_of(calls: int = 2) -> View:
    view = Observatory(lambda: busy_subject(calls)).look()
    assert view is not None
    return view


def told(view: View, *stutters: Stutter, calls: int = 2, label: str = "song") -> Status:
    plays = [Playing(guild=100 + number, channel=1, state="playing", label=label) for number in range(calls)]
    return status_of(view, plays, stutters, pid=4711, program="bot.py")


def stutter(guild: int, at_s: float) -> Stutter:
    return Stutter(guild_id=guild, worker="w0.1", cause=StutterCause.SOURCE, frames=1, at_s=at_s)


def test_it_crosses_the_socket_unchanged() -> None:
    status = told(view_of())
    assert read(write(status)) == status
    [worker] = status.workers
    assert (worker.name, worker.state, worker.pid, worker.memory_bytes) == ("w0.1", "ready", 4711, 1 << 20)
    assert sum(worker.lateness_counts) == 3
    assert [(call.playing.guild, call.worker, call.frames_sent) for call in status.calls] == [
        (100, "w0.1", 10),
        (101, "w0.1", 11),
    ]


def test_a_complexity_that_was_lowered_is_told_with_the_configured_one() -> None:
    observatory = Observatory(lambda: busy_subject(complexity=6, uptime_s=11.0, rescues=4))
    observatory.on_report(report("w0.1", complexity=9, uptime_s=10.0))
    view = observatory.look()
    assert view is not None
    [worker] = told(view).workers
    assert (worker.complexity, worker.best_complexity, worker.rescues, worker.uptime_s) == (6, 9, 4, 11.0)


def test_calls_that_suffered_last_come_first_and_the_others_keep_their_order() -> None:
    view = view_of(5)
    status = told(view, stutter(103, view.taken_at_s - 9.0), stutter(102, view.taken_at_s - 1.0), calls=5)
    assert [call.playing.guild for call in status.calls] == [102, 103, 100, 101, 104]
    assert [call.suffered_s for call in status.calls] == [1.0, 9.0, None, None, None]


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_view, "SHOWN_CALLS", 3)
    view = view_of(5)
    status = told(view, stutter(104, view.taken_at_s), calls=5)
    assert [call.playing.guild for call in status.calls] == [104, 100, 101]
    assert status.calls_total == 5


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("a\x1b[2Jb\x07", "a [2Jb "),
        ("first line\nsecond", "first line"),
        ("x" * 500, "x" * 119 + "…"),
        ("Für Elise 🎹", "Für Elise 🎹"),
    ],
)
def test_labels_cannot_play_with_the_terminal(label: str, shown: str) -> None:
    assert told(view_of(1), calls=1, label=label).calls[0].playing.label == shown


def test_a_worker_that_is_down_is_told_with_its_reason() -> None:
    subject = busy_subject(0)
    subject.links = []
    info = WorkerInfo(
        slot=3, name="", state=WorkerState.LOOPING, restarts=7, last_error="exited\nwith code 1"
    )
    subject.infos = (info,)
    view = Observatory(lambda: subject).look()
    assert view is not None
    [worker] = told(view, calls=0).workers
    assert (worker.slot, worker.state, worker.last_error, worker.memory_bytes) == (
        3,
        "looping",
        "exited",
        None,
    )


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"version": 2}'])
def test_what_is_no_status_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(text)


def test_another_version_is_refused() -> None:
    status = msgspec.structs.replace(told(view_of()), version=99)
    with pytest.raises(msgspec.DecodeError, match="version 99"):
        read(write(status))
