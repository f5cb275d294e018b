"""What a session tells of the others in the call, and of its encryption."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.scripted_connection import ScriptedConnection, open_command
from tests.workers.session_bench import CALL, LOST, SessionBench
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallInterrupted,
    CallOpened,
    CallRestored,
    EncryptionState,
    MembersChanged,
    Speaking,
)
from voicepool.workers import session as session_module
from voicepool.workers.dave.events import EncryptionChanged, GroupChanged
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import ClientDisconnected, ClientsConnected, SpeakingUpdate
from voicepool.workers.gateway.opcodes import SpeakingFlag

# Who is in the call.


@asyncio_test
async def test_who_is_there_is_told_after_the_call_has_opened() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)

        def greet(attempt: ScriptedConnection) -> None:
            attempt.tell_member(ClientsConnected((3, 11, 12)))
            attempt.tell_member(SpeakingUpdate(11, 500, SpeakingFlag.MICROPHONE))

        bench.script.at_open = greet
        await bench.session.open(open_command())
        attempt = bench.script.attempts[0]
        attempt.tell_member(ClientsConnected((11, 12)))
        attempt.tell_member(SpeakingUpdate(11, 500, SpeakingFlag.MICROPHONE))
        attempt.tell_member(ClientDisconnected(12))
        attempt.tell_member(SpeakingUpdate(11, 500, SpeakingFlag(0)))
        assert bench.hand.events[1:] == [
            MembersChanged(call=CALL, joined=[11, 12]),
            Speaking(call=CALL, user=11, ssrc=500, flags=1),
            MembersChanged(call=CALL, left=[12]),
            Speaking(call=CALL, user=11, ssrc=500, flags=0),
        ]
        await bench.close()


@asyncio_test
async def test_whom_a_new_session_does_not_name_in_time_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "NAMED_WITHIN_S", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.attempts[0].tell_member(ClientsConnected((11, 12)))
        bench.script.at_open = lambda attempt: attempt.tell_member(ClientsConnected((12,)))
        await bench.session.open(open_command(generation=2))
        assert len(bench.of(MembersChanged)) == 1
        await bench.hand.settle()
        assert bench.of(MembersChanged)[1:] == [MembersChanged(call=CALL, left=[11])]
        await bench.close()


@asyncio_test
async def test_a_session_that_ends_before_that_settles_nothing() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.attempts[0].tell_member(ClientsConnected((11,)))
        await bench.session.open(open_command(generation=2))
        assert bench.session._roll_call.is_set
        bench.session.server_gone(2)
        assert not bench.session._roll_call.is_set
        assert len(bench.of(MembersChanged)) == 1
        await bench.close()


@asyncio_test
async def test_in_another_channel_the_members_are_others_at_once() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1, channel=2))
        bench.script.attempts[0].tell_member(ClientsConnected((11,)))
        bench.script.at_open = lambda attempt: attempt.tell_member(ClientsConnected((12,)))
        await bench.session.open(open_command(generation=2, channel=9))
        assert bench.hand.events[-1] == MembersChanged(call=CALL, joined=[12], left=[11])
        assert not bench.session._roll_call.is_set
        await bench.close()


@asyncio_test
async def test_what_changed_during_a_resume_is_told_after_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        attempt = bench.script.attempts[0]
        attempt.tell_member(ClientsConnected((11,)))
        attempt.lose(LOST)
        await bench.hand.settle()
        attempt.tell_member(ClientDisconnected(11))
        attempt.tell_member(ClientsConnected((12,)))
        attempt.resumption.set_result(None)
        await bench.hand.settle()
        assert [type(event) for event in bench.hand.events[2:]] == [
            CallInterrupted,
            CallRestored,
            MembersChanged,
        ]
        assert bench.hand.events[-1] == MembersChanged(call=CALL, joined=[12], left=[11])
        await bench.close()


@asyncio_test
async def test_what_an_older_connection_says_is_no_news() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        await bench.session.open(open_command(generation=2))
        told = len(bench.hand.events)
        old = bench.script.attempts[0]
        old.tell_member(ClientsConnected((11,)))
        old.tell_dave(EncryptionChanged(protocol_version=1, is_sending=True))
        old.become_useless(LOST)
        old.lose(LOST)
        assert len(bench.hand.events) == told
        assert not bench.script.attempts[1].closing
        await bench.close()


# End-to-end encryption.


@asyncio_test
async def test_every_report_of_the_encryption_is_complete() -> None:
    group = GroupChanged(
        epoch=4, privacy_code="1" * 30, user_ids=frozenset({3, 11}), joined=frozenset({11}), left=frozenset()
    )
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        tell = bench.script.attempts[0].tell_dave
        tell(EncryptionChanged(protocol_version=1, is_sending=False))
        tell(group)
        tell(EncryptionChanged(protocol_version=1, is_sending=True))
        tell(EncryptionChanged(protocol_version=1, is_sending=True))
        tell(EncryptionChanged(protocol_version=0, is_sending=True))
        with_group: dict[str, Any] = {"epoch": 4, "privacy_code": "1" * 30, "members": [3, 11]}
        assert bench.hand.events[1:] == [
            EncryptionState(call=CALL, protocol_version=1, sending=False),
            EncryptionState(call=CALL, protocol_version=1, sending=False, **with_group),
            EncryptionState(call=CALL, protocol_version=1, sending=True, **with_group),
            EncryptionState(call=CALL, protocol_version=0, sending=True),
        ]
        await bench.close()


@asyncio_test
async def test_a_new_session_knows_no_group_of_the_old() -> None:
    group = GroupChanged(
        epoch=4, privacy_code="1" * 30, user_ids=frozenset({3}), joined=frozenset(), left=frozenset()
    )
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command(generation=1))
        bench.script.attempts[0].tell_dave(EncryptionChanged(protocol_version=1, is_sending=True))
        bench.script.attempts[0].tell_dave(group)
        await bench.session.open(open_command(generation=2))
        bench.script.attempts[1].tell_dave(EncryptionChanged(protocol_version=1, is_sending=False))
        last = bench.of(EncryptionState)[-1]
        assert last == EncryptionState(call=CALL, protocol_version=1, sending=False)
        await bench.close()


@asyncio_test
async def test_a_connection_of_no_use_is_replaced_and_not_resumed() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        first = bench.script.attempts[0]
        first.become_useless(CallError(ErrorCode.PROTOCOL, "end-to-end encryption could not be kept up"))
        await bench.script.wait_for_attempt(2)
        await bench.hand.settle()
        assert first.closed
        assert not first.resumption.done()
        assert [type(event) for event in bench.hand.events] == [CallOpened, CallInterrupted, CallRestored]
        await bench.close()


@asyncio_test
async def test_members_are_verified_by_the_present_connection() -> None:
    with pytest.MonkeyPatch.context() as patch:
        bench = SessionBench(patch)
        await bench.session.open(open_command())
        bench.script.attempts[0].verification_of[11] = "1" * 45
        assert bench.session.verification(11) == "1" * 45
        bench.session.server_gone(1)
        with pytest.raises(CallError, match="no connection"):
            bench.session.verification(11)
        await bench.close()
