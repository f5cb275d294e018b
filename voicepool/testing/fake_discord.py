"""A stand-in for Discord's REST API and main gateway, for testing bots offline.

An unmodified bot starts against it, sees guilds and joins voice; a `DiscordVoiceServer` (or several) takes
the voice connection from there. It serves plain HTTP and ``ws://`` on one loopback port.

>>> async with FakeDiscord.with_guilds(8, voice_servers=[voice]) as fake:
...     bot = hikari.GatewayBot(fake.token, rest_url=fake.rest_url)
...     await bot.start(check_for_updates=False)

The parts: `guild_model` (what exists), `guild_world` (who is where), `gateway_hub` (who hears of what),
`gateway_voice` (op 4), `gateway_server` and `gateway_connection` (sockets), `rest_routes` and `rest_server`.
"""

from __future__ import annotations

__all__ = ["FakeDiscord"]

import time
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Self

from voicepool.testing.gateway_changes import Changes
from voicepool.testing.gateway_hub import GatewayHub
from voicepool.testing.gateway_server import GatewayServer
from voicepool.testing.gateway_voice import VoiceDesk
from voicepool.testing.gateway_web import web
from voicepool.testing.guild_model import BotUser, User, make_guild
from voicepool.testing.guild_world import VoiceState, World
from voicepool.testing.rest_routes import Backend
from voicepool.testing.rest_server import RestServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from voicepool.testing.gateway_hub import Violation, Withheld
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.gateway_voice import Op4, VoiceServer
    from voicepool.testing.guild_model import Channel, Guild
    from voicepool.testing.guild_world import Message
    from voicepool.testing.rest_server import UnknownRequest

_MAX_UPLOAD_BYTES: Final = 25 * 1024 * 1024
_SHUTDOWN_S: Final = 1.0


class FakeDiscord:
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

    # Driving it.

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
