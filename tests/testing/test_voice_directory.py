from __future__ import annotations

import pytest

from tests.testing.test_voice_session import Wire
from voicepool.testing import voice_directory
from voicepool.testing.voice_directory import VoiceDirectory
from voicepool.testing.voice_grant import VoiceGrant
from voicepool.testing.voice_messages import Identify, Refusal, Resume
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_session_view import SessionState
from voicepool.testing.voice_settings import VoiceServerSettings


class House:
    def __init__(self) -> None:
        self.ended: list[VoiceSession] = []
        self.directory = VoiceDirectory(VoiceServerSettings(), lambda _: None, self.ended.append)

    def join(self, guild: int, channel: int, user: int) -> tuple[VoiceSession, Wire]:
        return self.identify(self.directory.grant("127.0.0.1:1", guild, channel, user, "s"))

    def identify(self, grant: VoiceGrant) -> tuple[VoiceSession, Wire]:
        wire = Wire()
        session = self.directory.identify(
            Identify(grant.guild_id, grant.user_id, grant.session_id, grant.token, 0), wire
        )
        self.directory.introduce(session)
        return session, wire


def ops(wire: Wire) -> list[tuple[int, object]]:
    return [(message["op"], message["d"].get("user_ids") or message["d"]["user_id"]) for message in wire.sent]


def test_only_members_of_the_same_channel_are_introduced() -> None:
    house = House()
    first, first_wire = house.join(1, 2, 3)
    _, elsewhere = house.join(1, 9, 4)
    _, other_guild = house.join(5, 2, 4)
    first.speak(1)
    second, second_wire = house.join(1, 2, 6)
    assert ops(first_wire) == [(11, ["6"])]
    assert ops(second_wire) == [(11, ["3"]), (5, "3")]
    house.directory.spread_speaking(second)
    second.end()
    assert ops(first_wire)[1:] == [(5, "6"), (13, "6")]
    assert not elsewhere.sent
    assert not other_guild.sent


def test_a_move_ends_the_old_session_before_the_new_one_is_there() -> None:
    house = House()
    old, old_wire = house.join(1, 2, 3)
    _, neighbour = house.join(1, 2, 4)
    neighbour.sent.clear()
    new, _ = house.join(1, 9, 3)
    assert old_wire.closes == [4014]
    assert old.state is SessionState.ENDED
    assert ops(neighbour) == [(13, "3")]
    assert house.directory.newest(1, 3) is new
    assert house.directory.by_ssrc(old.ssrc) is None
    assert house.directory.by_ssrc(new.ssrc) is new
    assert set(house.directory.live()) >= {new}
    assert house.ended == [old]


def test_a_session_can_be_resumed_only_with_its_own_grant() -> None:
    house = House()
    session, _ = house.join(1, 2, 3)
    grant = session.grant
    found, missed = house.directory.resume(Resume(1, grant.session_id, grant.token, -1), Wire())
    assert (found, missed) == (session, [])
    fresh = house.directory.grant("127.0.0.1:1", 1, 2, 3, "s")
    with pytest.raises(Refusal, match="4006"):
        house.directory.resume(Resume(1, fresh.session_id, fresh.token, -1), Wire())


def test_expelling_voids_the_grant_and_ends_the_session() -> None:
    house = House()
    session, wire = house.join(1, 2, 3)
    house.directory.expel(1, 3, 4022)
    house.directory.expel(1, 3, 4022)
    assert wire.closes == [4022]
    assert session.state is SessionState.ENDED
    with pytest.raises(Refusal, match="4011"):
        house.identify(session.grant)


def test_ended_sessions_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_directory, "MAX_ENDED_SESSIONS", 10)
    house = House()
    live, _ = house.join(99, 2, 3)
    for guild in range(50):
        session, _ = house.join(guild, 2, 3)
        session.end()
    assert len(house.directory.sessions) <= 12
    assert live in house.directory.sessions
    assert house.directory.newest(99) is live
    assert house.directory.newest(0) is None
    assert house.directory.newest(49) is session
    assert not [key for key in house.directory._channels if key[0] != 99]
