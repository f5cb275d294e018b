"""`MovingConnection`: a connection that goes where the bot wants it, and asks to speak there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import hikari

from voicepool._subject_log import about
from voicepool.connection import CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, SupersededError
from voicepool.hikari.admission import Permission, permissions_in
from voicepool.hikari.facts import HOW, SILENCE, check_admission, check_bot, facts, join_error
from voicepool.hikari.following import FollowingConnection
from voicepool.hikari.watch import VoiceWatch

__all__ = ["MovingConnection"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")

_SERVER_GRACE_S: Final = 1.0
"""How long after the state update of a move a server update may come and belong to it."""


class MovingConnection(FollowingConnection):
    """What a hikari bot may ask of its place in voice.

    Parameters
    ----------
    host, credentials
        As for `FollowingConnection`.
    """

    def __init__(self, host: CallHost, credentials: VoiceCredentials) -> None:
        super().__init__(host, credentials)
        self._moves = 0

    async def move(
        self,
        channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel | hikari.GuildStageChannel],
        *,
        timeout_s: float = 10.0,
        deaf: bool | None = None,
        mute: bool | None = None,
    ) -> None:
        """Go to another channel of the guild, and return when sound can be sent there. What plays goes on.

        Parameters
        ----------
        channel
            Where to; object or id.
        timeout_s
            Seconds that Discord's main gateway has for its answer.
        deaf, mute
            How the bot shows itself from now on; None leaves it.

        Raises
        ------
        JoinError
            The bot did not get in, or does not run; ``reason`` tells why. Unless it was removed it stays
            where it was.
        SupersededError
            A newer move came first.
        CallGoneError, ConnectError, WorkerError
            The connection has ended, now or before.
        """
        channel_id = hikari.Snowflake(channel)
        if self.closed:
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {HOW}")
        watch = self._known_watch("move")
        check_bot(watch.bot, self.guild_id, channel_id)
        old_deaf, old_mute = watch.flags
        deaf, mute = old_deaf if deaf is None else deaf, old_mute if mute is None else mute
        elsewhere = channel_id != self.channel_id
        if not elsewhere and (deaf, mute) == (old_deaf, old_mute):
            return
        if elsewhere:
            check_admission(watch.bot, self.guild_id, channel_id)
        self._moves += 1
        number = self._moves
        there = (channel_id, deaf, mute)
        self._moving += 1
        try:
            async with asyncio.timeout(timeout_s):
                # The leave that comes first in a rejoin would undo the move.
                await watch.until(lambda: self.closed or number != self._moves or self._rejoin is None)
                servers = watch.servers
                if not self.closed and number == self._moves:
                    await watch.ask(channel_id, deaf=deaf, mute=mute)
                await watch.until(lambda: self.closed or number != self._moves or watch.place == there)
            if elsewhere and not self.closed and number == self._moves:
                await self._await_server(watch, servers)
        except TimeoutError:
            raise join_error("timeout", self.guild_id, channel_id, SILENCE) from None
        finally:
            self._moving -= 1
            watch.tell()
        await self.wait_joined()
        if number != self._moves:
            raise SupersededError(f"guild {self.guild_id}: a newer move came first")

    async def request_to_speak(self) -> None:
        """Ask to be let speak on a stage; with the permission Mute Members, speak without asking.

        Raises
        ------
        JoinError
            It is no stage channel (reason ``"channel"``), or Request to Speak is missing (``"permission"``).
        CallGoneError
            The connection has ended.
        """
        if self.closed:
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {HOW}")
        bot = self._known_watch("request_to_speak").bot
        member, channel = facts(bot, self.guild_id, self.channel_id)
        if channel is not None and not channel.is_stage:
            text = "it is no stage channel, where everyone may speak; ask on stages only"
            raise join_error("channel", self.guild_id, self.channel_id, text)
        may_speak = (
            member is not None
            and channel is not None
            and bool(permissions_in(member, channel) & Permission.MUTE_MEMBERS)
        )
        wish: dict[str, Any] = {"suppress": False} if may_speak else {"request_to_speak": True}
        try:
            await bot.rest.edit_my_voice_state(self.guild_id, self.channel_id, **wish)
        except hikari.BadRequestError as error:
            text = f"Discord refuses the request ({error.message}); ask on stages only"
            raise join_error("channel", self.guild_id, self.channel_id, text) from error
        except hikari.ForbiddenError as error:
            text = "the bot lacks Request to Speak there; grant it to one of its roles"
            raise join_error("permission", self.guild_id, self.channel_id, text) from error

    async def _await_server(self, watch: VoiceWatch, servers: int) -> None:
        """Wait a moment for the server update that belongs to a move."""
        try:
            async with asyncio.timeout(_SERVER_GRACE_S):
                await watch.until(lambda: self.closed or watch.servers != servers)
        except TimeoutError:
            _LOGGER.debug(
                "guild %s: moved without another voice server",
                self.guild_id,
                extra=about(guild=self.guild_id),
            )
