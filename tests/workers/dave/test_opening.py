from __future__ import annotations

import math

import pytest

from tests.fakes.dave_group import ScriptedGroup
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.opening import FAILURES_TOLERATED, TRANSITION_S, FrameOpener, PassthroughWindow

ENCRYPTED = b"opus" + bytes(8) + b"\x01" + b"\x0c\xfa\xfa"
OTHER = b"OPUS" + bytes(8) + b"\x02" + b"\x0c\xfa\xfa"
CLEAR = b"opus in the clear"


class Ear:
    def __init__(self) -> None:
        self.group = ScriptedGroup()
        self.group.user_ids = frozenset({1, 2})
        self.window = PassthroughWindow()
        self.window.close()
        self.held = False
        self.failing: list[float] = []
        self.opener = FrameOpener(self.group, self.window, settle=self.settle, on_failing=self.failing.append)

    def settle(self, now: float) -> bool:
        held, self.held = self.held, False
        if held:
            self.group.undecryptable.clear()
        return held


def test_what_is_encrypted_is_decrypted() -> None:
    ear = Ear()
    assert ear.opener.open(2, ENCRYPTED, 0.0) == b"opus"
    assert ear.opener.decrypted == 1


def test_silence_passes_at_any_time_from_anybody() -> None:
    assert Ear().opener.open(77, SILENCE, 0.0) == SILENCE


def test_the_clear_passes_while_the_window_is_open() -> None:
    ear = Ear()
    assert ear.opener.open(2, CLEAR, 0.0) is None
    ear.window.open()
    assert ear.opener.open(2, CLEAR, 0.0) == CLEAR
    ear.window.close_at(10.0)
    assert ear.opener.open(2, CLEAR, 9.9) == CLEAR
    assert ear.opener.open(2, CLEAR, 10.0) is None
    assert (ear.opener.passed, ear.opener.lost["in_the_clear"]) == (2, 2)


def test_what_cannot_be_decrypted_is_lost_and_never_passed_on() -> None:
    ear = Ear()
    ear.window.open()
    ear.group.undecryptable.add(ENCRYPTED)
    assert ear.opener.open(2, ENCRYPTED, 0.0) is None
    assert ear.opener.open(77, OTHER, 0.0) is None
    assert ear.opener.lost == {"undecryptable": 1, "unknown_member": 1}


def test_a_frame_that_fails_is_tried_again_when_a_commit_was_waiting() -> None:
    ear = Ear()
    ear.group.undecryptable.add(ENCRYPTED)
    ear.held = True
    assert ear.opener.open(2, ENCRYPTED, 0.0) == b"opus"
    assert not ear.opener.lost


def test_a_run_of_failures_is_told_once() -> None:
    ear = Ear()
    ear.group.undecryptable.add(ENCRYPTED)
    for _ in range(FAILURES_TOLERATED - 1):
        ear.opener.open(2, ENCRYPTED, 0.0)
    assert ear.failing == []
    ear.opener.open(2, ENCRYPTED, 5.0)
    assert ear.failing == [5.0]
    ear.opener.open(2, ENCRYPTED, 5.0)
    assert ear.failing == [5.0]


@pytest.mark.parametrize("between", [OTHER, None])
def test_failures_with_a_success_between_them_are_no_run(between: bytes | None) -> None:
    ear = Ear()
    ear.group.undecryptable.add(ENCRYPTED)
    for count in range(FAILURES_TOLERATED):
        ear.opener.open(2, ENCRYPTED, 0.0)
        if count == 9 and between is not None:
            ear.opener.open(2, between, 0.0)
    assert bool(ear.failing) is (between is None)


def test_frames_in_the_clear_are_no_sign_of_a_wrong_group() -> None:
    ear = Ear()
    for _ in range(2 * FAILURES_TOLERATED):
        ear.opener.open(2, CLEAR, 0.0)
    assert ear.failing == []


def test_failures_right_after_a_change_do_not_count() -> None:
    ear = Ear()
    ear.group.undecryptable.add(ENCRYPTED)
    ear.window.changed(0.0)
    for _ in range(2 * FAILURES_TOLERATED):
        ear.opener.open(2, ENCRYPTED, TRANSITION_S - 0.1)
    assert ear.failing == []
    for _ in range(FAILURES_TOLERATED):
        ear.opener.open(2, ENCRYPTED, TRANSITION_S)
    assert ear.failing == [TRANSITION_S]


def test_the_window() -> None:
    window = PassthroughWindow()
    assert window.is_open(1e9), "until a session says otherwise"
    window.close()
    window.open_until(5.0)
    window.open_until(3.0)
    assert window.is_open(4.9)
    window.close_at(4.0)
    assert not window.is_open(4.0)
    assert window.is_settled(-math.inf)
    window.changed(4.0)
    assert not window.is_settled(13.9)
    assert window.is_settled(14.0)
