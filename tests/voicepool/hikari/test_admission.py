"""Who may join, against the stand-in's own computation of permissions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicepool.hikari import admission
from voicepool.hikari.admission import Channel, Member, Overwrite, Permission, permissions_in, refusal
from voicepool.testing import guild_model

GUILD, BOT, OWNER, ROLE, OTHER_ROLE = 1, 7, 8, 20, 21
BOTH = int(Permission.VIEW_CHANNEL | Permission.CONNECT)
FLAGS = st.integers(0, (1 << 25) - 1)


def member(everyone: int = BOTH, roles: dict[int, int] | None = None, owner: int = OWNER) -> Member:
    return Member(user_id=BOT, guild_id=GUILD, owner_id=owner, roles=roles or {}, everyone=everyone)


def channel(
    kind: int = 2,
    *,
    guild: int = GUILD,
    limit: int = 0,
    occupants: tuple[int, ...] = (),
    overwrites: dict[int, Overwrite] | None = None,
) -> Channel:
    return Channel(
        guild_id=guild, kind=kind, user_limit=limit, occupants=occupants, overwrites=overwrites or {}
    )


@pytest.mark.parametrize(
    ("who", "where", "reason"),
    [
        (member(), channel(), None),
        (member(), channel(13), None),
        (member(), channel(0), "channel"),
        (member(), channel(guild=2), "channel"),
        (None, channel(guild=2), "channel"),
        (None, channel(limit=1, occupants=(9,)), None),
        (member(0), channel(), "permission"),
        (member(), channel(overwrites={GUILD: Overwrite(0, int(Permission.CONNECT))}), "permission"),
        (member(0, owner=BOT), channel(), None),
        (member(int(Permission.ADMINISTRATOR)), channel(limit=1, occupants=(9,)), None),
        (member(), channel(limit=1, occupants=(9,)), "full"),
        (member(), channel(limit=2, occupants=(9,)), None),
        (member(), channel(limit=1, occupants=(BOT,)), None),
        (member(BOTH | int(Permission.MOVE_MEMBERS)), channel(limit=1, occupants=(9,)), None),
    ],
)
def test_who_may_join(who: Member | None, where: Channel, reason: str | None) -> None:
    found = refusal(GUILD, who, where)
    assert (found.reason if found is not None else None) == reason


def test_the_words_name_what_is_missing() -> None:
    found = refusal(GUILD, member(0), channel())
    assert found is not None
    assert "View Channel and Connect" in found.text
    found = refusal(GUILD, member(), channel(limit=1, occupants=(9,)))
    assert found is not None
    assert "1 of 1 places" in found.text


@settings(max_examples=200, deadline=None)
@given(
    everyone=FLAGS,
    roles=st.dictionaries(st.sampled_from([ROLE, OTHER_ROLE]), FLAGS),
    overwrites=st.dictionaries(st.sampled_from([GUILD, ROLE, OTHER_ROLE, BOT, 99]), st.tuples(FLAGS, FLAGS)),
)
def test_permissions_are_those_of_the_stand_in(
    everyone: int, roles: dict[int, int], overwrites: dict[int, tuple[int, int]]
) -> None:
    theirs = guild_model.Guild(name="guild", id=GUILD)
    theirs.everyone.permissions = guild_model.Permission(everyone)
    for role_id, flags in roles.items():
        theirs.add_role(guild_model.Role(name="role", id=role_id, permissions=guild_model.Permission(flags)))
    me = theirs.add_member(guild_model.User(name="bot", id=BOT))
    me.role_ids = list(roles)
    place = guild_model.Channel(
        name="voice",
        type=guild_model.ChannelType.VOICE,
        overwrites=[
            guild_model.Overwrite(
                target_id=target,
                is_role=target != BOT,
                allow=guild_model.Permission(allow),
                deny=guild_model.Permission(deny),
            )
            for target, (allow, deny) in overwrites.items()
        ],
    )
    ours = permissions_in(
        member(everyone, roles),
        channel(overwrites={target: Overwrite(*pair) for target, pair in overwrites.items()}),
    )
    for flag in admission.Permission:
        assert bool(ours & flag) == bool(int(theirs.permissions_of(me, place)) & flag)
