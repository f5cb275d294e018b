from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.gateway.opcodes import (
    CLOSE_POLICIES,
    DAVE_OPCODES,
    IGNORED_OPCODES,
    CloseAction,
    CloseCode,
    VoiceOpcode,
    close_error,
    close_policy,
)


def test_every_documented_close_code_has_a_row() -> None:
    assert set(CLOSE_POLICIES) == set(CloseCode)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (1000, CloseAction.RESUME),
        (1006, CloseAction.RESUME),
        (4004, CloseAction.STOP),
        (4006, CloseAction.NEW_SESSION),
        (4009, CloseAction.NEW_SESSION),
        (4014, CloseAction.GRACE_WAIT),
        (4015, CloseAction.RESUME),
        (4016, CloseAction.STOP),
        (4017, CloseAction.STOP),
        (4021, CloseAction.STOP_AND_BACK_OFF),
        (4022, CloseAction.GRACE_WAIT),
        (4999, CloseAction.NEW_SESSION),
    ],
)
def test_policy(code: int, action: CloseAction) -> None:
    assert close_policy(code).action is action


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (4004, ErrorCode.AUTHENTICATION),
        (4017, ErrorCode.DAVE_REQUIRED),
        (4006, ErrorCode.CLOSED_BY_SERVER),
        (1006, ErrorCode.CLOSED_BY_SERVER),
        (4567, ErrorCode.CLOSED_BY_SERVER),
    ],
)
def test_error_has_its_code_and_the_close_code(code: int, error: ErrorCode) -> None:
    got = close_error(code, server="voice.example:2048")
    assert got.code is error
    assert got.data == {"close_code": code}
    assert got.text.startswith(f"voice.example:2048 closed the call with code {code}: ")


@given(code=st.integers(1000, 4999), reason=st.text(max_size=300))
def test_every_close_makes_a_bounded_text_with_a_way_out(code: int, reason: str) -> None:
    text = close_error(code, reason).text
    assert close_policy(code).way_out in text
    assert text.isprintable()
    assert len(text) < 600


def test_a_printable_reason_is_quoted_and_another_is_not() -> None:
    assert "'Authentication failed.'" in close_error(4004, "Authentication failed.").text
    assert "\n" not in close_error(4004, "two\nlines").text


def test_dave_and_ignored_opcodes_do_not_overlap_with_what_is_handled() -> None:
    assert set(range(21, 32)) == {int(opcode) for opcode in DAVE_OPCODES}
    assert not DAVE_OPCODES & IGNORED_OPCODES
    assert VoiceOpcode.READY not in IGNORED_OPCODES
