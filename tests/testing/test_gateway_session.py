from __future__ import annotations

import json

import msgspec
import pytest

from voicepool.testing.gateway_protocol import CloseCode, Intents, ProtocolError
from voicepool.testing.gateway_session import MAX_LOGGED_EVENTS, GatewaySession, ReplayLostError
from voicepool.testing.guild_model import BotUser


def make_session(shard: tuple[int, int] = (0, 1)) -> GatewaySession:
    return GatewaySession("s3cret", BotUser(name="bot"), intents=Intents.GUILDS, shard=shard)


def dispatch(session: GatewaySession, count: int) -> None:
    for _ in range(count):
        session.dispatch("EVENT", msgspec.Raw(b"{}"))


def test_events_are_numbered_from_one_and_can_be_followed() -> None:
    session = make_session()
    assert session.event_after(0) is None
    dispatch(session, 3)
    assert session.seq == 3
    seen = [json.loads(session.event_after(seq) or b"")["s"] for seq in range(3)]
    assert seen == [1, 2, 3]
    assert session.event_after(3) is None


def test_replay_is_bounded() -> None:
    session = make_session()
    dispatch(session, MAX_LOGGED_EVENTS + 2)
    with pytest.raises(ReplayLostError):
        session.event_after(1)
    assert json.loads(session.event_after(2) or b"")["s"] == 3
    with pytest.raises(ReplayLostError):
        session.check_resume(0)
    session.check_resume(2)


def test_resume_from_the_future_is_an_invalid_sequence() -> None:
    session = make_session()
    dispatch(session, 2)
    session.check_resume(2)
    for seq in (3, -1):
        with pytest.raises(ProtocolError) as caught:
            session.check_resume(seq)
        assert caught.value.code is CloseCode.INVALID_SEQ


def test_a_shard_hears_only_of_its_guilds() -> None:
    session = make_session(shard=(1, 4))
    assert session.hears_of(5 << 22)
    assert not session.hears_of(4 << 22)


def test_repr_tells_the_state_and_no_secret() -> None:
    session = make_session()
    assert "resumable" in repr(session)
    session.connected = True
    assert "connected" in repr(session)
    session.connected = session.alive = False
    assert "dead" in repr(session)
    assert "s3cret" not in repr(session)
    assert session.bot.token not in repr(session)
