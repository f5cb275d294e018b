"""The demo's bot: an ordinary hikari bot, started and joined to voice the way any other is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import hikari

from voicepool.cli._demo_progress import Progress
from voicepool.hikari import VoiceConnection
from voicepool.pool import VoicePool
from voicepool.testing.process import StandInProcess

__all__ = ["DemoError", "cancelled", "join_all", "running_bot"]

_JOIN_AT_ONCE: Final = 8
_GUILDS_TIMEOUT_S: Final = 30.0


class DemoError(Exception):
    """The demo cannot go on; the text is one sentence."""


@contextlib.asynccontextmanager
async def running_bot(discord: StandInProcess) -> AsyncIterator[hikari.GatewayBot]:
    """Run the bot until the block ends; it sees all guilds by then.

    Raises
    ------
    DemoError
        It does not see them in time.
    """
    bot = hikari.GatewayBot(
        discord.token,
        rest_url=discord.rest_url,
        banner=None,
        logs=None,
        suppress_optimization_warning=True,
    )
    waited_for = {guild.id for guild in discord.guilds}
    all_there = asyncio.Event()

    async def on_guild(event: hikari.GuildAvailableEvent) -> None:
        waited_for.discard(event.guild_id)
        if not waited_for:
            all_there.set()

    bot.event_manager.subscribe(hikari.GuildAvailableEvent, on_guild)
    try:
        try:
            async with asyncio.timeout(_GUILDS_TIMEOUT_S):
                await bot.start(check_for_updates=False)
                await all_there.wait()
        except TimeoutError:
            raise DemoError(f"the bot has not seen all its guilds within {_GUILDS_TIMEOUT_S:g} s") from None
        yield bot
    finally:
        if bot.is_alive:
            await bot.close()


async def join_all(
    bot: hikari.GatewayBot, pool: VoicePool, discord: StandInProcess, progress: Progress
) -> list[VoiceConnection]:
    """Join the first voice channel of each guild, some at a time.

    Raises
    ------
    DemoError
        hikari's voice component gives up.
    VoicePoolError
        The pool cannot make the connection.
    """
    turns = asyncio.Semaphore(_JOIN_AT_ONCE)
    joined = 0

    async def join(guild_id: int, channel_id: int) -> VoiceConnection:
        nonlocal joined
        async with turns:
            voice = await bot.voice.connect_to(
                hikari.Snowflake(guild_id), hikari.Snowflake(channel_id), VoiceConnection, pool=pool
            )
        joined += 1
        progress.say(f"joining: {joined} of {len(discord.guilds)}")
        return voice

    joining = [asyncio.create_task(join(guild.id, guild.voice_channel_ids[0])) for guild in discord.guilds]
    try:
        return list(await asyncio.gather(*joining))
    except hikari.VoiceError as error:
        raise DemoError(f"the bot cannot join: {error}") from error
    finally:
        await cancelled(joining)


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what has not ended, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
