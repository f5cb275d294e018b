from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from voicepool.testing import gateway_voice
from voicepool.testing.gateway_changes import Changes
from voicepool.testing.gateway_hub import GatewayHub
from voicepool.testing.gateway_protocol import Identify, UpdateVoiceState
from voicepool.testing.gateway_voice import NowhereVoiceServer, Op4Outcome, VoiceDesk
from voicepool.testing.guild_model import BotUser, Overwrite, Permission, Role, User, make_guild
from voicepool.testing.guild_world import VoiceState, World

if TYPE_CHECKING:
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.guild_model import Guild


@dataclass
class Grant:
    endpoint: str
    token: str


class RecordingVoiceServer:
    """Writes down what it is asked for."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.calls: list[tuple[Any, ...]] = []

    def grant(self, *, guild_id: int, channel_id: int, user_id: int, session_id: str) -> Grant:
        self.calls.append(("grant", guild_id, channel_id, user_id, session_id))
        return Grant(self.endpoint, f"token-{len(self.calls)}")

    def revoke(self, *, guild_id: int, user_id: int, code: int) -> None:
        self.calls.append(("revoke", guild_id, user_id, int(code)))

    def set_channel_dave(self, channel_id: int, *, enabled: bool) -> None:
        self.calls.append(("set_channel_dave", channel_id, enabled))


class Stage:
    """A desk with one guild, two bots and two recording voice servers."""

    def __init__(self, *, servers: int = 1) -> None:
        self.world = World([BotUser(name="a"), BotUser(name="b")], [make_guild("g")])
        self.hub = GatewayHub(self.world, Changes(), lambda: 5.0)
        self.servers = [RecordingVoiceServer(f"127.0.0.1:{port}") for port in range(1, servers + 1)]
        self.desk = VoiceDesk(self.world, self.hub, self.servers, lambda: 5.0)
        self.hub.on_session_end = self.desk.leave_all_of
        self.session = self.log_in(0)
        self.voice, self.other = self.guild.voice_channels

    @property
    def guild(self) -> Guild:
        return next(iter(self.world.guilds.values()))

    def log_in(self, bot: int, shard: tuple[int, int] | None = None) -> GatewaySession:
        return self.hub.identify(Identify(token=self.world.bots[bot].token, intents=1 << 7, shard=shard))

    def op4(
        self,
        channel_id: int | None,
        *,
        session: GatewaySession | None = None,
        guild_id: int | None = None,
        **flags: bool,
    ) -> Op4Outcome:
        message = UpdateVoiceState(str(guild_id or self.guild.id), channel_id, **flags)
        self.desk.update(session or self.session, message)
        return self.desk.op4_log[-1].outcome

    def heard(self, session: GatewaySession | None = None) -> list[dict[str, Any]]:
        session = session or self.session
        return [json.loads(session.event_after(seq) or b"") for seq in range(session.seq)]

    def names(self, session: GatewaySession | None = None) -> list[str]:
        return [event["t"] for event in self.heard(session)]


def test_a_join_gives_both_events_with_the_session_of_ready() -> None:
    stage = Stage()
    assert stage.op4(stage.voice.id, self_deaf=True) is Op4Outcome.JOINED
    state, server = (event["d"] for event in stage.heard())
    assert stage.names() == ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]
    assert state["session_id"] == stage.session.session_id
    assert state["channel_id"] == str(stage.voice.id)
    assert (state["self_deaf"], state["self_mute"], state["suppress"]) == (True, False, False)
    assert server == {"token": "token-1", "guild_id": str(stage.guild.id), "endpoint": "127.0.0.1:1"}
    bot = stage.session.bot
    assert stage.servers[0].calls == [
        ("grant", stage.guild.id, stage.voice.id, bot.id, stage.session.session_id)
    ]


def test_the_channel_one_is_in_already_is_ignored() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    assert stage.op4(stage.voice.id) is Op4Outcome.IGNORED_SAME_CHANNEL
    assert len(stage.heard()) == 2


def test_muting_oneself_changes_the_state_and_not_the_server() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    assert stage.op4(stage.voice.id, self_mute=True) is Op4Outcome.UPDATED
    assert stage.names()[2:] == ["VOICE_STATE_UPDATE"]
    assert stage.heard()[-1]["d"]["self_mute"] is True


def test_another_channel_is_a_move_with_a_new_token() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    assert stage.op4(stage.other.id) is Op4Outcome.MOVED
    state, server = (event["d"] for event in stage.heard()[2:])
    assert state["channel_id"] == str(stage.other.id)
    assert server["token"] == "token-3"
    assert [call[0] for call in stage.servers[0].calls] == ["grant", "revoke", "grant"]


def test_leaving_tells_a_null_channel_and_revokes() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    assert stage.op4(None) is Op4Outcome.LEFT
    assert stage.heard()[-1]["d"]["channel_id"] is None
    assert stage.names()[2:] == ["VOICE_STATE_UPDATE"]
    assert stage.servers[0].calls[-1] == ("revoke", stage.guild.id, stage.session.bot.id, 4014)
    assert stage.op4(None) is Op4Outcome.IGNORED_NOT_IN_VOICE
    assert len(stage.heard()) == 3


def test_what_cannot_be_joined_is_met_with_silence() -> None:
    stage = Stage()
    guild, voice = stage.guild, stage.voice
    assert stage.op4(voice.id, guild_id=1) is Op4Outcome.REFUSED_UNKNOWN_GUILD
    assert stage.op4(1) is Op4Outcome.REFUSED_UNKNOWN_CHANNEL
    assert stage.op4(guild.text_channels[0].id) is Op4Outcome.REFUSED_UNKNOWN_CHANNEL
    voice.overwrites.append(Overwrite(target_id=guild.id, is_role=True, deny=Permission.CONNECT))
    assert stage.op4(voice.id) is Op4Outcome.REFUSED_PERMISSION
    wrong_shard = stage.log_in(0, shard=(1 - (guild.id >> 22) % 2, 2))
    assert stage.op4(stage.other.id, session=wrong_shard) is Op4Outcome.REFUSED_UNKNOWN_GUILD
    assert stage.heard() == []
    assert stage.servers[0].calls == []


def test_a_full_channel_is_silent_unless_one_may_move_members() -> None:
    stage = Stage()
    guild, voice = stage.guild, stage.voice
    voice.user_limit = 1
    person = guild.add_member(User(name="person")).user
    stage.desk.place(VoiceState(guild_id=guild.id, channel_id=voice.id, user_id=person.id, session_id="x"))
    assert stage.op4(voice.id) is Op4Outcome.REFUSED_FULL
    mover = guild.add_role(Role(name="mover", permissions=Permission.MOVE_MEMBERS))
    guild.members[stage.session.bot.id].role_ids.append(mover.id)
    assert stage.op4(voice.id) is Op4Outcome.JOINED


def test_a_new_session_takes_the_channel_over() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    second = stage.log_in(0)
    assert stage.op4(stage.voice.id, session=second) is Op4Outcome.MOVED
    state = stage.world.voice_state(stage.guild.id, second.bot.id)
    assert state is not None
    assert state.session_id == second.session_id
    # The server update is for whoever asked, the state for both.
    assert stage.names(second) == ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]
    assert stage.names() == ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE", "VOICE_STATE_UPDATE"]


def test_two_bots_hear_of_each_other_but_get_their_own_servers() -> None:
    stage = Stage()
    second = stage.log_in(1)
    stage.op4(stage.voice.id)
    stage.op4(stage.voice.id, session=second)
    assert stage.names() == ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE", "VOICE_STATE_UPDATE"]
    assert stage.names(second) == ["VOICE_STATE_UPDATE", "VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]
    assert len(list(stage.world.voice_states(channel_id=stage.voice.id))) == 2


def test_a_stage_suppresses_whoever_cannot_mute_members() -> None:
    stage = Stage()
    podium = stage.guild.stage_channels[0]
    stage.op4(podium.id)
    assert stage.heard()[0]["d"]["suppress"] is True
    stage.op4(None)
    speaker = stage.guild.add_role(Role(name="speaker", permissions=Permission.MUTE_MEMBERS))
    stage.guild.members[stage.session.bot.id].role_ids.append(speaker.id)
    stage.op4(podium.id)
    assert stage.heard()[-2]["d"]["suppress"] is False


def test_a_dead_session_takes_its_bot_out_of_voice() -> None:
    stage = Stage()
    watcher = stage.log_in(1)
    stage.op4(stage.voice.id)
    stage.hub.end_session(stage.session)
    assert stage.world.voice_state(stage.guild.id, stage.session.bot.id) is None
    assert stage.heard(watcher)[-1]["d"]["channel_id"] is None


def test_a_change_of_server_gives_every_bot_a_new_token() -> None:
    stage = Stage(servers=2)
    second = stage.log_in(1)
    for session in (stage.session, second):
        stage.op4(stage.voice.id, session=session)
    old = stage.desk.server_of(stage.guild.id)
    new = next(server for server in stage.servers if server is not old)
    stage.desk.change_server(stage.guild.id, None)
    assert [stage.heard(session)[-1]["d"]["endpoint"] for session in (stage.session, second)] == [None, None]
    assert stage.desk.server_of(stage.guild.id) is None
    stage.desk.change_server(stage.guild.id, new)
    assert stage.heard()[-1]["d"]["endpoint"] == new.endpoint
    assert [call[0] for call in new.calls] == ["grant", "grant"]
    assert isinstance(old, RecordingVoiceServer)
    assert [call[0] for call in old.calls] == ["grant", "grant", "revoke", "revoke"]
    assert {call[-1] for call in old.calls[2:]} == {4022}


def test_a_join_while_there_is_no_server_gets_a_null_endpoint() -> None:
    stage = Stage()
    stage.desk.change_server(stage.guild.id, None)
    stage.op4(stage.voice.id)
    assert stage.heard()[-1]["d"]["endpoint"] is None


def test_guilds_are_spread_over_the_servers() -> None:
    stage = Stage(servers=2)
    assert {stage.desk.server_of(guild << 22) for guild in range(4)} == set(stage.servers)


def test_servers_are_found_by_endpoint_and_unknown_ones_stand_nowhere() -> None:
    stage = Stage(servers=2)
    assert stage.desk.server_at("127.0.0.1:2") is stage.servers[1]
    nowhere = stage.desk.server_at("127.0.0.1:9")
    assert isinstance(nowhere, NowhereVoiceServer)
    grants = [nowhere.grant(guild_id=1, channel_id=2, user_id=3, session_id="s") for _ in range(2)]
    assert [grant.endpoint for grant in grants] == ["127.0.0.1:9"] * 2
    assert grants[0].token != grants[1].token
    assert grants[0].token not in repr(grants[0])


def test_people_get_no_voice_server() -> None:
    stage = Stage()
    person = stage.guild.add_member(User(name="person")).user
    stage.desk.place(
        VoiceState(guild_id=stage.guild.id, channel_id=stage.voice.id, user_id=person.id, session_id="x")
    )
    assert stage.names() == ["VOICE_STATE_UPDATE"]
    assert stage.servers[0].calls == []


def test_the_log_of_op_4_is_complete_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_voice, "_MAX_OP4_KEPT", 2)
    stage = Stage()
    for _ in range(3):
        stage.op4(stage.voice.id, self_mute=True)
    assert len(stage.desk.op4_log) == 2
    entry = stage.desk.op4_log[-1]
    assert (entry.at_s, entry.bot_id, entry.guild_id) == (5.0, stage.session.bot.id, stage.guild.id)
    assert (entry.channel_id, entry.self_mute, entry.self_deaf) == (stage.voice.id, True, False)


def test_a_stage_is_not_encrypted() -> None:
    stage = Stage()
    stage.op4(stage.guild.stage_channels[0].id)
    assert [call[0] for call in stage.servers[0].calls] == ["set_channel_dave", "grant"]
    assert stage.servers[0].calls[0] == ("set_channel_dave", stage.guild.stage_channels[0].id, False)
    stage.op4(stage.voice.id)
    assert "set_channel_dave" not in {call[0] for call in stage.servers[0].calls[2:]}


def test_deleting_a_channel_puts_everyone_out_of_it() -> None:
    stage = Stage()
    stage.op4(stage.voice.id)
    stage.op4(stage.other.id, session=stage.log_in(1))
    stage.desk.delete_channel(stage.guild.id, stage.voice.id)
    me, other = (bot.id for bot in stage.world.bots)
    assert stage.world.voice_state(stage.guild.id, me) is None
    assert stage.world.voice_state(stage.guild.id, other) is not None
    assert stage.servers[0].calls[-1] == ("revoke", stage.guild.id, me, 4022)
    assert stage.heard()[-1]["d"]["channel_id"] is None
    assert stage.voice.id not in stage.guild.channels
    assert stage.op4(stage.voice.id) is Op4Outcome.REFUSED_UNKNOWN_CHANNEL


def test_regions_move_in_a_circle() -> None:
    stage = Stage(servers=2)
    here = stage.desk.server_of(stage.guild.id)
    there = stage.desk.next_server(stage.guild.id)
    assert there is not here
    stage.desk.change_server(stage.guild.id, there)
    assert stage.desk.next_server(stage.guild.id) is here
    stage.desk.change_server(stage.guild.id, None)
    assert stage.desk.next_server(stage.guild.id) is stage.servers[0]
    alone = Stage()
    with pytest.raises(LookupError, match="no other voice server"):
        alone.desk.next_server(alone.guild.id)
