from __future__ import annotations

import json

from voicepool.testing.guild_model import BotUser, Overwrite, Permission, User, make_guild
from voicepool.testing.guild_payloads import (
    application_object,
    channel_object,
    gateway_guild_object,
    member_object,
    message_object,
    own_user_object,
    partial_application_object,
    rest_guild_object,
    role_object,
    user_object,
    voice_state_object,
)
from voicepool.testing.guild_world import Attachment, Message, VoiceState

STATE = VoiceState(guild_id=1, channel_id=2, user_id=3, session_id="s", self_mute=True)


def test_ids_and_permissions_are_strings() -> None:
    guild = make_guild("g")
    payload = rest_guild_object(guild)
    assert payload["id"] == str(guild.id)
    assert payload["owner_id"] == str(guild.owner.id)
    assert payload["roles"][0]["permissions"] == str(int(guild.everyone.permissions))
    assert role_object(guild.everyone)["id"] == str(guild.id)
    assert member_object(guild.members[guild.owner.id])["user"]["id"] == str(guild.owner.id)


def test_own_user_and_application_carry_no_token() -> None:
    bot = BotUser(name="bot")
    for payload in (
        own_user_object(bot),
        user_object(bot),
        application_object(bot, owner=User(name="owner"), guild_count=2),
    ):
        assert bot.token not in json.dumps(payload)
        assert payload["id"] == str(bot.id)
    assert own_user_object(bot)["bot"] is True


def test_application_flags_follow_the_privileged_intents() -> None:
    assert partial_application_object(BotUser(name="a"))["flags"] == 1 << 13 | 1 << 15 | 1 << 19
    assert partial_application_object(BotUser(name="b", allows_privileged_intents=False))["flags"] == 0


def test_channels_differ_by_type() -> None:
    guild = make_guild("g")
    voice, text = guild.voice_channels[0], guild.text_channels[0]
    voice.user_limit, voice.bitrate = 5, 96_000
    voice.overwrites.append(Overwrite(target_id=9, is_role=False, deny=Permission.CONNECT))
    payload = channel_object(voice, guild_id=guild.id)
    assert (payload["type"], payload["user_limit"], payload["bitrate"]) == (2, 5, 96_000)
    assert payload["permission_overwrites"] == [{"id": "9", "type": 1, "allow": "0", "deny": str(1 << 20)}]
    assert payload["guild_id"] == str(guild.id)
    assert "bitrate" not in channel_object(text)
    assert "guild_id" not in channel_object(text)


def test_voice_state_names_its_member_and_can_be_that_of_a_leave() -> None:
    guild = make_guild("g")
    member = guild.add_member(User(name="someone", id=3))
    member.deaf = True
    payload = voice_state_object(STATE, member)
    assert payload["channel_id"] == "2"
    assert payload["member"]["user"]["id"] == "3"
    assert (payload["self_mute"], payload["deaf"], payload["mute"]) == (True, True, False)
    assert voice_state_object(STATE, member, left=True) == payload | {"channel_id": None}


def test_gateway_guild_lists_what_it_is_given() -> None:
    guild = make_guild("g")
    member = guild.add_member(User(name="someone", id=3))
    payload = gateway_guild_object(guild, members=[member], voice_states=[STATE])
    assert [state["user_id"] for state in payload["voice_states"]] == ["3"]
    assert "guild_id" not in payload["voice_states"][0]
    assert len(payload["members"]) == 1
    assert payload["member_count"] == 2
    assert len(payload["channels"]) == len(guild.channels)


def test_message_hides_its_content_from_whoever_may_not_read_it() -> None:
    guild = make_guild("g")
    author = guild.add_member(User(name="someone"))
    message = Message(
        id=1,
        guild_id=guild.id,
        channel_id=2,
        author=author.user,
        content="!play",
        timestamp="2026-01-01T00:00:00+00:00",
        embeds=({"title": "x"},),
        attachments=(Attachment(id=5, filename="a.ogg", size_bytes=7),),
    )
    whole = message_object(message, member=author)
    assert whole["content"] == "!play"
    assert whole["attachments"][0]["size"] == 7
    assert "user" not in whole["member"]
    hidden = message_object(message, show_content=False)
    assert (hidden["content"], hidden["embeds"], hidden["attachments"]) == ("", [], [])
    assert "member" not in hidden
