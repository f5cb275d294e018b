"""What a test can make happen on a `FakeDiscord`, as its methods: people come and go, regions move."""

from __future__ import annotations

__all__ = ["DiscordOrders"]

from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING

from voicepool.testing.guild_model import BotUser, User
from voicepool.testing.guild_world import VoiceState

if TYPE_CHECKING:
    from voicepool.testing.gateway_hub import GatewayHub, Withheld
    from voicepool.testing.gateway_server import GatewayServer
    from voicepool.testing.gateway_voice import VoiceDesk, VoiceServer
    from voicepool.testing.guild_model import Channel
    from voicepool.testing.guild_world import Message, World
    from voicepool.testing.rest_backend import Backend


class DiscordOrders:
    """Base of `FakeDiscord`; never used by itself."""

    _world: World
    _hub: GatewayHub
    _desk: VoiceDesk
    _gateway: GatewayServer
    _backend: Backend

    async def join_voice(
        self, guild_id: int, channel_id: int, member: User | int | None = None
    ) -> VoiceState:
        """Have a person join a voice channel, or change channel.

        Parameters
        ----------
        member
            Who joins: a user (made a member if it is none), a member's id, or None for a new person.

        Raises
        ------
        LookupError
            If guild, channel or id do not exist.
        TypeError
            For a bot: bots join by op 4.
        """
        channel = self._world.voice_channel(guild_id, channel_id)
        if isinstance(member, int):
            user = self._world.member(guild_id, member).user
        else:
            user = self._world.guild(guild_id).add_member(member or User(name="listener")).user
        if isinstance(user, BotUser):
            raise TypeError(f"{user.name!r} is a bot and joins by op 4: use move_member to drag it")
        state = VoiceState(
            guild_id=guild_id, channel_id=channel.id, user_id=user.id, session_id=token_hex(16)
        )
        self._desk.place(state)
        return state

    async def move_member(self, guild_id: int, user_id: int, channel_id: int) -> None:
        """Drag someone who is in voice into another channel of the guild, as a moderator can.

        A bot hears of its new state and gets a new token for the voice server.

        Raises
        ------
        LookupError
            If the user is not in voice or the channel does not exist.
        """
        state = self._in_voice(guild_id, user_id)
        channel = self._world.voice_channel(guild_id, channel_id)
        self._desk.place(replace(state, channel_id=channel.id))

    async def kick_voice(self, guild_id: int, user_id: int) -> None:
        """Disconnect someone from voice, as a moderator can.

        Raises
        ------
        LookupError
            If the user is not in voice.
        """
        self._desk.leave(self._in_voice(guild_id, user_id))

    async def delete_channel(self, guild_id: int, channel_id: int) -> None:
        """Delete a channel. Who is in voice there is put out of it, the voice websockets close with 4022.

        Raises
        ------
        LookupError
            If the guild has no such channel.
        """
        self._channel(guild_id, channel_id)
        self._desk.delete_channel(guild_id, channel_id)

    async def set_user_limit(self, guild_id: int, channel_id: int, user_limit: int) -> None:
        """Bound how many may be in a voice channel; bots without MOVE_MEMBERS get no answer when it is full.

        Parameters
        ----------
        user_limit
            0 for no limit.

        Raises
        ------
        LookupError
            If the guild has no such voice channel.
        ValueError
            If the limit is negative.
        """
        if user_limit < 0:
            raise ValueError(f"a user limit is 0 (none) or more, not {user_limit}")
        channel = self._world.voice_channel(guild_id, channel_id)
        channel.user_limit = user_limit
        self._desk.publish_channel(guild_id, channel)

    async def change_voice_server(
        self, guild_id: int, endpoint: VoiceServer | str | None, *, null_first: bool = False
    ) -> None:
        """Give a guild another voice server, as Discord does when a region moves or a server fails.

        Every bot in voice there gets a VOICE_SERVER_UPDATE with a new token.

        Parameters
        ----------
        endpoint
            A voice server, its endpoint, or None: the old one is gone and the next is not known yet. An
            endpoint that none of `voice_servers` has is announced all the same, and nobody answers there.
        null_first
            Send the update with a null endpoint before the real one.

        Raises
        ------
        LookupError
            If the guild does not exist.
        """
        if null_first or endpoint is None:
            self._desk.change_server(guild_id, None)
        if endpoint is not None:
            server = self._desk.server_at(endpoint) if isinstance(endpoint, str) else endpoint
            self._desk.change_server(guild_id, server)

    async def move_region(self, guild_id: int, *, null_first: bool = False) -> str:
        """Give a guild the next of `voice_servers`, as Discord does when somebody changes the region.

        The short form of `change_voice_server`.

        Parameters
        ----------
        null_first
            As there.

        Returns
        -------
        str
            Endpoint of the server that the guild has now.

        Raises
        ------
        LookupError
            If the guild does not exist, or there is only one voice server.
        """
        server = self._desk.next_server(guild_id)
        await self.change_voice_server(guild_id, server, null_first=null_first)
        return server.endpoint

    async def drop_gateway(
        self, *, resume: bool = True, user_id: int | None = None, shard_id: int | None = None
    ) -> None:
        """Cut gateway connections; returns when they are closed.

        Parameters
        ----------
        resume
            True closes with 4000, and the bot may resume: it stays in voice and gets what it missed. False
            sends INVALID_SESSION first: the session is gone, the bot is out of voice and has to identify
            anew.
        user_id, shard_id
            Only this bot's sessions, only this shard's.
        """
        chosen = [
            session
            for session in self._hub.sessions
            if user_id in {None, session.bot.id} and shard_id in {None, session.shard[0]}
        ]
        await self._gateway.drop(chosen, resume=resume)

    def withhold(self, event: str, *, guild_id: int | None = None, user_id: int | None = None) -> Withheld:
        """Hold back a kind of event, such as ``"VOICE_SERVER_UPDATE"``, until told otherwise.

        Parameters
        ----------
        event
            Name of the dispatch.
        guild_id, user_id
            Only events of this guild, only events about this user.

        Returns
        -------
        Withheld
            `release` sends what was held, in order, and lets further ones through; `discard` throws it away.
            As a context manager it releases at the end.
        """
        return self._hub.withhold(event, guild_id=guild_id, user_id=user_id)

    async def post_message(self, channel_id: int, author: User, content: str) -> Message:
        """Have a member write a message; bots that may hear of it get MESSAGE_CREATE.

        Raises
        ------
        LookupError
            If the channel does not exist; an author who is no member of the guild becomes one.
        """
        found = self._world.channel(channel_id)
        if found is None:
            raise LookupError(
                f"no channel {channel_id} on this FakeDiscord: see the channels of its `guilds`"
            )
        guild, channel = found
        guild.add_member(author)
        return self._backend.post_message(guild, channel, author, content=content)

    def _channel(self, guild_id: int, channel_id: int) -> Channel:
        channel = self._world.guild(guild_id).channels.get(channel_id)
        if channel is None:
            raise LookupError(f"guild {guild_id} has no channel {channel_id}: see its `channels`")
        return channel

    def _in_voice(self, guild_id: int, user_id: int) -> VoiceState:
        self._world.member(guild_id, user_id)
        state = self._world.voice_state(guild_id, user_id)
        if state is None:
            raise LookupError(
                f"user {user_id} is not in voice in guild {guild_id}: await wait_for_voice_state first"
            )
        return state
