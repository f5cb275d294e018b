from __future__ import annotations

import json
from typing import Any

import pytest

from voicepool.testing import gateway_hub
from voicepool.testing.gateway_changes import Changes
from voicepool.testing.gateway_hub import Event, GatewayHub
from voicepool.testing.gateway_protocol import CloseCode, Identify, Intents, ProtocolError, Resume
from voicepool.testing.gateway_session import GatewaySession
from voicepool.testing.guild_model import BotUser, Guild, make_guild
from voicepool.testing.guild_world import World


class Stage:
    """A hub with two bots and eight guilds."""

    def __init__(self) -> None:
        self.world = World(
            [BotUser(name="a"), BotUser(name="b", allows_privileged_intents=False)],
            [make_guild(f"g{index}") for index in range(8)],
        )
        self.now = 5.0
        self.hub = GatewayHub(self.world, Changes(), lambda: self.now)

    @property
    def guild(self) -> Guild:
        return next(iter(self.world.guilds.values()))

    def identify(self, bot: int = 0, intents: int = 1 << 7, **more: Any) -> GatewaySession:
        return self.hub.identify(Identify(token=self.world.bots[bot].token, intents=intents, **more))

    def event(self, name: str = "E", **more: Any) -> Event:
        return Event(name=name, data=more.pop("data", {}), guild_id=self.guild.id, **more)


def heard(session: GatewaySession) -> list[str]:
    return [json.loads(session.event_after(seq) or b"")["t"] for seq in range(session.seq)]


def refused(stage: Stage, **identify: Any) -> CloseCode:
    with pytest.raises(ProtocolError) as caught:
        stage.identify(**identify)
    return caught.value.code


def test_identify_records_what_was_asked_for() -> None:
    stage = Stage()
    session = stage.identify(intents=1, shard=(1, 2), properties={"os": "x"})
    assert (session.intents, session.shard, session.properties) == (Intents.GUILDS, (1, 2), {"os": "x"})
    assert stage.hub.sessions == (session,)
    assert stage.hub.identifies == 1
    assert len(session.session_id) == 32


def test_identify_refuses_with_the_documented_codes() -> None:
    stage = Stage()
    assert refused(stage, shard=(2, 2)) is CloseCode.INVALID_SHARD
    assert refused(stage, shard=(-1, 2)) is CloseCode.INVALID_SHARD
    assert refused(stage, shard=(0, 0)) is CloseCode.INVALID_SHARD
    assert refused(stage, intents=1 << 30) is CloseCode.INVALID_INTENTS
    assert refused(stage, bot=1, intents=1 << 1) is CloseCode.DISALLOWED_INTENTS
    with pytest.raises(ProtocolError) as caught:
        stage.hub.identify(Identify(token="wrong", intents=1))
    assert caught.value.code is CloseCode.AUTHENTICATION_FAILED
    assert stage.hub.sessions == ()


def test_a_shard_with_too_many_guilds_must_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(gateway_hub, "_MAX_GUILDS_A_SHARD", 7)
    assert refused(stage) is CloseCode.SHARDING_REQUIRED


def test_resume_finds_only_ones_own_session() -> None:
    stage = Stage()
    session = stage.identify()
    mine, other = (bot.token for bot in stage.world.bots)
    assert stage.hub.resume(Resume(mine, session.session_id, 0)) is session
    assert stage.hub.resume(Resume(other, session.session_id, 0)) is None
    assert stage.hub.resume(Resume(mine, "gone", 0)) is None
    with pytest.raises(ProtocolError):
        stage.hub.resume(Resume("wrong", session.session_id, 0))


def test_events_go_by_intent_membership_and_shard() -> None:
    stage = Stage()
    with_voice, without = stage.identify(), stage.identify(intents=1)
    guild = stage.guild
    mine = (guild.id >> 22) % 2
    right_shard, wrong_shard = stage.identify(shard=(mine, 2)), stage.identify(shard=(1 - mine, 2))
    outsider = stage.identify(bot=1)
    del guild.members[outsider.bot.id]
    stage.hub.publish(stage.event(intent=Intents.GUILD_VOICE_STATES))
    assert [heard(session) for session in (with_voice, right_shard)] == [["E"], ["E"]]
    assert [heard(session) for session in (without, wrong_shard, outsider)] == [[], [], []]


def test_an_event_can_go_to_one_session_only() -> None:
    stage = Stage()
    first, second = stage.identify(), stage.identify()
    stage.hub.publish(stage.event(session_id=second.session_id))
    assert (heard(first), heard(second)) == ([], ["E"])


def test_data_may_depend_on_who_hears_it() -> None:
    stage = Stage()
    sessions = [stage.identify(bot=0), stage.identify(bot=1)]
    stage.hub.publish(stage.event(data=lambda session: {"to": session.bot.name}))
    assert [json.loads(session.event_after(0) or b"")["d"] for session in sessions] == [
        {"to": "a"},
        {"to": "b"},
    ]


def test_an_ended_session_hears_nothing_and_is_reported_once() -> None:
    stage = Stage()
    session = stage.identify()
    ended: list[GatewaySession] = []
    stage.hub.on_session_end = ended.append
    for _ in range(2):
        stage.hub.end_session(session)
    stage.hub.publish(stage.event())
    assert ended == [session]
    assert not session.alive
    assert heard(session) == []


def test_withheld_events_come_in_order_when_released() -> None:
    stage = Stage()
    session = stage.identify()
    held = stage.hub.withhold("A", guild_id=None, user_id=None)
    for name in ("A", "B", "A"):
        stage.hub.publish(stage.event(name))
    assert heard(session) == ["B"]
    assert len(held) == len(held.events) == 2
    held.release()
    held.release()
    stage.hub.publish(stage.event("A"))
    assert heard(session) == ["B", "A", "A", "A"]


def test_withholding_can_be_for_one_guild_or_one_user() -> None:
    stage = Stage()
    session = stage.identify()
    stage.hub.withhold("A", guild_id=1, user_id=None)
    stage.hub.withhold("A", guild_id=stage.guild.id, user_id=7)
    stage.hub.publish(stage.event("A", user_id=8))
    assert heard(session) == ["A"]
    stage.hub.publish(stage.event("A", user_id=7))
    assert heard(session) == ["A"]


def test_discarded_events_never_come_and_the_context_manager_releases() -> None:
    stage = Stage()
    session = stage.identify()
    held = stage.hub.withhold("A", guild_id=None, user_id=None)
    stage.hub.publish(stage.event("A"))
    held.discard()
    assert heard(session) == []
    with stage.hub.withhold("A", guild_id=None, user_id=None):
        stage.hub.publish(stage.event("A"))
        assert heard(session) == []
    assert heard(session) == ["A"]


def test_violations_are_recorded_with_time_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_hub, "_MAX_KEPT", 2)
    stage = Stage()
    for number in range(3):
        stage.hub.violation(f"reason {number}", code=CloseCode.DECODE_ERROR, bot_id=4)
    assert [violation.reason for violation in stage.hub.violations] == ["reason 1", "reason 2"]
    last = stage.hub.violations[-1]
    assert (last.at_s, last.bot_id, last.close_code) == (5.0, 4, CloseCode.DECODE_ERROR)


def test_the_number_of_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_hub, "_MAX_SESSIONS", 2)
    stage = Stage()
    first, second = stage.identify(), stage.identify()
    first.connected = True
    third = stage.identify()
    assert stage.hub.sessions == (first, third)
    assert not second.alive
    third.connected = True
    assert refused(stage) is CloseCode.UNKNOWN_ERROR


def test_no_secret_is_in_the_repr_of_an_event() -> None:
    event = Event(name="E", data={"token": "s3cret"}, guild_id=1, session_id="s3cret")
    assert "s3cret" not in repr(event)
