"""The table of a call's life: complete where it must be, and without dead ends."""

from __future__ import annotations

from voicepool.workers.callstates import TRANSITIONS, CallState, Happening

ALIVE = set(CallState) - {CallState.ENDED}
CONNECTING = {CallState.IDENTIFYING, CallState.RESUMING, CallState.CONNECTED}
WAITING = {CallState.BACKING_OFF, CallState.REJOINING, CallState.AWAITING_SERVER}


def test_the_bot_may_act_in_every_state() -> None:
    for state in CallState:
        for happening in (Happening.NEW_SERVER, Happening.SERVER_GONE, Happening.CLOSE):
            assert (state, happening) in TRANSITIONS, (state, happening)
        assert TRANSITIONS[state, Happening.NEW_SERVER] is CallState.IDENTIFYING
        assert TRANSITIONS[state, Happening.CLOSE] is CallState.ENDED


def test_whatever_a_connection_can_end_with_has_a_row() -> None:
    failures = {Happening.LOST, Happening.SESSION_VOID, Happening.PUT_OUT, Happening.REFUSED}
    for state in CONNECTING:
        for failure in failures:
            assert (state, failure) in TRANSITIONS, (state, failure)
    for state in ALIVE - CONNECTING:
        for failure in failures | {Happening.READY}:
            assert (state, failure) not in TRANSITIONS, "there is no connection that could"


def test_whoever_waits_has_an_end_to_it_and_nobody_else() -> None:
    assert {state for state, happening in TRANSITIONS if happening is Happening.TIME} == WAITING


def test_every_state_is_reached() -> None:
    assert set(TRANSITIONS.values()) == set(CallState)
