from __future__ import annotations

import base64
import time

from voicepool.testing.guild_model import (
    BotUser,
    Channel,
    ChannelType,
    Guild,
    Overwrite,
    Permission,
    Role,
    User,
    make_guild,
    next_snowflake,
)


def test_snowflakes_are_unique_and_tell_the_time() -> None:
    ids = [next_snowflake() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    created_s = ((ids[0] >> 22) + 1_420_070_400_000) / 1000
    # Each id takes a millisecond of its own, so that the stamp may run ahead by as many as were made.
    assert abs(created_s - time.time()) < 3600


def test_guilds_spread_evenly_over_shards() -> None:
    guilds = [make_guild(f"g{index}") for index in range(40)]
    shards = {(guild.id >> 22) % 4 for guild in guilds}
    assert len(shards) > 1


def test_token_starts_with_the_base64_of_the_id_and_stays_the_same() -> None:
    bot = BotUser(name="bot")
    head = bot.token.split(".")[0]
    assert base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).decode() == str(bot.id)
    assert bot.token == bot.token
    assert len(bot.token.split(".")) == 3


def test_token_is_not_in_the_repr() -> None:
    bot = BotUser(name="bot")
    assert bot.token not in repr(bot)
    assert bot.token.split(".")[2] not in repr(bot)


def test_only_a_bot_user_is_a_bot() -> None:
    assert BotUser(name="bot").is_bot
    assert not User(name="person").is_bot


def test_make_guild_counts_its_channels() -> None:
    guild = make_guild("g", text_channels=2, voice_channels=3, stage_channels=1)
    assert [channel.name for channel in guild.text_channels] == ["text-0", "text-1"]
    assert len(guild.voice_channels) == 3
    assert [channel.type for channel in guild.stage_channels] == [ChannelType.STAGE]
    assert [channel.position for channel in guild.channels.values()] == list(range(6))
    assert guild.voice_channels[0].is_voice
    assert guild.stage_channels[0].is_voice
    assert not guild.text_channels[0].is_voice


def test_everyone_may_connect_but_not_move_others() -> None:
    guild = make_guild("g")
    member = guild.add_member(User(name="someone"))
    permissions = guild.permissions_of(member, guild.voice_channels[0])
    assert Permission.CONNECT in permissions
    assert Permission.MOVE_MEMBERS not in permissions


def test_owner_and_administrator_may_do_anything_whatever_the_channel_says() -> None:
    guild = make_guild("g")
    channel = guild.voice_channels[0]
    channel.overwrites.append(Overwrite(target_id=guild.id, is_role=True, deny=Permission.CONNECT))
    boss = guild.add_role(Role(name="boss", permissions=Permission.ADMINISTRATOR))
    admin = guild.add_member(User(name="admin"))
    admin.role_ids.append(boss.id)
    for member in (guild.members[guild.owner.id], admin):
        assert Permission.CONNECT | Permission.MOVE_MEMBERS in guild.permissions_of(member, channel)


def test_overwrites_apply_in_order_everyone_roles_member() -> None:
    guild = make_guild("g")
    channel = guild.voice_channels[0]
    member = guild.add_member(User(name="someone"))
    connect = Permission.CONNECT

    def may_connect() -> bool:
        return connect in guild.permissions_of(member, channel)

    channel.overwrites.append(Overwrite(target_id=guild.id, is_role=True, deny=connect))
    assert not may_connect()
    first, second = guild.add_role(Role(name="a")), guild.add_role(Role(name="b"))
    member.role_ids += [first.id, second.id]
    # Among roles an allow beats a deny, in whatever order they stand.
    channel.overwrites.append(Overwrite(target_id=first.id, is_role=True, allow=connect))
    channel.overwrites.append(Overwrite(target_id=second.id, is_role=True, deny=connect))
    assert may_connect()
    channel.overwrites.append(Overwrite(target_id=member.user.id, is_role=False, deny=connect))
    assert not may_connect()


def test_adding_a_member_twice_keeps_the_first() -> None:
    guild = Guild(name="g")
    user = User(name="someone")
    first = guild.add_member(user)
    first.nick = "nick"
    assert guild.add_member(user) is first
    assert guild.owner.id in guild.members


def test_channels_can_be_added_by_hand() -> None:
    guild = Guild(name="g")
    channel = guild.add_channel(Channel(name="small", type=ChannelType.VOICE, user_limit=1, bitrate=96_000))
    assert guild.voice_channels == [channel]
