"""What can be asked of the stand-ins when they run in a process of their own, and how it looks as JSON.

A request is ``{"id": 1, "do": "write_wavs", "with": {"directory": "/tmp/out"}}``; the answer is
``{"id": 1, "result": …}`` or ``{"id": 1, "error": {"kind": "LookupError", "text": "…"}}``. Ids of guilds,
channels and users are strings, as in Discord's own JSON: as numbers they would lose digits in JavaScript.

The names, their arguments and their defaults are those of the methods of `StandInRequests`.
"""

from __future__ import annotations

__all__ = ["StandInRequests", "UnreadableRequestError", "description", "read_request"]

import asyncio
import inspect
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_hub import Withheld
from voicepool.testing.guild_model import User
from voicepool.testing.rest_server import UnknownRequest
from voicepool.testing.stand_in_fault_requests import FaultRequests
from voicepool.testing.stand_in_values import ID_FIELDS
from voicepool.testing.voice_faults import Faults
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_session_view import SessionState

_MAX_WITHHELD: Final = 1_000


class UnreadableRequestError(ValueError):
    """A line is no request."""


def read_request(line: bytes) -> tuple[object, str, dict[str, Any]]:
    """Take a request apart.

    Returns
    -------
    tuple
        Its id, whatever that is; what is asked for; the arguments, ids made into integers.

    Raises
    ------
    UnreadableRequestError
        It is no JSON object of that form; the text says what is.
    """
    expected = '{"id": 1, "do": "reports", "with": {}}'
    try:
        request = json.loads(line)
    except ValueError as error:
        raise UnreadableRequestError(f"this is no JSON ({error}); a request is {expected}") from None
    what = request.get("do") if isinstance(request, dict) else None
    if not isinstance(what, str):
        raise UnreadableRequestError(f"this is not an object; a request is {expected}")
    arguments = request.get("with", {})
    if not isinstance(arguments, dict):
        raise UnreadableRequestError(f'"with" is the arguments by name; a request is {expected}')
    try:
        read = {
            name: int(value) if name in ID_FIELDS and value is not None else value
            for name, value in arguments.items()
        }
    except (TypeError, ValueError):
        raise UnreadableRequestError("ids are whole numbers, in strings") from None
    return request.get("id"), what, read


def description(discord: FakeDiscord, servers: Sequence[DiscordVoiceServer]) -> dict[str, object]:
    """Return what a bot needs to log in and a test to find its way; printed when the process is ready."""
    return {
        "pid": os.getpid(),
        "rest_url": discord.rest_url,
        "gateway_url": discord.gateway_url,
        "voice_endpoints": [server.endpoint for server in servers],
        "ca_file": str(servers[0].ca_file),
        "bots": [{"id": str(bot.id), "name": bot.name, "token": bot.token} for bot in discord.bots],
        "guilds": [
            {
                "id": str(guild.id),
                "name": guild.name,
                "text_channel_ids": [str(channel.id) for channel in guild.text_channels],
                "voice_channel_ids": [str(channel.id) for channel in guild.voice_channels],
                "stage_channel_ids": [str(channel.id) for channel in guild.stage_channels],
            }
            for guild in discord.guilds
        ],
    }


class StandInRequests(FaultRequests):
    """Carries requests out. Each public coroutine method is one.

    Parameters
    ----------
    discord, servers
        The stand-ins, running. The servers share one authority.
    """

    def __init__(self, discord: FakeDiscord, servers: Sequence[DiscordVoiceServer]) -> None:
        self._discord = discord
        self._servers = tuple(servers)
        self._reset_at_s = time.monotonic()
        self._known_requests: tuple[UnknownRequest, ...] = ()
        self._withheld: dict[int, Withheld] = {}
        self._handles = itertools.count(1)

    async def carry_out(self, what: str, arguments: dict[str, Any]) -> object:
        """Carry out a request and return its result, of JSON types.

        Raises
        ------
        LookupError
            There is no such request, or no such guild, channel, user or session.
        TypeError
            The arguments are not those of the request.
        TimeoutError
            What was to be waited for did not happen in time.
        ValueError, OSError
            An argument is out of range; a file cannot be written.
        """
        requests = self._requests()
        if what not in requests:
            raise LookupError(f"there is no request {what!r}; there are {', '.join(sorted(requests))}")
        request = requests[what]
        try:
            inspect.signature(request).bind(**arguments)
        except TypeError as error:
            raise TypeError(f"{what}: {error}; it takes {_parameters(request)}") from None
        return await request(**arguments)

    def _requests(self) -> dict[str, Callable[..., Awaitable[object]]]:
        return {
            name: getattr(self, name)
            for name in dir(type(self))
            if not name.startswith("_") and name != "carry_out"
        }

    # What there is, and what has been measured.

    async def describe(self) -> dict[str, object]:
        """Return what the process printed when it was ready."""
        return description(self._discord, self._servers)

    async def reports(self, *, guild_id: int | None = None) -> list[dict[str, object]]:
        """Return a `SessionReport` of each voice session, in the order they began, of one guild or of all."""
        return [_as_json(session) for session in self._sessions(guild_id)]

    async def violations(self) -> list[str]:
        """Return the broken rules of the voice protocol and of the main gateway, in sentences."""
        found = [f"voice: {text}" for server in self._servers for text in server.violations]
        return found + [
            f"gateway: {entry.reason}" for entry in self._discord.violations if entry.at_s >= self._reset_at_s
        ]

    async def problems(self) -> list[str]:
        """Return `violations`, what a listener would have noticed, and REST routes the stand-in lacks."""
        found = await self.violations()
        for session in self._sessions(None):
            report = session.report()
            # Its violations are among the server's.
            counted = report.problems[len(report.violations) :]
            found += [f"voice: guild {session.guild_id}, user {session.user_id}: {text}" for text in counted]
        return found + [
            f"REST: the stand-in has no {entry.method} {entry.path}"
            for entry in self._discord.unknown_requests
            if not any(entry is known for known in self._known_requests)
        ]

    async def kernel_drops(self) -> int:
        """Return how many datagrams the kernel dropped because the stand-in was too slow (Linux)."""
        return sum(server.kernel_drops for server in self._servers)

    async def write_wavs(self, *, directory: str, max_gap_s: float = 5.0) -> list[dict[str, object]]:
        """Write what was received as WAV files, one for each session with audio, named after its guild.

        The directory is made if need be, and files of the same name are overwritten. Returns, for each file,
        ``path``, ``guild_id``, ``user_id`` and ``frames``, the Opus packets in it.
        """
        folder = await asyncio.to_thread(_make_folder, directory)
        names = {guild.id: guild.name for guild in self._discord.guilds}
        written: list[dict[str, object]] = []
        seen: dict[int, int] = {}
        for session in self._sessions(None):
            if not session.media.kept:
                continue
            count = seen[session.guild_id] = seen.get(session.guild_id, 0) + 1
            name = names.get(session.guild_id, str(session.guild_id))
            path = folder / (f"{name}.wav" if count == 1 else f"{name}-{count}.wav")
            await asyncio.to_thread(session.write_wav, path, max_gap_s)
            written.append(
                {
                    "path": str(path),
                    "guild_id": str(session.guild_id),
                    "user_id": str(session.user_id),
                    "frames": len(session.media.kept),
                }
            )
        return written

    async def reset(self) -> None:
        """Forget sessions that have ended, violations, and faults that are in force.

        Who is in voice stays there, with what was measured so far.
        """
        self._reset_at_s = time.monotonic()
        self._known_requests = self._discord.unknown_requests
        while self._withheld:
            self._withheld.popitem()[1].release()
        for server in self._servers:
            sessions = server.directory.sessions
            server.directory.sessions = [
                session for session in sessions if session.state is not SessionState.ENDED
            ]
            server.violations.clear()
            server.faults = Faults()

    # Waiting.

    async def wait_for_packets(self, *, guild_id: int, count: int, timeout_s: float = 10.0) -> None:
        """Return when the guild's newest session has received so many RTP packets."""
        try:
            async with asyncio.timeout(timeout_s):
                session = await self._live(guild_id)
                await session.wait_for_packets(count, timeout_s=None)
        except TimeoutError:
            here = [session.packets for session in self._sessions(guild_id)][-1:]
            seen = f"{here[0]} have come" if here else "nobody has a session there"
            raise TimeoutError(
                f"guild {guild_id}: {count} packets were expected within {timeout_s:g} s; {seen}"
            ) from None

    async def wait_for_voice_state(
        self, *, guild_id: int, user_id: int, channel_id: int | None, timeout_s: float = 10.0
    ) -> None:
        """Return when a user is in a channel, or out of voice if that is null."""
        await self._discord.wait_for_voice_state(guild_id, user_id, channel_id, timeout_s=timeout_s)

    # People, and what happens to them.

    async def join_voice(self, *, guild_id: int, channel_id: int, user_id: int | None = None) -> str:
        """Have a person join a voice channel; return the id, of a new person if none was given."""
        return str((await self._discord.join_voice(guild_id, channel_id, user_id)).user_id)

    async def move_member(self, *, guild_id: int, user_id: int, channel_id: int) -> None:
        """Drag someone who is in voice into another channel."""
        await self._discord.move_member(guild_id, user_id, channel_id)

    async def kick_voice(self, *, guild_id: int, user_id: int) -> None:
        """Disconnect someone from voice."""
        await self._discord.kick_voice(guild_id, user_id)

    async def post_message(self, *, channel_id: int, content: str, user_id: int | None = None) -> None:
        """Have a member of the channel's guild write a message; a new person if none is given."""
        author = User(name="writer")
        if user_id is not None:
            members = [guild.members for guild in self._discord.guilds if channel_id in guild.channels]
            if not members or user_id not in members[0]:
                raise LookupError(f"no guild with the channel {channel_id} has a member {user_id}")
            author = members[0][user_id].user
        await self._discord.post_message(channel_id, author, content)

    # Faults of the main gateway.

    async def delete_channel(self, *, guild_id: int, channel_id: int) -> None:
        """Delete a channel; who is in voice there is put out."""
        await self._discord.delete_channel(guild_id, channel_id)

    async def set_user_limit(self, *, guild_id: int, channel_id: int, user_limit: int) -> None:
        """Bound how many may be in a voice channel; 0 for no limit."""
        await self._discord.set_user_limit(guild_id, channel_id, user_limit)

    async def change_voice_server(
        self, *, guild_id: int, endpoint: str | None, null_first: bool = False
    ) -> None:
        """Give a guild another of ``voice_endpoints``; null says only that the old one is gone."""
        await self._discord.change_voice_server(guild_id, endpoint, null_first=null_first)

    async def move_region(self, *, guild_id: int, null_first: bool = False) -> str:
        """Give a guild the next of ``voice_endpoints``, and return that."""
        return await self._discord.move_region(guild_id, null_first=null_first)

    async def drop_gateway(self, *, resume: bool = True, user_id: int | None = None) -> None:
        """Cut main gateway connections; a bot that may not resume is out of voice."""
        await self._discord.drop_gateway(resume=resume, user_id=user_id)

    async def withhold(self, *, event: str, guild_id: int | None = None, user_id: int | None = None) -> int:
        """Hold back a kind of dispatch, such as ``VOICE_SERVER_UPDATE``; return a handle for `release`."""
        if len(self._withheld) >= _MAX_WITHHELD:
            raise ValueError(f"{_MAX_WITHHELD} kinds of event are withheld already; release some")
        handle = next(self._handles)
        self._withheld[handle] = self._discord.withhold(event, guild_id=guild_id, user_id=user_id)
        return handle

    async def release(self, *, handle: int, discard: bool = False) -> None:
        """Send what was withheld, or throw it away, and let further ones through."""
        if handle not in self._withheld:
            raise LookupError(f"nothing is withheld under the handle {handle}")
        withheld = self._withheld.pop(handle)
        if discard:
            withheld.discard()
        else:
            withheld.release()

    # How it is done.

    async def _live(self, guild_id: int) -> VoiceSession:
        """Wait for a session on whichever server gets it."""
        waiting = {
            asyncio.create_task(server.wait_for_session(guild_id, timeout_s=None)) for server in self._servers
        }
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return done.pop().result()


def _parameters(request: Callable[..., object]) -> str:
    return ", ".join(inspect.signature(request).parameters) or "no arguments"


def _make_folder(directory: str) -> Path:
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _as_json(session: VoiceSession) -> dict[str, object]:
    fields = session.report().to_dict()
    return {name: str(value) if name in ID_FIELDS else value for name, value in fields.items()}
