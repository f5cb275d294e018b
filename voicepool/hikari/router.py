"""`EventRouter`: one subscription a bot, however many connections it has.

hikari makes a task for each listener of each event. Were every connection to listen for itself, a bot in 500
channels would start 500 tasks whenever anybody anywhere mutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, Protocol

import hikari

__all__ = ["EventRouter", "Hearer"]


class Hearer(Protocol):
    """Who wants to hear of one guild."""

    @property
    def guild_id(self) -> int:
        """The guild."""

    @property
    def shard_id(self) -> int:
        """The shard that has it."""

    async def on_state(self, event: hikari.VoiceStateUpdateEvent) -> None:
        """Take any user's voice state in the guild."""

    async def on_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        """Take the guild's voice server."""

    def on_ready(self, session_id: str) -> None:
        """Take note that the shard has a session, a new one or the first."""

    def on_resumed(self) -> None:
        """Take note that the shard is back in its session."""

    def on_stopping(self) -> None:
        """Take note that the bot closes."""


class EventRouter:
    """Hears a bot's events and hands each to those whom it concerns. Exists while somebody listens.

    Parameters
    ----------
    bot
        Whose events. Use `add`, so that there is one router a bot.
    """

    _ROUTERS: ClassVar[dict[int, EventRouter]] = {}
    """By the identity of the bot, which cannot be reused since the router keeps the bot."""

    def __init__(self, bot: hikari.GatewayBotAware) -> None:
        self._bot: Final = bot
        self._hearers: dict[int, list[Hearer]] = {}
        self._listeners: Final[tuple[tuple[type[Any], Callable[[Any], Coroutine[Any, Any, None]]], ...]] = (
            (hikari.VoiceStateUpdateEvent, self._on_state),
            (hikari.VoiceServerUpdateEvent, self._on_server),
            (hikari.ShardReadyEvent, self._on_ready),
            (hikari.ShardResumedEvent, self._on_resumed),
            (hikari.StoppingEvent, self._on_stopping),
        )

    @classmethod
    def add(cls, bot: hikari.GatewayBotAware, hearer: Hearer) -> EventRouter:
        """Tell someone of a bot's events from now on, and return who does; `remove` ends it."""
        router = cls._ROUTERS.get(id(bot))
        if router is None:
            router = cls._ROUTERS[id(bot)] = cls(bot)
            for kind, listener in router._listeners:
                bot.event_manager.subscribe(kind, listener)
        router._hearers.setdefault(hearer.guild_id, []).append(hearer)
        return router

    def remove(self, hearer: Hearer) -> None:
        """Tell someone no more; listen no more if that was the last."""
        there = self._hearers[hearer.guild_id]
        there.remove(hearer)
        if not there:
            del self._hearers[hearer.guild_id]
        if not self._hearers:
            del self._ROUTERS[id(self._bot)]
            for kind, listener in self._listeners:
                self._bot.event_manager.unsubscribe(kind, listener)

    def _all(self) -> list[Hearer]:
        return [hearer for there in self._hearers.values() for hearer in there]

    async def _on_state(self, event: hikari.VoiceStateUpdateEvent) -> None:
        await _together([hearer.on_state(event) for hearer in self._hearers.get(event.guild_id, ())])

    async def _on_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        await _together([hearer.on_server(event) for hearer in self._hearers.get(event.guild_id, ())])

    async def _on_ready(self, event: hikari.ShardReadyEvent) -> None:
        for hearer in self._all():
            if hearer.shard_id == event.shard.id:
                hearer.on_ready(event.session_id)

    async def _on_resumed(self, event: hikari.ShardResumedEvent) -> None:
        for hearer in self._all():
            if hearer.shard_id == event.shard.id:
                hearer.on_resumed()

    async def _on_stopping(self, _event: hikari.StoppingEvent) -> None:
        for hearer in self._all():
            hearer.on_stopping()


async def _together(calls: list[Coroutine[Any, Any, None]]) -> None:
    """Await all; one that takes its time holds up none of the others."""
    if len(calls) == 1:
        await calls[0]
    elif calls:
        await asyncio.gather(*calls)
