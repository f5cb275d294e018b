"""`Rejoin`: how the bot gets back into its channel, for credentials that only a join brings.

Two things make it necessary. The voice server does not know the session any more (close codes 4006 and 4009):
then the bot has to leave first, since a join of the channel one is in is not answered. Or the main gateway
gave the bot a new session, and Discord has it out of voice already. The phases::

    pending ──> leaving ──> returning ──> joined
                                └── no answer: leaving, once more

Each op 4 may wait for minutes in the shard's rate limiter when all its calls come back at once. The answer
may not; and all the while the worker keeps the call.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Final

from voicepool._subject_log import about
from voicepool.errors import JoinError
from voicepool.hikari.facts import SILENCE, join_error
from voicepool.hikari.watch import VoiceWatch

__all__ = ["Phase", "Rejoin"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")
_ATTEMPTS: Final = 2
_LEAVE_S: Final = 5.0


class Phase(enum.Enum):
    """How far it is. What Discord says means something else in each."""

    PENDING = "pending"
    """Nothing was sent yet, and all means what it always does. A server named now makes it needless."""
    LEAVING = "leaving"
    """A server named now is void by the leave; the state of the leave is no kick."""
    RETURNING = "returning"
    """A server named now is used as soon as the state is there. A late state of the leave is no kick."""
    JOINED = "joined"
    """All is as it ever was."""


class Rejoin:
    """One way back.

    Parameters
    ----------
    watch
        On the bot's own voice in the guild.
    patience_s
        Seconds that the worker keeps a call that has no server, each time `hold` is called. Half of it is how
        long each attempt may wait for Discord's answer.
    hold
        Makes the worker keep the call so long from now on.
    needless
        Tells, before anything is sent, whether other credentials came meanwhile.
    leave_first
        Whether the bot is in the channel, as far as Discord knows.
    session_id
        The main gateway's session that the new state must be of; None for whichever.
    """

    def __init__(
        self,
        watch: VoiceWatch,
        *,
        patience_s: float,
        hold: Callable[[], None],
        needless: Callable[[], bool],
        leave_first: bool,
        session_id: str | None,
    ) -> None:
        self._watch = watch
        self._patience_s, self._hold, self._needless = patience_s, hold, needless
        self._leave_first, self._session_id = leave_first, session_id
        self._servers = watch.servers
        self._deaf, self._mute = watch.flags
        self._phase = Phase.PENDING if leave_first else Phase.RETURNING

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self._phase

    @property
    def explains_leave(self) -> bool:
        """Whether the bot's being out of voice is part of this, and no kick."""
        return self._phase in {Phase.LEAVING, Phase.RETURNING}

    @property
    def voids_server(self) -> bool:
        """Whether a server that is named now is of no use."""
        return self._phase is Phase.LEAVING

    @property
    def awaits_state(self) -> bool:
        """Whether a server that is named now has to wait for the state that belongs to it."""
        return self._phase is Phase.RETURNING

    def on_state(self, session_id: str) -> None:
        """Take note that the bot is in a channel, as Discord said with this session id."""
        if self._phase is Phase.RETURNING and self._session_id in {None, session_id}:
            self._phase = Phase.JOINED

    async def run(self, channel_id: Callable[[], int]) -> None:
        """Go back, and return when Discord has named session and server, or did before.

        Parameters
        ----------
        channel_id
            Tells where to; asked when the bot has left, since it may have been moved before.

        Raises
        ------
        JoinError
            Discord does not answer, or the shard does not come back.
        """
        for number in range(_ATTEMPTS):
            if self._superfluous:
                return
            try:
                self._hold()
                async with asyncio.timeout(self._patience_s / 2):
                    await self._watch.until(lambda: self._watch.shard_connected)
                if self._superfluous:
                    return
                if number or self._leave_first:
                    await self._leave()
                await self._join(channel_id())
            except (TimeoutError, JoinError) as error:
                _LOGGER.debug(
                    "guild %s: attempt %d to rejoin: %r",
                    self._watch.guild_id,
                    number + 1,
                    error,
                    extra=about(guild=self._watch.guild_id),
                )
            else:
                return
        raise join_error("timeout", self._watch.guild_id, channel_id(), SILENCE)

    async def _leave(self) -> None:
        self._phase = Phase.LEAVING
        state = self._watch.latest
        await self._ask(None)
        if state is not None and state.channel_id is None:
            return
        try:
            async with asyncio.timeout(min(_LEAVE_S, self._patience_s / 2)):
                await self._watch.until(lambda: self._watch.state is not None and not self._watch.in_channel)
        except TimeoutError:
            # It was out already, and Discord does not answer a leave from nowhere.
            _LOGGER.debug(
                "guild %s: no answer to the leave before a rejoin",
                self._watch.guild_id,
                extra=about(guild=self._watch.guild_id),
            )

    async def _join(self, channel_id: int) -> None:
        self._phase = Phase.RETURNING
        self._servers = self._watch.servers
        await self._ask(channel_id)
        async with asyncio.timeout(self._patience_s / 2):
            await self._watch.until(lambda: self._answered)

    async def _ask(self, channel_id: int | None) -> None:
        self._hold()
        asking = asyncio.ensure_future(self._watch.ask(channel_id, deaf=self._deaf, mute=self._mute))
        try:
            while not (await asyncio.wait({asking}, timeout=self._patience_s / 2))[0]:
                if not self._answered:
                    # Afterwards it would undo what the answer has begun.
                    self._hold()
        finally:
            asking.cancel()
            await asyncio.wait({asking})
        asking.result()

    @property
    def _superfluous(self) -> bool:
        return self._phase is Phase.PENDING and self._needless()

    @property
    def _answered(self) -> bool:
        joined = self._phase is Phase.JOINED
        return joined and self._watch.servers != self._servers and self._watch.has_server
