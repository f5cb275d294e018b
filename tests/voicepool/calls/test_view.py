"""What a bot knows of a call: each piece of news, and the rules about their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._calls.view import CallView, VoiceSession
from voicepool.errors import ClosedByServerError, ConnectError, WorkerLostError
from voicepool.events import (
    Closed,
    Connected,
    ConnectionEvent,
    EncryptionChanged,
    Interrupted,
    MemberJoined,
    MemberLeft,
    MemberSpeaking,
    Restored,
    ServerWanted,
)
from voicepool.ipc import events as wire
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.ids import CallId, RequestId

CALL = CallId("call")
LOST = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="the connection was lost", data={"close_code": 1006})


def opened(generation: int = 1, *, mode: str = "aead", ssrc: int = 5) -> wire.CallOpened:
    return wire.CallOpened(request=RequestId(1), call=CALL, generation=generation, mode=mode, ssrc=ssrc)


def interrupted(generation: int = 1) -> wire.CallInterrupted:
    return wire.CallInterrupted(call=CALL, generation=generation, error=LOST)


def restored(generation: int = 1) -> wire.CallRestored:
    return wire.CallRestored(
        call=CALL, generation=generation, gap_ms=40.0, resumed=True, mode="other", ssrc=6
    )


def wanted(generation: int = 1, *, rejoin: bool = True, error: ErrorInfo | None = LOST) -> wire.ServerWanted:
    return wire.ServerWanted(call=CALL, generation=generation, rejoin=rejoin, error=error)


def members(joined: list[int] | None = None, left: list[int] | None = None) -> wire.MembersChanged:
    return wire.MembersChanged(call=CALL, joined=joined or [], left=left or [])


def connected_view() -> CallView:
    view = CallView()
    view.attempt(channel_id=30)
    view.take(opened(), 0.0)
    return view


def kinds(told: list[ConnectionEvent]) -> list[type]:
    return [type(event) for event in told]


def test_before_the_first_session_there_is_nothing() -> None:
    view = CallView()
    assert (view.session, view.interrupted, view.was_connected) == (None, False, False)
    assert (view.encryption, view.members) == (None, frozenset())


def test_a_session_begins() -> None:
    view = CallView()
    assert view.attempt(channel_id=30) == 1
    assert view.take(opened(), 0.0) == [Connected(30, "aead")]
    assert view.session == VoiceSession("aead", 5)
    assert view.was_connected


def test_an_interruption_has_its_reason_and_its_end() -> None:
    view = connected_view()
    [lost] = view.take(interrupted(), 0.0)
    assert isinstance(lost, Interrupted)
    assert isinstance(lost.reason, ClosedByServerError)
    assert lost.reason.close_code == 1006
    assert view.interrupted
    assert view.session is not None, "it is being mended"
    assert view.take(interrupted(), 0.0) == [], "it is interrupted already"
    assert view.take(restored(), 0.0) == [Restored(40.0, resumed=True)]
    assert not view.interrupted
    assert view.session == VoiceSession("other", 6)


def test_a_session_that_is_void_has_no_connection_until_there_is_another() -> None:
    view = connected_view()
    view.take(interrupted(), 0.0)
    [want] = view.take(wanted(), 0.0)
    assert isinstance(want, ServerWanted)
    assert want.rejoin
    assert isinstance(want.reason, ClosedByServerError)
    assert (view.session, view.interrupted) == (None, True)
    assert view.attempt(channel_id=31) == 2
    assert view.interrupted, "an attempt mends nothing yet"
    assert view.take(opened(2), 0.0) == [Connected(31, "aead")]
    assert not view.interrupted
    assert view.take(restored(2), 0.0) == [Restored(40.0, resumed=True)]


def test_a_wish_for_a_server_is_an_interruption_by_itself() -> None:
    view = connected_view()
    lost, want = view.take(wanted(rejoin=False, error=None), 0.0)
    assert isinstance(lost, Interrupted)
    assert type(lost.reason) is ConnectError
    assert want == ServerWanted(rejoin=False, reason=None)


def test_a_server_that_is_gone_is_an_interruption() -> None:
    view = connected_view()
    [lost] = view.server_gone(0.0)
    assert isinstance(lost, Interrupted)
    assert "will name another" in str(lost.reason)
    assert (view.session, view.interrupted) == (None, True)
    assert view.server_gone(0.0) == []
    assert kinds(view.take(wanted(rejoin=False, error=None), 0.0)) == [ServerWanted]
    view.attempt(channel_id=30)
    assert view.take(opened(2), 0.0) == [Connected(30, "aead")]
    assert view.take(restored(2), 0.0) == [Restored(40.0, resumed=True)]


def test_a_move_without_a_loss_is_a_new_session_and_nothing_else() -> None:
    view = connected_view()
    view.attempt(channel_id=31)
    assert view.session is None
    assert view.take(opened(2), 0.0) == [Connected(31, "aead")]


def test_what_was_restored_while_a_newer_attempt_began_is_told_as_restored() -> None:
    view = connected_view()
    view.take(interrupted(), 0.0)
    view.attempt(channel_id=31)
    # The worker had mended it when it heard of the attempt, and says nothing more of that interruption.
    assert view.take(restored(1), 0.0) == [Restored(40.0, resumed=True)]
    assert view.session is None
    assert view.take(opened(2), 0.0) == [Connected(31, "aead")]
    assert view.session == VoiceSession("aead", 5)
    assert not view.interrupted


def test_what_was_lost_while_a_newer_attempt_began_is_told_as_lost() -> None:
    view = connected_view()
    view.attempt(channel_id=31)
    # The worker does not say it again, however long the attempt takes.
    assert kinds(view.take(interrupted(1), 0.0)) == [Interrupted]
    assert view.interrupted
    assert view.take(opened(2), 0.0) == [Connected(31, "aead")]
    assert view.take(restored(2), 0.0) == [Restored(40.0, resumed=True)]
    assert view.session == VoiceSession("other", 6)


def test_an_end_of_an_interruption_that_there_was_not_is_not_told() -> None:
    view = connected_view()
    assert view.take(restored(1), 0.0) == []
    assert view.session == VoiceSession("other", 6)


def test_a_server_that_goes_while_a_session_begins_is_one_interruption() -> None:
    view = connected_view()
    view.attempt(channel_id=30)
    assert kinds(view.server_gone(0.0)) == [Interrupted]
    assert view.take(opened(2), 0.0) == [Connected(30, "aead")]
    assert view.take(wanted(2, rejoin=False, error=None), 0.0) == [ServerWanted(rejoin=False)]
    assert (view.session, view.interrupted) == (None, True)
    view.attempt(channel_id=30)
    assert kinds(view.take(opened(3), 0.0) + view.take(restored(3), 0.0)) == [Connected, Restored]


def test_what_was_never_up_is_not_interrupted() -> None:
    view = CallView()
    view.attempt(channel_id=30)
    assert view.server_gone(0.0) == []
    assert view.take(wanted(rejoin=False, error=None), 0.0) == [ServerWanted(rejoin=False)]
    assert not view.interrupted
    view.attempt(channel_id=30)
    assert view.take(opened(2), 0.0) == [Connected(30, "aead")]


@pytest.mark.parametrize("event", [opened(1), wanted(1)])
def test_the_outcome_of_an_overtaken_attempt_is_void(event: Any) -> None:
    view = connected_view()
    view.attempt(channel_id=30)
    assert view.take(event, 0.0) == []
    assert (view.session, view.interrupted) == (None, False)


def test_members_come_and_go_and_only_changes_are_told() -> None:
    view = connected_view()
    assert view.take(members(joined=[1, 2, 2]), 0.0) == [MemberJoined(1), MemberJoined(2)]
    assert view.take(members(joined=[2, 3], left=[1, 1, 9]), 0.0) == [MemberLeft(1), MemberJoined(3)]
    assert view.members == {2, 3}
    assert view.take(members(joined=[3], left=[3]), 0.0) == [MemberLeft(3), MemberJoined(3)]
    assert view.take(members(joined=[4], left=[4]), 0.0) == [MemberJoined(4)]
    assert view.members == {2, 3, 4}


def test_a_call_that_the_worker_had_ended_begins_afresh() -> None:
    view = connected_view()
    view.take(members(joined=[4, 3]), 0.0)
    view.take(interrupted(), 1.0)
    view.attempt(channel_id=30)
    assert view.begun_afresh() == [MemberLeft(3), MemberLeft(4)]
    assert view.members == frozenset()
    assert view.take(opened(2), 3.5) == [Connected(30, "aead"), Restored(2_500.0, resumed=False)]
    assert view.take(members(joined=[3]), 4.0) == [MemberJoined(3)]
    view.take(interrupted(2), 5.0)
    view.attempt(channel_id=30)
    assert view.take(opened(3), 6.0) == [Connected(30, "aead")], "the worker says what follows"


def test_who_speaks_is_told_each_time() -> None:
    view = connected_view()
    speaking = wire.Speaking(call=CALL, user=3, ssrc=77, flags=1)
    assert [view.take(speaking, 0.0) for _ in range(2)] == [[MemberSpeaking(3, 77, 1)]] * 2


def test_encryption_is_told_when_it_changes() -> None:
    view = connected_view()
    state = wire.EncryptionState(
        call=CALL, protocol_version=1, sending=True, epoch=2, privacy_code="42", members=[3, 4]
    )
    expected = EncryptionChanged(1, sending=True, privacy_code="42", members=frozenset({3, 4}))
    assert view.take(state, 0.0) == [expected]
    assert view.encryption == expected
    assert view.take(state, 0.0) == []


def test_the_end_is_told_once_and_nothing_after_it() -> None:
    view = connected_view()
    view.take(members(joined=[1]), 0.0)
    view.take(interrupted(), 0.0)
    reason = WorkerLostError("gone")
    assert view.close(reason) == [Closed(reason)]
    assert view.close(None) == []
    assert (view.session, view.interrupted, view.encryption, view.members) == (None, False, None, frozenset())
    for event in (opened(), restored(), members(joined=[2])):
        assert view.take(event, 0.0) == []
    assert view.server_gone(0.0) == []


_USERS = st.sets(st.integers(1, 3)).map(sorted)
_WIRE = st.one_of(
    st.builds(members, _USERS, _USERS),
    *(st.builds(make, st.integers(0, 3)) for make in (opened, interrupted, restored, wanted)),
)
_STORY = st.lists(st.one_of(_WIRE, st.sampled_from(["attempt", "gone", "afresh"])), max_size=30)


def _live(view: CallView, story: list[Any]) -> list[ConnectionEvent]:
    told: list[ConnectionEvent] = []
    for news in story:
        if news == "attempt":
            view.attempt(channel_id=30)
        elif news == "afresh":
            told += view.begun_afresh()
        elif news == "gone":
            told += view.server_gone(0.0)
        else:
            told += view.take(news, 0.0)
    return told


@given(_STORY)
def test_interruptions_and_their_ends_alternate_whatever_the_worker_says(story: list[Any]) -> None:
    view = CallView()
    told = kinds(_live(view, story))
    turns = [kind for kind in told if kind in {Interrupted, Restored}]
    assert turns == [Interrupted, Restored] * (len(turns) // 2) + [Interrupted] * (len(turns) % 2)
    assert view.was_connected == (Connected in told)
    assert view.was_connected or not turns


@given(_STORY)
def test_members_come_and_go_in_turn_whatever_the_worker_says(story: list[Any]) -> None:
    view = CallView()
    present: set[int] = set()
    for event in _live(view, story):
        if isinstance(event, MemberJoined):
            assert event.user_id not in present
            present.add(event.user_id)
        elif isinstance(event, MemberLeft):
            present.remove(event.user_id)
    assert view.members == present


@given(_STORY, _STORY)
def test_the_end_is_the_last_whatever_the_worker_says(before: list[Any], after: list[Any]) -> None:
    view = CallView()
    assert Closed not in kinds(_live(view, before))
    assert view.close(None) == [Closed(None)]
    assert _live(view, after) == []
    assert (view.session, view.interrupted, view.members) == (None, False, frozenset())
