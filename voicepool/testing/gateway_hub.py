"""Every gateway session of the stand-in, and which of them hears of an event.

`GatewayHub.publish` is the only way an event reaches a client: it applies intents and shards, and the faults
that a test has asked for. Violations of the protocol are kept here as well, since every connection has some.
"""

from __future__ import annotations

__all__ = ["Event", "GatewayHub", "Violation", "Withheld"]

import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import msgspec

from voicepool.testing.gateway_protocol import (
    CloseCode,
    Intents,
    ProtocolError,
    check_intents,
)
from voicepool.testing.gateway_session import GatewaySession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from voicepool.testing.gateway_changes import Changes
    from voicepool.testing.gateway_protocol import Identify, Resume
    from voicepool.testing.guild_model import BotUser
    from voicepool.testing.guild_world import World

_MAX_KEPT: Final = 10_000
"""Bound of each log; the oldest entry goes."""
_MAX_SESSIONS: Final = 1_000
"""Live sessions; beyond it the oldest that is not connected dies, as if it had timed out."""
_MAX_GUILDS_A_SHARD: Final = 2_500
"""Gateway, Sharding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something a client did that Discord would not stand for.

    Attributes
    ----------
    at_s
        Clock of the stand-in, seconds.
    bot_id
        None if it had not logged in.
    close_code
        The code that the connection was closed with; None if Discord would just have stayed silent.
    reason
        One sentence; holds no secret.
    """

    at_s: float
    bot_id: int | None
    close_code: CloseCode | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dispatch before it is known who hears of it.

    Attributes
    ----------
    name, data
        As in the dispatch. The data may depend on the session (message content): then it is a function.
    guild_id
        The guild it belongs to.
    user_id
        Whom it is about; only faults look at it.
    intent
        Needed to hear of it; None for all.
    session_id
        The one session it goes to; None for all that may hear of it.
    """

    name: str
    data: Mapping[str, object] | Callable[[GatewaySession], Mapping[str, object]] = field(repr=False)
    guild_id: int
    user_id: int | None = None
    intent: Intents | None = None
    session_id: str | None = field(default=None, repr=False)


class Withheld:
    """Events that a test holds back; made by `FakeDiscord.withhold`.

    Use it as a context manager (leaving it releases) or call `release` or `discard`. Events of the kind go
    out again, in order, from then on.
    """

    def __init__(self, hub: GatewayHub, name: str, guild_id: int | None, user_id: int | None) -> None:
        self._hub = hub
        self._name, self._guild_id, self._user_id = name, guild_id, user_id
        self._events: deque[Event] = deque(maxlen=_MAX_KEPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def events(self) -> tuple[Event, ...]:
        """What has been held back so far, oldest first (the newest 10,000)."""
        return tuple(self._events)

    def wants(self, event: Event) -> bool:
        """Tell whether an event is of the kind that is held back."""
        return (
            event.name == self._name
            and self._guild_id in {None, event.guild_id}
            and self._user_id in {None, event.user_id}
        )

    def keep(self, event: Event) -> None:
        """Hold one event back."""
        self._events.append(event)

    def release(self) -> None:
        """Stop withholding and send what was held back. A second call does nothing."""
        self._hub.stop_withholding(self)
        while self._events:
            self._hub.publish(self._events.popleft())

    def discard(self) -> None:
        """Stop withholding and throw away what was held back."""
        self._hub.stop_withholding(self)
        self._events.clear()


class GatewayHub:
    """Sessions, who hears of what, and the record of violations.

    Parameters
    ----------
    world
        Knows the bots and their guilds.
    changes
        Told whenever something happens.
    clock
        Seconds, monotonic.
    """

    def __init__(self, world: World, changes: Changes, clock: Callable[[], float]) -> None:
        self._world = world
        self._changes = changes
        self._clock = clock
        self._sessions: OrderedDict[str, GatewaySession] = OrderedDict()
        self._withheld: list[Withheld] = []
        self._violations: deque[Violation] = deque(maxlen=_MAX_KEPT)
        self.on_session_end: Callable[[GatewaySession], None] = lambda _session: None
        """Called once for each session that dies, after it can no longer hear anything."""
        self.identifies = 0

    @property
    def sessions(self) -> tuple[GatewaySession, ...]:
        """The sessions that are connected or may be resumed, oldest first."""
        return tuple(self._sessions.values())

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The newest 10,000 violations, oldest first."""
        return tuple(self._violations)

    def violation(self, reason: str, *, code: CloseCode | None = None, bot_id: int | None = None) -> None:
        """Record a violation."""
        self._violations.append(Violation(at_s=self._clock(), bot_id=bot_id, close_code=code, reason=reason))
        self._changes.notify()

    def identify(self, message: Identify) -> GatewaySession:
        """Start a session for an IDENTIFY.

        Raises
        ------
        ProtocolError
            4004, 4010, 4011, 4013 or 4014.
        """
        bot = self._authenticate(message.token)
        intents = check_intents(message.intents, allows_privileged=bot.allows_privileged_intents)
        shard = message.shard or (0, 1)
        index, count = shard
        if not 0 <= index < count:
            raise ProtocolError(
                CloseCode.INVALID_SHARD, f"shard {list(shard)}: the index must be below the count"
            )
        session = GatewaySession(
            secrets.token_hex(16), bot, intents=intents, shard=shard, properties=message.properties
        )
        guilds = sum(session.hears_of(guild.id) for guild in self._world.guilds_of(bot.id))
        if guilds > _MAX_GUILDS_A_SHARD:
            reason = f"shard {list(shard)} would have {guilds} guilds: {_MAX_GUILDS_A_SHARD} at most"
            raise ProtocolError(CloseCode.SHARDING_REQUIRED, reason)
        self._make_room()
        self._sessions[session.session_id] = session
        self.identifies += 1
        return session

    def resume(self, message: Resume) -> GatewaySession | None:
        """Find the session that a RESUME names; None if it is gone and the client must identify anew.

        Raises
        ------
        ProtocolError
            4004 for a token that is not the session's bot's.
        """
        bot = self._authenticate(message.token)
        session = self._sessions.get(message.session_id)
        return session if session is not None and session.bot is bot else None

    def end_session(self, session: GatewaySession) -> None:
        """Let a session die: it cannot be resumed, and its bot leaves voice."""
        if self._sessions.pop(session.session_id, None) is None:
            return
        session.alive = False
        self.on_session_end(session)
        self._changes.notify()

    def changed(self) -> None:
        """Tell everyone who waits that a session has changed."""
        self._changes.notify()

    def withhold(self, name: str, *, guild_id: int | None, user_id: int | None) -> Withheld:
        """Hold events of a kind back from now on."""
        self._withheld.append(held := Withheld(self, name, guild_id, user_id))
        return held

    def stop_withholding(self, held: Withheld) -> None:
        """Let events of a kind through again; the ones that were held are `held`'s matter."""
        if held in self._withheld:
            self._withheld.remove(held)

    def publish(self, event: Event) -> None:
        """Send an event to every session that may hear of it, or hold it back if a test wants that."""
        for held in self._withheld:
            if held.wants(event):
                held.keep(event)
                self._changes.notify()
                return
        encoded = None if callable(event.data) else msgspec.Raw(msgspec.json.encode(event.data))
        for session in self._sessions.values():
            if self._hears(session, event):
                data = event.data(session) if callable(event.data) else event.data
                session.dispatch(event.name, encoded or msgspec.Raw(msgspec.json.encode(data)))
        self._changes.notify()

    def _hears(self, session: GatewaySession, event: Event) -> bool:
        if event.session_id is not None:
            return session.session_id == event.session_id
        guild = self._world.guilds.get(event.guild_id)
        return (
            guild is not None
            and session.bot.id in guild.members
            and session.hears_of(event.guild_id)
            and (event.intent is None or event.intent in session.intents)
        )

    def _authenticate(self, token: str) -> BotUser:
        # A bot's token is sent bare to the gateway and with the prefix to REST; Discord takes both here.
        bot = self._world.bot_of_token(token.removeprefix("Bot "))
        if bot is None:
            raise ProtocolError(CloseCode.AUTHENTICATION_FAILED, "no bot of this FakeDiscord has that token")
        return bot

    def _make_room(self) -> None:
        if len(self._sessions) < _MAX_SESSIONS:
            return
        idle = next((session for session in self._sessions.values() if not session.connected), None)
        if idle is None:
            reason = f"{_MAX_SESSIONS} sessions are connected already: end some of them"
            raise ProtocolError(CloseCode.UNKNOWN_ERROR, reason)
        self.end_session(idle)
