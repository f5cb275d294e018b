"""A stand-in for Discord's REST API and main gateway, for testing bots offline.

An unmodified bot starts against it, sees guilds and joins voice; a `DiscordVoiceServer` (or several) takes
the voice connection from there. It serves plain HTTP and ``ws://`` on one loopback port.

>>> async with FakeDiscord.with_guilds(8, voice_servers=[voice]) as fake:
...     bot = hikari.GatewayBot(fake.token, rest_url=fake.rest_url)
...     await bot.start(check_for_updates=False)

The parts: `discord_orders` (what can be made to happen), `guild_model` (what exists), `guild_world` (who is
where), `gateway_hub` (who hears of what), `gateway_voice` (op 4), `gateway_server` and `gateway_connection`
(sockets), `rest_routes` and `rest_server`.
"""

from __future__ import annotations

__all__ = ["FakeDiscord"]

import time
from typing import TYPE_CHECKING, Final, Self

from voicepool.testing.discord_orders import DiscordOrders
from voicepool.testing.gateway_changes import Changes
from voicepool.testing.gateway_hub import GatewayHub
from voicepool.testing.gateway_server import GatewayServer
from voicepool.testing.gateway_voice import VoiceDesk
from voicepool.testing.gateway_web import web
from voicepool.testing.guild_model import BotUser, make_guild
from voicepool.testing.guild_world import VoiceState, World
from voicepool.testing.rest_backend import Backend
from voicepool.testing.rest_server import RestServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from voicepool.testing.gateway_hub import Violation
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.gateway_voice import Op4, VoiceServer
    from voicepool.testing.guild_model import Guild
    from voicepool.testing.guild_world import Message
    from voicepool.testing.rest_server import UnknownRequest

_MAX_UPLOAD_BYTES: Final = 25 * 1024 * 1024
_SHUTDOWN_S: Final = 1.0


class FakeDiscord(DiscordOrders):
    """Discord's REST API and main gateway on loopback; an async context manager.

    Parameters
    ----------
    guilds
        What exists; one guild with a text, two voice and a stage channel when left out.
    bot
        The account that logs in; made when left out.
    bots
        Several accounts instead of `bot`. Each is made a member of each guild.
    voice_servers
        Where bots are sent for voice; a guild gets one of them by its id. Without any, bots get a token for
        an endpoint that nobody serves. The stand-in neither starts nor stops them.
    host, port
        Where to listen; port 0 takes a free one.
    heartbeat_interval_s
        What HELLO asks for; a client that is silent for twice as long is closed.
    resume_window_s
        How long a session may be resumed after its connection is gone.
    clock
        Seconds, monotonic; for rate limits and for the times in the logs.

    Raises
    ------
    TypeError
        If both `bot` and `bots` are given.
    ValueError
        If two bots or two guilds share an id, or `bots` is empty.

    Notes
    -----
    Everything belongs to the event loop that entered the context: call the methods from there. Logs
    (`op4_log`, `violations`, `unknown_requests`, `messages`) keep their newest 10,000 entries.
    """

    def __init__(
        self,
        *,
        guilds: Sequence[Guild] | None = None,
        bot: BotUser | None = None,
        bots: Sequence[BotUser] | None = None,
        voice_servers: Sequence[VoiceServer] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        heartbeat_interval_s: float = 41.25,
        resume_window_s: float = 180.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if bot is not None and bots is not None:
            raise TypeError("give FakeDiscord either `bot` or `bots`, not both")
        if bots is None:
            bots = [bot or BotUser(name="voice-bot")]
        if guilds is None:
            guilds = [make_guild("guild-0")]
        self._host, self._port = host, port
        self._world = World(bots, guilds)
        self._changes = Changes()
        self._hub = GatewayHub(self._world, self._changes, clock)
        self._desk = VoiceDesk(self._world, self._hub, voice_servers, clock)
        self._gateway = GatewayServer(
            self._world,
            self._hub,
            self._desk,
            self._changes,
            clock=clock,
            heartbeat_interval_s=heartbeat_interval_s,
            resume_window_s=resume_window_s,
        )
        self._backend = Backend(self._world, self._hub, self._desk, lambda: self.gateway_url)
        self._rest = RestServer(self._backend, clock)
        self._runner: web.AppRunner | None = None
        self._address: tuple[str, int] | None = None

    @classmethod
    def with_guilds(
        cls,
        count: int,
        *,
        voice_channels: int = 2,
        stage_channels: int = 1,
        bot: BotUser | None = None,
        bots: Sequence[BotUser] | None = None,
        voice_servers: Sequence[VoiceServer] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Self:
        """Make one with `count` guilds, each with a text channel and so many voice and stage channels."""
        guilds = [
            make_guild(f"guild-{index}", voice_channels=voice_channels, stage_channels=stage_channels)
            for index in range(count)
        ]
        return cls(guilds=guilds, bot=bot, bots=bots, voice_servers=voice_servers, host=host, port=port)

    def __repr__(self) -> str:
        where = f"at {self.rest_url}" if self._address else "not started"
        return f"<FakeDiscord {where}: {len(self._world.guilds)} guilds, {len(self._world.bots)} bots>"

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        RuntimeError
            If it has been started already.
        OSError
            If the port is taken.
        """
        if self._runner is not None:
            raise RuntimeError("this FakeDiscord has been started already: make a new one")
        app = web.Application(client_max_size=_MAX_UPLOAD_BYTES)
        app.router.add_get("/", self._gateway.serve)
        app.router.add_route("*", "/api/{path:.*}", self._rest.serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._address = self._runner.addresses[0][:2]
        self._gateway.url = self.gateway_url

    async def close(self) -> None:
        """Close every connection and stop listening; a second call does nothing."""
        if self._runner is None or self._address is None:
            return
        self._address = None
        await self._gateway.close()
        await self._runner.cleanup()

    # Where it is, and what a bot needs to log in.

    @property
    def rest_url(self) -> str:
        """Base of the REST API, for ``hikari.GatewayBot(rest_url=…)`` and ``discord.http.Route.BASE``."""
        return f"http://{self._netloc}/api/v10"

    @property
    def gateway_url(self) -> str:
        """The main gateway, for clients that do not ask REST for it."""
        return f"ws://{self._netloc}/"

    @property
    def _netloc(self) -> str:
        if self._address is None:
            raise RuntimeError("FakeDiscord has no address: use it inside `async with`")
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def bots(self) -> tuple[BotUser, ...]:
        """The accounts that may log in, each with its `token`."""
        return self._world.bots

    @property
    def bot(self) -> BotUser:
        """The first of `bots`."""
        return self._world.bots[0]

    @property
    def token(self) -> str:
        """The token of the first bot."""
        return self.bot.token

    @property
    def bot_user_id(self) -> int:
        """The id of the first bot."""
        return self.bot.id

    # What there is and what has happened.

    @property
    def guilds(self) -> tuple[Guild, ...]:
        """The guilds. What a test changes in them holds from then on; no event is sent for it."""
        return tuple(self._world.guilds.values())

    @property
    def sessions(self) -> tuple[GatewaySession, ...]:
        """Gateway sessions that are connected or may be resumed: bot, intents, shard, properties."""
        return self._hub.sessions

    @property
    def op4_log(self) -> tuple[Op4, ...]:
        """Each op 4 received, with its outcome: it says why Discord would have stayed silent."""
        return self._desk.op4_log

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What clients did that Discord would not stand for; empty after a good test."""
        return self._hub.violations

    @property
    def unknown_requests(self) -> tuple[UnknownRequest, ...]:
        """REST requests to routes that the stand-in does not have."""
        return self._rest.unknown_requests

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message posted, oldest first."""
        return self._world.messages

    def voice_state(self, guild_id: int, user_id: int) -> VoiceState | None:
        """Tell where a user is in a guild; None when not in voice."""
        return self._world.voice_state(guild_id, user_id)

    async def wait_until(
        self, predicate: Callable[[], bool], *, what: str = "the condition", timeout_s: float = 10.0
    ) -> None:
        """Wait until `predicate` holds; it is asked again whenever something happens here.

        Parameters
        ----------
        predicate
            Cheap and free of side effects, such as ``lambda: len(fake.op4_log) == 2``.
        what
            Named in the error.
        timeout_s
            Seconds to wait at most.

        Raises
        ------
        TimeoutError
            If it does not come to hold in time.
        """
        await self._changes.wait_until(predicate, timeout_s=timeout_s, describe=lambda: what)

    async def wait_for_voice_state(
        self, guild_id: int, user_id: int, channel_id: int | None, *, timeout_s: float = 10.0
    ) -> VoiceState | None:
        """Wait until a user is in a channel, or out of voice when `channel_id` is None.

        Returns
        -------
        VoiceState | None
            The state then.

        Raises
        ------
        TimeoutError
            If that does not happen within `timeout_s` seconds; the text says where the user is.
        """

        def place() -> int | None:
            state = self.voice_state(guild_id, user_id)
            return None if state is None else state.channel_id

        def describe() -> str:
            return (
                f"user {user_id} of guild {guild_id} to be in channel {channel_id}: the channel is {place()}"
            )

        await self._changes.wait_until(lambda: place() == channel_id, timeout_s=timeout_s, describe=describe)
        return self.voice_state(guild_id, user_id)
