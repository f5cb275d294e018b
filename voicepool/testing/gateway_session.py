"""[pure] One gateway session: what was dispatched to it, and how much of that can be replayed.

A session outlives its websocket: RESUME goes on from the sequence number that the client has seen last. The
log is also the send queue of the connection, which follows it with a cursor. So an event has one home, and
one bound: beyond `MAX_LOGGED_EVENTS` the oldest go, and whoever still needed them must start a new session.
"""

from __future__ import annotations

__all__ = ["MAX_LOGGED_EVENTS", "GatewaySession", "ReplayLostError"]

from collections import deque
from typing import TYPE_CHECKING, Final

from voicepool.testing.gateway_protocol import CloseCode, Intents, ProtocolError, encode_dispatch, shard_of

if TYPE_CHECKING:
    import msgspec

    from voicepool.testing.guild_model import BotUser

MAX_LOGGED_EVENTS: Final = 8192
"""Room for the GUILD_CREATEs of the 2500 guilds that one shard may have, and the traffic of some minutes."""


class ReplayLostError(Exception):
    """Events between the client's sequence number and now have been thrown away."""


class GatewaySession:
    """What the gateway remembers of one IDENTIFY.

    Parameters
    ----------
    session_id
        The secret that RESUME names, and the session_id of the bot's voice states.
    bot
        Who logged in.
    intents
        What it wants to hear.
    shard
        Index and count.
    properties
        What the client said of itself.

    Attributes
    ----------
    connected
        Whether a websocket serves the session now.
    alive
        False once it can neither be served nor resumed any more.
    resumes
        How often it was resumed.
    """

    def __init__(
        self,
        session_id: str,
        bot: BotUser,
        *,
        intents: Intents,
        shard: tuple[int, int] = (0, 1),
        properties: dict[str, object] | None = None,
    ) -> None:
        self.session_id: Final = session_id
        self.bot: Final = bot
        self.intents: Final = intents
        self.shard: Final = shard
        self.properties: Final = dict(properties or {})
        self.connected = False
        self.alive = True
        self.resumes = 0
        self.seq = 0
        self._log: deque[bytes] = deque(maxlen=MAX_LOGGED_EVENTS)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "resumable" if self.alive else "dead"
        return f"GatewaySession(bot={self.bot.name!r}, shard={self.shard}, seq={self.seq}, {state})"

    def hears_of(self, guild_id: int) -> bool:
        """Tell whether a guild belongs to this session's shard."""
        index, count = self.shard
        return shard_of(guild_id, count) == index

    def dispatch(self, name: str, data: msgspec.Raw) -> None:
        """Append an event; the connection sends it, or a later RESUME replays it."""
        self.seq += 1
        self._log.append(encode_dispatch(name, self.seq, data))

    def event_after(self, seq: int) -> bytes | None:
        """Return the encoded event that follows sequence number `seq`; None if there is none yet.

        Raises
        ------
        ReplayLostError
            If that event has been thrown away.
        """
        oldest = self.seq - len(self._log) + 1
        if seq >= self.seq:
            return None
        if seq + 1 < oldest:
            raise ReplayLostError
        return self._log[seq + 1 - oldest]

    def check_resume(self, seq: int) -> None:
        """Check that the session can go on from `seq`.

        Raises
        ------
        ProtocolError
            4007 for a sequence number that was never sent.
        ReplayLostError
            If too much has happened since.
        """
        if not 0 <= seq <= self.seq:
            raise ProtocolError(CloseCode.INVALID_SEQ, f"resumed at seq {seq}: the session is at {self.seq}")
        self.event_after(seq)
