from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from voicepool.testing.gateway_changes import Changes
from voicepool.testing.gateway_hub import GatewayHub
from voicepool.testing.gateway_protocol import Identify, Intents
from voicepool.testing.gateway_voice import VoiceDesk
from voicepool.testing.guild_model import BotUser, Overwrite, Permission, Role, make_guild
from voicepool.testing.guild_world import VoiceState, World
from voicepool.testing.rest_backend import Backend, Call, Reply, RestError
from voicepool.testing.rest_routes import ROUTES

if TYPE_CHECKING:
    from voicepool.testing.guild_model import Channel, Guild


class Stage:
    """The routes of a world with two guilds and one bot, without HTTP."""

    def __init__(self) -> None:
        self.world = World([BotUser(name="bot")], [make_guild("g0"), make_guild("g1")])
        self.hub = GatewayHub(self.world, Changes(), lambda: 0.0)
        self.desk = VoiceDesk(self.world, self.hub, (), lambda: 0.0)
        self.backend = Backend(self.world, self.hub, self.desk, lambda: "ws://here/")
        self.bot = self.world.bots[0]

    @property
    def guild(self) -> Guild:
        return next(iter(self.world.guilds.values()))

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, query: dict[str, str] | None = None
    ) -> Reply:
        for route in ROUTES:
            ids = route.match(path)
            if route.method == method and ids is not None:
                found = {name: self.bot.id if text == "@me" else int(text) for name, text in ids.items()}
                return route.handler(
                    self.backend, Call(bot=self.bot, ids=found, body=body or {}, query=query or {})
                )
        raise AssertionError(f"no route for {method} {path}")

    def get(self, path: str, **query: str) -> Any:
        reply = self.call("GET", path, query=query)
        assert reply.status == 200
        return reply.body

    def refusal(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, int]:
        with pytest.raises(RestError) as caught:
            self.call(method, path, body)
        assert caught.value.text
        return caught.value.status, caught.value.code

    def join(self, channel: Channel) -> None:
        self.desk.place(
            VoiceState(guild_id=self.guild.id, channel_id=channel.id, user_id=self.bot.id, session_id="s")
        )


def test_gateway_and_its_session_limits() -> None:
    stage = Stage()
    assert stage.get("/gateway") == {"url": "ws://here/"}
    stage.hub.identify(Identify(token=stage.bot.token, intents=0))
    answer = stage.get("/gateway/bot")
    assert (answer["url"], answer["shards"]) == ("ws://here/", 1)
    assert answer["session_start_limit"]["remaining"] == 999


def test_who_one_is() -> None:
    stage = Stage()
    assert stage.get("/users/@me")["id"] == str(stage.bot.id)
    for path in ("/applications/@me", "/oauth2/applications/@me"):
        application = stage.get(path)
        assert application["id"] == str(stage.bot.id)
        assert application["owner"]["id"] == str(stage.guild.owner.id)
    assert stage.get(f"/users/{stage.guild.owner.id}")["username"] == "owner"
    assert stage.refusal("GET", "/users/1") == (404, 10013)


def test_own_guilds_can_be_paged() -> None:
    stage = Stage()
    first, second = (str(guild_id) for guild_id in stage.world.guilds)
    assert [guild["id"] for guild in stage.get("/users/@me/guilds")] == [first, second]
    assert [guild["id"] for guild in stage.get("/users/@me/guilds", limit="1")] == [first]
    (counted,) = stage.get("/users/@me/guilds", after=first, with_counts="true")
    assert counted["approximate_member_count"] == 2
    for query in ({"limit": "many"}, {"limit": "201"}, {"after": "-1"}):
        with pytest.raises(RestError) as caught:
            stage.call("GET", "/users/@me/guilds", query=query)
        assert caught.value.code == 50035
    assert [guild["id"] for guild in stage.get("/users/@me/guilds", after=first)] == [second]


def test_guilds_channels_roles_and_members() -> None:
    stage = Stage()
    guild = stage.guild
    root = f"/guilds/{guild.id}"
    assert stage.get(root)["name"] == "g0"
    assert [channel["id"] for channel in stage.get(f"{root}/channels")] == [
        str(one) for one in guild.channels
    ]
    assert stage.get(f"{root}/roles")[0]["name"] == "@everyone"
    assert stage.get(f"{root}/members/@me")["user"]["id"] == str(stage.bot.id)
    assert stage.refusal("GET", f"{root}/members/1") == (404, 10007)
    assert stage.refusal("GET", "/guilds/1") == (404, 10004)
    del guild.members[stage.bot.id]
    assert stage.refusal("GET", root) == (404, 10004)


def test_a_channel_must_exist_and_be_visible() -> None:
    stage = Stage()
    channel = stage.guild.text_channels[0]
    answer = stage.get(f"/channels/{channel.id}")
    assert (answer["id"], answer["guild_id"]) == (str(channel.id), str(stage.guild.id))
    assert stage.refusal("GET", "/channels/1") == (404, 10003)
    channel.overwrites.append(Overwrite(target_id=stage.guild.id, is_role=True, deny=Permission.VIEW_CHANNEL))
    assert stage.refusal("GET", f"/channels/{channel.id}") == (403, 50001)
    assert stage.refusal("POST", f"/channels/{channel.id}/typing") == (403, 50001)


def test_own_voice_state() -> None:
    stage = Stage()
    path = f"/guilds/{stage.guild.id}/voice-states/@me"
    assert stage.refusal("GET", path) == (404, 10065)
    assert stage.refusal("PATCH", path, {}) == (404, 10065)
    stage.join(stage.guild.voice_channels[0])
    assert stage.get(path)["channel_id"] == str(stage.guild.voice_channels[0].id)
    assert stage.refusal("PATCH", path, {"suppress": True}) == (400, 50024)


def test_speaking_on_a_stage_needs_permission_or_a_request() -> None:
    stage = Stage()
    path = f"/guilds/{stage.guild.id}/voice-states/@me"
    podium = stage.guild.stage_channels[0]
    stage.join(podium)
    assert stage.get(path)["suppress"] is True
    assert stage.refusal("PATCH", path, {"channel_id": "1", "suppress": True}) == (404, 10065)
    assert stage.refusal("PATCH", path, {"suppress": False}) == (403, 50013)
    assert stage.refusal("PATCH", path, {"suppress": "no"}) == (400, 50035)
    wish = {"channel_id": str(podium.id), "request_to_speak_timestamp": "2026-01-01T00:00:00+00:00"}
    assert stage.call("PATCH", path, wish) == Reply(204)
    assert stage.get(path)["request_to_speak_timestamp"] == "2026-01-01T00:00:00+00:00"
    speaker = stage.guild.add_role(Role(name="speaker", permissions=Permission.MUTE_MEMBERS))
    stage.guild.members[stage.bot.id].role_ids.append(speaker.id)
    assert stage.call("PATCH", path, {"suppress": False}) == Reply(204)
    assert stage.get(path)["suppress"] is False
    podium.overwrites.append(
        Overwrite(target_id=stage.guild.id, is_role=True, deny=Permission.REQUEST_TO_SPEAK)
    )
    assert stage.refusal("PATCH", path, wish) == (403, 50013)


def test_messages_are_kept_and_told_to_whoever_may_read_them() -> None:
    stage = Stage()
    channel = stage.guild.text_channels[0]
    sessions = [
        stage.hub.identify(Identify(token=stage.bot.token, intents=int(intents)))
        for intents in (
            Intents.GUILD_MESSAGES,
            Intents.GUILD_MESSAGES | Intents.MESSAGE_CONTENT,
            Intents.GUILDS,
        )
    ]
    reply = stage.call(
        "POST", f"/channels/{channel.id}/messages", {"content": "own", "embeds": [{"title": "x"}]}
    )
    assert isinstance(reply.body, dict)
    assert (reply.status, reply.body["content"]) == (200, "own")
    assert stage.get(f"/channels/{channel.id}/messages/{reply.body['id']}")["embeds"] == [{"title": "x"}]
    owner = stage.guild.owner
    stage.backend.post_message(stage.guild, channel, owner, content="theirs")
    stage.backend.post_message(stage.guild, channel, owner, content=f"<@{stage.bot.id}> theirs")

    def contents(number: int) -> list[str]:
        session = sessions[number]
        events = [json.loads(session.event_after(seq) or b"") for seq in range(session.seq)]
        assert {event["t"] for event in events} <= {"MESSAGE_CREATE"}
        return [event["d"]["content"] for event in events]

    mention = f"<@{stage.bot.id}> theirs"
    assert contents(0) == ["own", "", mention]
    assert contents(1) == ["own", "theirs", mention]
    assert contents(2) == []
    assert [message.content for message in stage.world.messages] == ["own", "theirs", mention]


def test_messages_that_discord_would_not_take() -> None:
    stage = Stage()
    channel = stage.guild.text_channels[0]
    path = f"/channels/{channel.id}/messages"
    assert stage.refusal("POST", path, {}) == (400, 50006)
    bodies: list[dict[str, Any]] = [
        {"content": "x" * 2001},
        {"content": 5},
        {"embeds": 5},
        {"embeds": [{}] * 11},
    ]
    for body in bodies:
        assert stage.refusal("POST", path, body) == (400, 50035)
    channel.overwrites.append(
        Overwrite(target_id=stage.guild.id, is_role=True, deny=Permission.SEND_MESSAGES)
    )
    assert stage.refusal("POST", path, {"content": "x"}) == (403, 50013)
    other = stage.guild.voice_channels[0]
    message = stage.backend.post_message(stage.guild, other, stage.guild.owner, content="x")
    assert stage.refusal("GET", f"{path}/{message.id}") == (404, 10008)
    assert stage.call("POST", f"/channels/{other.id}/typing") == Reply(204)


def test_paths_match_whole_and_only_users_may_be_me() -> None:
    (guild,) = (route for route in ROUTES if route.path == "/guilds/{guild}")
    assert guild.match("/guilds/12") == {"guild": "12"}
    for path in ("/guilds/@me", "/guilds/12/", "/guilds/x", "/guilds/12/channels"):
        assert guild.match(path) is None
