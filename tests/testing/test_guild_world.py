from __future__ import annotations

import pytest

from voicepool.testing import guild_world
from voicepool.testing.guild_model import BotUser, User, make_guild
from voicepool.testing.guild_world import Message, VoiceState, World


def make_world() -> World:
    return World([BotUser(name="a"), BotUser(name="b")], [make_guild("g0"), make_guild("g1")])


def test_bots_become_members_of_every_guild() -> None:
    world = make_world()
    for guild in world.guilds.values():
        assert {bot.id for bot in world.bots} <= set(guild.members)
    assert world.guilds_of(world.bots[0].id) == list(world.guilds.values())


def test_tokens_lead_to_their_bots() -> None:
    world = make_world()
    assert world.bot_of_token(world.bots[1].token) is world.bots[1]
    assert world.bot_of_token("nonsense") is None


def test_needs_a_bot_and_distinct_ids() -> None:
    guild, bot = make_guild("g"), BotUser(name="a")
    with pytest.raises(ValueError, match="at least one bot"):
        World([], [guild])
    with pytest.raises(ValueError, match="two bots"):
        World([bot, BotUser(name="b", id=bot.id)], [guild])
    with pytest.raises(ValueError, match="two guilds"):
        World([bot], [guild, guild])


def test_lookups_for_tests_name_what_is_missing() -> None:
    world = make_world()
    guild = next(iter(world.guilds.values()))
    with pytest.raises(LookupError, match="no guild 1"):
        world.guild(1)
    with pytest.raises(LookupError, match=r"no member .*add_member"):
        world.member(guild.id, 1)
    with pytest.raises(LookupError, match="no voice channel"):
        world.voice_channel(guild.id, guild.text_channels[0].id)
    assert world.channel(guild.text_channels[0].id) == (guild, guild.text_channels[0])
    assert world.channel(1) is None


def test_voice_states_are_kept_by_guild_and_user() -> None:
    world = make_world()
    states = [
        VoiceState(guild_id=guild_id, channel_id=10 * guild_id, user_id=user_id, session_id=f"s{user_id}")
        for guild_id in (1, 2)
        for user_id in (7, 8)
    ]
    for state in states:
        world.put_voice_state(state)
    assert world.voice_state(2, 8) is states[3]
    assert list(world.voice_states(guild_id=1)) == states[:2]
    assert list(world.voice_states(guild_id=2, channel_id=10)) == []
    assert list(world.voice_states(session_id="s7")) == [states[0], states[2]]
    assert world.remove_voice_state(1, 7) is states[0]
    assert world.remove_voice_state(1, 7) is None
    assert world.voice_state(1, 7) is None


def test_session_id_is_not_in_the_repr() -> None:
    assert "secret" not in repr(VoiceState(guild_id=1, channel_id=2, user_id=3, session_id="secret"))


def test_oldest_messages_are_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guild_world, "_MAX_MESSAGES", 2)
    world = make_world()
    author = User(name="someone")
    for number in range(3):
        world.add_message(
            Message(id=number, guild_id=1, channel_id=2, author=author, content=str(number), timestamp="")
        )
    assert [message.id for message in world.messages] == [1, 2]
    assert world.message(0) is None
