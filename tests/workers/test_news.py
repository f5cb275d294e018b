"""What the bot hears of a call, and in which order."""

from __future__ import annotations

from typing import Any

from tests.fakes.clock import ManualClock
from tests.workers.scripted_connection import open_command
from voicepool.ipc.commands import OpenCall
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    CallStats,
    Event,
    MembersChanged,
    ServerWanted,
)
from voicepool.ipc.ids import CallId
from voicepool.workers.connection import Transport
from voicepool.workers.dave.events import DaveFailed, DaveRecovering, EncryptionChanged, GroupChanged
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import ClientsConnected, SpeakingUpdate
from voicepool.workers.gateway.opcodes import SpeakingFlag
from voicepool.workers.news import CallNews
from voicepool.workers.transport.modes import TransportMode

CALL = CallId("call")
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)
TRANSPORT = Transport(
    TransportMode("aead_aes256_gcm_rtpsize"), 7, lambda header, frame: header + frame, lambda _: None
)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list[Any] = []
        self.news = CallNews(CALL, report=self.events.append, clock=self.clock)

    def opens(self, generation: int = 1) -> OpenCall:
        command = open_command(request=generation, generation=generation)
        self.news.generation = generation
        self.news.begins(command)
        return command

    def up(self, answers: OpenCall | None = None, *, resumed: bool = False) -> None:
        self.news.up(TRANSPORT, answers=answers, resumed=resumed)

    def take(self) -> list[Event]:
        events = list(self.events)
        self.events.clear()
        return events


def connected() -> Bench:
    bench = Bench()
    bench.up(bench.opens())
    bench.take()
    return bench


def test_an_answer_is_no_restoration() -> None:
    bench = Bench()
    bench.up(bench.opens(4))
    [opened] = bench.take()
    assert isinstance(opened, CallOpened)
    assert (opened.request, opened.generation, opened.ssrc) == (4, 4, 7)


def test_an_interruption_is_told_once_and_so_is_its_end() -> None:
    bench = connected()
    bench.news.interrupted(LOST)
    bench.news.interrupted(CallError(ErrorCode.CONNECT_REFUSED, "nobody"))
    assert bench.take() == [CallInterrupted(call=CALL, generation=1, error=LOST.info)]
    bench.up()
    assert [type(event) for event in bench.take()] == [CallRestored]
    bench.news.interrupted(LOST)
    assert [type(event) for event in bench.take()] == [CallInterrupted]


def test_a_gap_lasts_from_the_last_sound_to_the_next() -> None:
    bench = connected()
    bench.news.interrupted(LOST)
    bench.clock.advance(1.0)
    bench.news.down()
    bench.clock.advance(2.0)
    bench.news.down()
    bench.clock.advance(3.0)
    bench.up()
    assert bench.take()[1:] == [
        CallRestored(
            call=CALL, generation=1, gap_ms=5_000.0, resumed=False, mode=TRANSPORT.mode.value, ssrc=7
        )
    ]


def test_a_resume_has_no_gap() -> None:
    bench = connected()
    bench.news.interrupted(LOST)
    bench.clock.advance(1.0)
    bench.up(resumed=True)
    restored = bench.take()[-1]
    assert isinstance(restored, CallRestored)
    assert (restored.gap_ms, restored.resumed) == (0.0, True)


def test_after_an_interruption_the_answer_comes_first_then_its_end_then_the_members() -> None:
    bench = connected()
    bench.news.interrupted(LOST)
    bench.news.wants_server(LOST, rejoin=True)
    command = bench.opens(2)
    bench.news.member(ClientsConnected((11,)))
    bench.up(command)
    events = bench.take()
    assert events[1] == ServerWanted(call=CALL, generation=1, rejoin=True, error=LOST.info)
    assert [type(event) for event in events[2:]] == [CallOpened, CallRestored, MembersChanged]


def test_what_the_bot_said_itself_is_not_repeated_but_its_end_is_told() -> None:
    bench = connected()
    bench.news.interrupted(None)
    bench.news.wants_server(None, rejoin=False)
    bench.news.interrupted(LOST)
    bench.up(bench.opens(2))
    assert [type(event) for event in bench.take()] == [ServerWanted, CallOpened, CallRestored]


def test_each_mended_interruption_counts_and_a_wish_of_the_bots_does_not() -> None:
    bench = connected()
    bench.up(bench.opens(2))
    assert bench.news.reconnects == 0
    bench.news.interrupted(LOST)
    bench.news.interrupted(LOST)
    bench.up(resumed=True)
    bench.news.interrupted(LOST)
    bench.up(bench.opens(3))
    assert bench.news.reconnects == 2


def test_the_encryption_is_counted_in_epochs_and_failures() -> None:
    bench = connected()
    group = GroupChanged(4, "1" * 30, frozenset({3, 11}), frozenset({11}), frozenset())
    bench.news.dave(EncryptionChanged(1, is_sending=True))
    bench.news.dave(group)
    bench.news.dave(GroupChanged(None, None, frozenset(), frozenset(), frozenset({11})))
    bench.news.dave(group)
    bench.news.dave(DaveRecovering(transition_id=1, reason="a bad commit", attempt=1))
    bench.news.dave(DaveFailed("a bad welcome"))
    stats = bench.news.counted(CallStats(call=CALL), frames_failed=3)
    assert (stats.dave_version, stats.dave_epochs, stats.dave_failures) == (1, 2, 5)
    bench.opens(2)
    stats = bench.news.counted(stats, frames_failed=3)
    assert (stats.dave_version, stats.dave_epochs) == (0, 2), "counted over all voice sessions"


def test_a_flood_of_members_is_held_back_until_there_is_time() -> None:
    bench = connected()
    for flags in range(1_000):
        bench.news.member(SpeakingUpdate(11, 7, SpeakingFlag(flags % 8)))
    assert len(bench.take()) <= 51
    assert bench.news.tell_members_at is not None
    bench.clock.advance(1.0)
    bench.news.tell_members()
    assert [getattr(event, "flags", None) for event in bench.take()] == [999 % 8]
    assert bench.news.tell_members_at is None


def test_the_end_has_its_reason_and_generation() -> None:
    bench = connected()
    bench.news.closed(LOST)
    assert bench.take() == [CallClosed(call=CALL, generation=1, error=LOST.info)]


def test_what_the_encryption_is_busy_with_is_for_the_log() -> None:
    bench = connected()
    bench.news.dave(DaveRecovering(transition_id=1, reason="a bad commit", attempt=1))
    assert bench.take() == []
