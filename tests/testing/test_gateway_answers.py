from __future__ import annotations

from voicepool.testing.gateway_answers import guild_create, member_chunks, ready
from voicepool.testing.gateway_protocol import Intents, RequestMembers
from voicepool.testing.gateway_session import GatewaySession
from voicepool.testing.guild_model import BotUser, User, make_guild
from voicepool.testing.guild_world import VoiceState, World

BOT = BotUser(name="bot")


def test_ready_lists_guilds_as_unavailable() -> None:
    session = GatewaySession("s", BOT, intents=Intents.GUILDS, shard=(1, 2))
    guilds = [make_guild("g")]
    payload = ready(session, guilds, "ws://here/")
    assert payload["guilds"] == [{"id": str(guilds[0].id), "unavailable": True}]
    assert payload["user"]["id"] == payload["application"]["id"] == str(BOT.id)
    assert (payload["v"], payload["session_id"], payload["resume_gateway_url"]) == (10, "s", "ws://here/")
    assert payload["shard"] == [1, 2]


def test_guild_create_lists_who_is_in_voice_and_all_with_the_presence_intent() -> None:
    guild = make_guild("g")
    world = World([BOT], [guild])
    talker = guild.add_member(User(name="talker")).user
    guild.add_member(User(name="lurker"))
    world.put_voice_state(
        VoiceState(
            guild_id=guild.id, channel_id=guild.voice_channels[0].id, user_id=talker.id, session_id="x"
        )
    )

    def names(intents: Intents) -> list[str]:
        payload = guild_create(world, guild, BOT, intents)
        # hikari looks each voice state's member up in the list.
        assert {state["user_id"] for state in payload["voice_states"]} <= {
            member["user"]["id"] for member in payload["members"]
        }
        return [member["user"]["username"] for member in payload["members"]]

    assert names(Intents.GUILDS) == ["bot"]
    assert names(Intents.GUILDS | Intents.GUILD_VOICE_STATES) == ["bot", "talker"]
    assert set(names(Intents.GUILDS | Intents.GUILD_PRESENCES)) == {"owner", "bot", "talker", "lurker"}


def test_chunks_of_all_members_hold_a_thousand() -> None:
    guild = make_guild("g")
    for number in range(2000):
        guild.add_member(User(name=f"user-{number}"))
    chunks = list(member_chunks(guild, RequestMembers(guild.id, query="", nonce="n")))
    assert [len(chunk["members"]) for chunk in chunks] == [1000, 1000, 1]
    assert [chunk["chunk_index"] for chunk in chunks] == [0, 1, 2]
    assert {chunk["chunk_count"] for chunk in chunks} == {3}
    assert {chunk["nonce"] for chunk in chunks} == {"n"}


def test_queries_by_prefix_and_by_id() -> None:
    guild = make_guild("g")
    users = [guild.add_member(User(name=f"User-{number}")).user for number in range(150)]
    (by_prefix,) = member_chunks(guild, RequestMembers(guild.id, query="uSEr", limit=0))
    assert len(by_prefix["members"]) == 100
    (limited,) = member_chunks(guild, RequestMembers(guild.id, query="user", limit=3))
    assert len(limited["members"]) == 3
    (by_id,) = member_chunks(guild, RequestMembers(guild.id, user_ids=[users[0].id, "1"], presences=True))
    assert [member["user"]["id"] for member in by_id["members"]] == [str(users[0].id)]
    assert by_id["not_found"] == ["1"]
    assert by_id["presences"] == []
    (single,) = member_chunks(guild, RequestMembers(guild.id, user_ids=str(users[1].id)))
    assert len(single["members"]) == 1


def test_an_answer_comes_even_for_nobody_and_a_long_nonce_is_left_out() -> None:
    guild = make_guild("g")
    (chunk,) = member_chunks(guild, RequestMembers(guild.id, query="nobody", nonce="n" * 33))
    assert (chunk["members"], chunk["chunk_count"]) == ([], 1)
    assert "nonce" not in chunk
