"""What follows when a call is lost, refused or replaced; row by row, then at random."""

from __future__ import annotations

import random

import pytest

from voicepool.ipc.commands import WorkerSettings
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.callstates import TRANSITIONS, CallState, Happening
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import close_error
from voicepool.workers.lifecycle import (
    CallLifecycle,
    Connect,
    Disconnect,
    End,
    LifecyclePolicy,
    Step,
    WantServer,
    happening_of,
)
from voicepool.workers.statemachine import IllegalMoveError

POLICY = LifecyclePolicy(
    first_pause_s=1.0, longest_pause_s=8.0, attempts=5, await_server_s=30.0, grace_s=5.0, calm_s=60.0
)
REFUSED = CallError(ErrorCode.CONNECT_REFUSED, "nobody listens")


def lifecycle() -> CallLifecycle:
    return CallLifecycle(POLICY, jitter=lambda: 0.0)


def connected(now: float = 0.0) -> CallLifecycle:
    call = lifecycle()
    call.new_server(now)
    call.ready(now)
    return call


def test_joining() -> None:
    call = lifecycle()
    assert call.new_server(0.0) == [Disconnect(), Connect(resume=False)]
    assert call.ready(1.0) == []
    assert call.state is CallState.CONNECTED
    assert call.next_deadline is None


@pytest.mark.parametrize("code", [1006, 4004, 4006, 4014, 4015])
def test_what_goes_wrong_while_joining_is_told_at_once(code: int) -> None:
    call = lifecycle()
    call.new_server(0.0)
    error = close_error(code)
    assert call.failed(error, 1.0) == [Disconnect(), End(error)]
    assert call.state is CallState.ENDED


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1006, CallState.BACKING_OFF),
        (4015, CallState.BACKING_OFF),
        (4006, CallState.REJOINING),
        (4009, CallState.REJOINING),
        (4014, CallState.AWAITING_SERVER),
        (4021, CallState.ENDED),
    ],
)
def test_a_call_that_was_up_elsewhere_is_mended_from_the_first_failure_on(
    code: int, state: CallState
) -> None:
    call = lifecycle()
    assert call.new_server(0.0, takes_over=True) == [Disconnect(), Connect(resume=False)]
    call.failed(close_error(code), 1.0)
    assert call.state is state


def test_a_void_session_that_was_up_elsewhere_is_asked_for_anew_and_in_the_end_given_up() -> None:
    call = lifecycle()
    call.new_server(0.0, takes_over=True)
    error = close_error(4006)
    now = 0.0
    for _ in range(POLICY.attempts - 1):
        assert call.failed(error, now) == [Disconnect()]
        assert call.next_deadline is not None
        now = call.next_deadline
        assert call.tick(now) == [WantServer(rejoin=True, error=error)]
        call.new_server(now)
    assert call.failed(error, now) == [Disconnect(), End(error)]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 4015])
def test_a_lost_connection_is_resumed_at_once(code: int) -> None:
    call = connected()
    assert call.failed(close_error(code), 5.0) == [Connect(resume=True)]
    assert call.ready(5.1) == []
    assert call.state is CallState.CONNECTED


@pytest.mark.parametrize("code", [1006, 4006, 4009, 4015])
def test_a_resume_that_fails_is_followed_by_an_identify_at_once(code: int) -> None:
    call = connected()
    call.failed(close_error(1006), 5.0)
    assert call.failed(close_error(code), 6.0) == [Disconnect()]
    assert call.next_deadline == 6.0
    assert call.tick(6.0) == [Connect(resume=False)]
    call.ready(6.5)
    assert call.state is CallState.CONNECTED


def test_a_connection_of_no_use_is_not_resumed() -> None:
    call = connected()
    assert call.broken(REFUSED, 5.0) == [Disconnect()]
    assert call.tick(5.0) == [Connect(resume=False)]


def test_identifying_pauses_longer_each_time_and_gives_up() -> None:
    call = connected()
    call.failed(REFUSED, 0.0)
    now, pauses = 0.0, []
    steps = call.failed(REFUSED, now)
    while steps == [Disconnect()]:
        assert call.next_deadline is not None
        pauses.append(call.next_deadline - now)
        now = call.next_deadline
        assert call.tick(now) == [Connect(resume=False)]
        steps = call.failed(REFUSED, now)
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert steps == [Disconnect(), End(REFUSED)]
    assert call.state is CallState.ENDED


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_jitter_shortens_a_pause_by_half_at_most(draw: float) -> None:
    call = CallLifecycle(POLICY, jitter=lambda: draw)
    call.new_server(0.0)
    call.ready(0.0)
    call.failed(REFUSED, 0.0)
    call.failed(REFUSED, 0.0)
    call.tick(0.0)
    call.failed(REFUSED, 0.0)
    assert call.next_deadline is not None
    assert 0.5 <= call.next_deadline <= 1.0


def test_a_calm_connection_makes_the_attempts_start_over() -> None:
    call = connected()
    now = 0.0
    for _ in range(3 * POLICY.attempts):
        call.failed(REFUSED, now)
        call.failed(REFUSED, now)
        call.tick(now)
        call.failed(REFUSED, now)
        assert call.next_deadline is not None
        now = call.next_deadline
        call.tick(now)
        call.ready(now)
        now += POLICY.calm_s
    assert call.state is CallState.CONNECTED


def test_a_connection_that_is_resumed_over_and_over_is_given_up() -> None:
    call = connected()
    for number in range(1, POLICY.attempts):
        assert call.failed(REFUSED, float(number)) == [Connect(resume=True)]
        call.ready(number + 0.5)
    assert call.failed(REFUSED, 99.0 - POLICY.calm_s) == [Disconnect(), End(REFUSED)]
    calm = connected()
    for number in range(3 * POLICY.attempts):
        assert calm.failed(REFUSED, number * 100.0 + 60.0) == [Connect(resume=True)]
        calm.ready(number * 100.0 + 60.0)


def test_a_connection_that_breaks_as_soon_as_it_stands_is_given_up() -> None:
    call = connected()
    now, steps = 0.0, call.failed(REFUSED, 0.0)
    for _ in range(10 * POLICY.attempts):
        if any(isinstance(step, End) for step in steps):
            break
        if call.state is CallState.BACKING_OFF:
            assert call.next_deadline is not None
            now = call.next_deadline
            call.tick(now)
        elif call.state is CallState.IDENTIFYING and not now % 2:
            call.ready(now)
        now += 1.0
        steps = call.failed(REFUSED, now)
    assert call.state is CallState.ENDED


# A call that was up, with a server that is not yet.


def test_a_server_that_is_not_up_yet_is_tried_again() -> None:
    call = connected()
    call.new_server(5.0)
    assert call.failed(REFUSED, 5.0) == [Disconnect()]
    assert call.next_deadline == 6.0
    assert call.tick(6.0) == [Connect(resume=False)]
    assert call.failed(CallError(ErrorCode.CONNECT_TIMEOUT, "slow"), 9.0) == [Disconnect()]
    assert call.next_deadline == 11.0
    call.tick(11.0)
    call.ready(12.0)
    assert call.state is CallState.CONNECTED


@pytest.mark.parametrize("code", [1001, 1006, 4015])
def test_a_close_while_moving_is_tried_again(code: int) -> None:
    call = connected()
    call.new_server(5.0)
    assert call.failed(close_error(code), 5.0) == [Disconnect()]
    assert call.state is CallState.BACKING_OFF


@pytest.mark.parametrize("code", [4004, 4016, 4017, 4021])
def test_a_refusal_while_moving_is_final(code: int) -> None:
    call = connected()
    call.new_server(5.0)
    error = close_error(code)
    assert call.failed(error, 5.0) == [Disconnect(), End(error)]


def test_newer_credentials_have_all_attempts_to_themselves() -> None:
    call = connected()
    for _ in range(3):
        call.new_server(5.0)
        for _ in range(POLICY.attempts - 1):
            assert call.failed(REFUSED, 5.0) == [Disconnect()]
            assert call.next_deadline is not None
            call.tick(call.next_deadline)
    assert call.failed(REFUSED, 6.0) == [Disconnect(), End(REFUSED)]


def test_a_call_that_was_never_up_is_not_mended_however_often_it_is_opened() -> None:
    call = lifecycle()
    for _ in range(3):
        call.new_server(5.0)
    assert call.failed(REFUSED, 5.0) == [Disconnect(), End(REFUSED)]


def test_the_longest_time_until_an_answer_is_what_the_session_says() -> None:
    """Every attempt takes as long as it may, and at the end the session is void and nobody joins again."""
    connect_timeout_s = 15.0
    call = connected()
    now = 0.0
    call.new_server(now)
    for _ in range(POLICY.attempts - 1):
        now += connect_timeout_s
        call.failed(REFUSED, now)
        assert call.next_deadline is not None
        now = call.next_deadline
        call.tick(now)
    now += connect_timeout_s
    call.failed(close_error(4006), now)
    while call.state is not CallState.ENDED:
        assert call.next_deadline is not None
        now = call.next_deadline
        call.tick(now)
    longest_s = POLICY.attempts * (connect_timeout_s + POLICY.longest_pause_s) + POLICY.await_server_s
    assert longest_s / 2 < now <= longest_s


# What only the main gateway can mend.


@pytest.mark.parametrize("code", [4006, 4009, 4011])
@pytest.mark.parametrize("moving", [False, True])
def test_a_void_session_asks_the_bot_to_join_again(code: int, *, moving: bool) -> None:
    call = connected()
    if moving:
        call.new_server(5.0)
    error = close_error(code)
    assert call.failed(error, 5.0) == [Disconnect()]
    assert (call.state, call.next_deadline) == (CallState.REJOINING, 5.0)
    assert call.tick(5.0) == [WantServer(rejoin=True, error=error)]
    assert call.tick(5.0 + POLICY.await_server_s - 0.1) == []
    assert call.tick(5.0 + POLICY.await_server_s) == [End(error)]
    assert call.new_server(99.0) == [Disconnect(), Connect(resume=False)]


def test_sessions_that_are_void_each_time_are_asked_for_ever_more_slowly_and_given_up() -> None:
    call = connected()
    error = close_error(4006)
    now, pauses = 0.0, []
    call.new_server(now)
    steps = call.failed(error, now)
    while steps == [Disconnect()]:
        assert call.next_deadline is not None
        pauses.append(call.next_deadline - now)
        now = call.next_deadline
        assert call.tick(now) == [WantServer(rejoin=True, error=error)]
        call.new_server(now)
        steps = call.failed(error, now)
    assert pauses == [0.0, 1.0, 2.0, 4.0]
    assert steps == [Disconnect(), End(error)]


def test_sessions_that_are_void_as_soon_as_they_stand_are_given_up_too() -> None:
    call = connected()
    for _ in range(POLICY.attempts - 1):
        assert call.failed(close_error(4006), 1.0) == [Disconnect()]
        call.new_server(1.0)
        call.ready(1.0)
    error = close_error(4009)
    assert call.failed(error, 2.0) == [Disconnect(), End(error)]


def test_a_calm_session_makes_the_void_ones_forgotten() -> None:
    call = connected()
    now = 0.0
    for _ in range(3 * POLICY.attempts):
        now += POLICY.calm_s
        assert call.failed(close_error(4006), now) == [Disconnect()]
        assert call.next_deadline == now
        call.new_server(now)
        call.ready(now)


def test_being_moved_about_is_no_failure() -> None:
    call = connected()
    for _ in range(3 * POLICY.attempts):
        assert call.failed(close_error(4014), 1.0) != []
        call.new_server(1.0)
        call.ready(1.0)
        call.new_server(1.0)
        call.ready(1.0)
    assert call.state is CallState.CONNECTED


@pytest.mark.parametrize("code", [4014, 4022])
def test_put_out_waits_a_moment_for_the_main_gateway(code: int) -> None:
    call = connected()
    error = close_error(code)
    assert call.failed(error, 5.0) == [Disconnect(), WantServer(rejoin=False, error=error)]
    assert call.tick(5.0 + POLICY.grace_s - 0.1) == []
    assert call.tick(5.0 + POLICY.grace_s) == [End(error)]


@pytest.mark.parametrize("code", [4004, 4016, 4017, 4021])
def test_a_refusal_is_final(code: int) -> None:
    call = connected()
    error = close_error(code)
    assert call.failed(error, 5.0) == [Disconnect(), End(error)]


def test_a_certificate_that_goes_bad_is_final() -> None:
    call = connected()
    call.failed(REFUSED, 1.0)
    error = CallError(ErrorCode.CERTIFICATE, "expired")
    assert call.failed(error, 1.0) == [Disconnect(), End(error)]


@pytest.mark.parametrize(
    "before",
    [
        CallState.IDENTIFYING,
        CallState.RESUMING,
        CallState.CONNECTED,
        CallState.BACKING_OFF,
        CallState.REJOINING,
        CallState.AWAITING_SERVER,
    ],
)
def test_a_new_server_wins_over_whatever_is_under_way(before: CallState) -> None:
    call = connected()
    match before:
        case CallState.IDENTIFYING:
            call.new_server(1.0)
        case CallState.RESUMING:
            call.failed(REFUSED, 1.0)
        case CallState.BACKING_OFF:
            call.failed(REFUSED, 1.0)
            call.failed(REFUSED, 1.0)
        case CallState.REJOINING:
            call.failed(close_error(4006), 1.0)
        case CallState.AWAITING_SERVER:
            call.server_gone(1.0)
        case _:
            pass
    assert call.state is before
    assert call.new_server(2.0) == [Disconnect(), Connect(resume=False)]
    assert call.next_deadline is None


def test_a_server_that_is_gone_is_let_go_and_the_next_awaited() -> None:
    call = connected()
    assert call.server_gone(1.0) == [Disconnect(), WantServer(rejoin=False)]
    assert call.server_gone(2.0) == []
    assert call.tick(2.0 + POLICY.await_server_s - 0.1) == []
    (end,) = call.tick(2.0 + POLICY.await_server_s)
    assert isinstance(end, End)
    assert end.error is not None
    assert end.error.code is ErrorCode.CONNECT_TIMEOUT


def test_a_server_that_is_gone_while_the_bot_is_about_to_join_again_is_told_all_the_same() -> None:
    call = connected()
    call.failed(close_error(4006), 1.0)
    assert call.server_gone(1.0) == [Disconnect(), WantServer(rejoin=False)]


def test_a_server_that_is_gone_is_nothing_to_a_call_that_is_over() -> None:
    call = connected()
    call.close(1.0)
    assert call.server_gone(2.0) == []
    assert call.state is CallState.ENDED


def test_leaving_ends_it_from_everywhere_and_only_once() -> None:
    call = connected()
    assert call.close(1.0) == [Disconnect(), End(None)]
    assert call.close(2.0) == []
    assert call.tick(99.0) == []


def test_what_cannot_happen_is_told_with_the_last_moves() -> None:
    call = connected()
    with pytest.raises(IllegalMoveError, match=r"ready.*connected.*new_server"):
        call.ready(1.0)


def test_errors_without_a_close_code_are_losses_unless_final() -> None:
    assert happening_of(REFUSED) is Happening.LOST
    assert happening_of(CallError(ErrorCode.CONNECT_TIMEOUT, "late")) is Happening.LOST
    assert happening_of(CallError(ErrorCode.NO_COMMON_MODE, "none")) is Happening.REFUSED


def test_every_state_can_be_left_and_every_row_reached() -> None:
    leaving = {state for state, _ in TRANSITIONS}
    assert leaving == set(CallState)
    assert set(TRANSITIONS.values()) == set(CallState)


def test_the_policy_is_what_the_settings_say() -> None:
    settings = WorkerSettings(
        reconnect_first_pause_s=1.0,
        reconnect_longest_pause_s=2.0,
        reconnect_attempts=3,
        server_wait_s=4.0,
        removal_grace_s=5.0,
    )
    assert LifecyclePolicy.of(settings) == LifecyclePolicy(
        first_pause_s=1.0, longest_pause_s=2.0, attempts=3, await_server_s=4.0, grace_s=5.0
    )
    assert LifecyclePolicy.of(WorkerSettings()) == LifecyclePolicy()


ERRORS = [close_error(code) for code in (1006, 4004, 4006, 4009, 4014, 4015, 4017, 4021, 4022)] + [REFUSED]


@pytest.mark.parametrize("first", range(0, 1_000, 100))
def test_a_random_life_breaks_no_invariant(first: int) -> None:
    """Whatever happens: no two connections, nothing after the end, and never stuck without a deadline."""
    for seed in range(first, first + 100):
        live(seed)


def live(seed: int) -> None:  # noqa: C901  # one case a happening
    draw = random.Random(seed)
    call = CallLifecycle(POLICY, jitter=draw.random)
    now, connections, ended = 0.0, 0, False

    def carry_out(steps: list[Step]) -> None:
        nonlocal connections, ended
        for step in steps:
            assert not ended, "nothing follows the end"
            match step:
                case Disconnect():
                    connections = 0
                case Connect(resume=resume):
                    assert connections == resume, (
                        "a resume keeps the connection, all else lets go of it first"
                    )
                    connections = 1
                    assert (call.state is CallState.RESUMING) is resume
                case End():
                    assert connections == 0
                    ended = True
                case WantServer():
                    assert call.state is CallState.AWAITING_SERVER

    carry_out(call.new_server(now))
    for _ in range(60):
        if ended:
            break
        now += draw.random() * 3
        match draw.randrange(7):
            case 0:
                carry_out(call.new_server(now))
            case 1:
                carry_out(call.server_gone(now))
            case 2 | 3 if connections and call.state is not CallState.CONNECTED:
                carry_out(call.ready(now))
            case 4 | 5 if connections:
                carry_out(call.failed(draw.choice(ERRORS), now))
            case _:
                carry_out(call.tick(now))
        if not ended:
            waits = call.state in {CallState.BACKING_OFF, CallState.REJOINING, CallState.AWAITING_SERVER}
            assert (call.next_deadline is not None) is waits
            assert (connections == 1) is (not waits)
    if not ended:
        carry_out(call.close(now))
    assert ended
