"""How a connection that has ended gets out of hikari's map, and the bot out of the channel.

The component does both when it is told, in that order, and the second can fail: it waits for up to a minute
in the shard's rate limiter, raises when the shard is down, and is not reached when the bot has a listener for
``VoiceEvent`` of its own (the component unsubscribes twice). Then the bot would sit in the channel for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from voicepool._subject_log import about
from voicepool.hikari.watch import VoiceWatch

__all__ = ["leave_later", "tell_component"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")
_FAREWELL_S: Final = 70.0
"""What the component's leave may take: a shard's rate limiter lets it wait a minute."""
_FAREWELL_WHILE_STOPPING_S: Final = 2.0
"""The same while the bot closes, where the end of the session takes the bot out of voice anyway."""
_SHARD_BACK_S: Final = 300.0
"""How long a shard that is down is waited for; later than that Discord has ended its session."""


async def tell_component(
    tell: Callable[[], Awaitable[None]], watch: VoiceWatch | None, guild_id: int
) -> bool:
    """Tell the component of an end; it may fail, but the call has ended either way.

    Parameters
    ----------
    tell
        The component's ``on_close``.
    watch
        On the bot; None when nothing is known of it.
    guild_id
        For the log.

    Returns
    -------
    bool
        Whether the bot may have stayed behind in the channel.
    """
    stopping = watch is not None and watch.stopping
    try:
        async with asyncio.timeout(_FAREWELL_WHILE_STOPPING_S if stopping else _FAREWELL_S):
            await tell()
    except Exception as error:  # noqa: BLE001  # whatever it raises, the call has ended
        if stopping:
            # The end of the session leaves for all.
            _LOGGER.debug(
                "guild %s: no leave while the bot stops: %r", guild_id, error, extra=about(guild=guild_id)
            )
            return False
        _LOGGER.warning(
            "guild %s: hikari's voice component did not leave the channel: %r",
            guild_id,
            error,
            extra=about(guild=guild_id),
        )
        return True
    return False


async def leave_later(watch: VoiceWatch, wanted: Callable[[], bool]) -> None:
    """Leave the channel as soon as the shard is back, and close the watch.

    Parameters
    ----------
    watch
        On the bot.
    wanted
        Whether the bot should still leave: there may be a new connection by then.
    """
    try:
        async with asyncio.timeout(_SHARD_BACK_S):
            await watch.until(lambda: watch.stopping or watch.shard_connected)
        if wanted() and not watch.stopping:
            await watch.leave()
    except TimeoutError:
        _LOGGER.warning(
            "guild %s: the shard did not come back, so the bot could not leave",
            watch.guild_id,
            extra=about(guild=watch.guild_id),
        )
    finally:
        watch.close()
