"""`StandInProcess`: the stand-ins in a process of their own, driven from a test.

In the bot's process the stand-ins would share its event loop and its CPU time. Here a bot may block its loop
for a second, and what is measured stays measured; what is counted of the bot is the bot's alone.
"""

from __future__ import annotations

__all__ = ["StandInProcess"]

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from voicepool.testing.stand_in_child import command, environment, own_group
from voicepool.testing.stand_in_facts import StandInFacts
from voicepool.testing.stand_in_values import (
    ID_FIELDS,
    StandInError,
    WavFile,
    read_error,
    read_report,
    read_wav,
)
from voicepool.testing.voice_report import SessionReport

_LONGEST_LINE_BYTES: Final = 1 << 26
_ANSWER_S: Final = 25.0
_MARGIN_S: Final = 5.0
"""What an answer may take beyond the time that the request itself allows."""


class StandInProcess(StandInFacts):
    """`FakeDiscord` and `DiscordVoiceServer` in a child process; an async context manager.

    The child ends with the block, and also when this process dies, however it dies.

    Parameters
    ----------
    guilds, bots
        How many; each bot is a member of each guild.
    voice_channels, stage_channels
        How many each guild has, besides a text channel.
    voice_servers
        How many; a guild gets one of them by its id.
    modes
        Transport modes that the voice servers offer; all of them when empty.
    inspect
        ``"headers"`` for benchmarks: nothing is decrypted or kept.
    keep_audio_s
        Seconds of audio to keep for each session.
    voice_heartbeat_ms
        Heartbeat interval that the voice servers ask for, in milliseconds.
    dave
        Whether calls are end-to-end encrypted, with a listener that decrypts them.
    start_timeout_s, stop_timeout_s
        Seconds the child may take to be ready, and to leave before it is killed.

    Examples
    --------
    ::

        async with StandInProcess(guilds=8) as discord:
            bot = hikari.GatewayBot(discord.token, rest_url=discord.rest_url)
            pool = voicepool.VoicePool(voicepool.PoolConfig(ca_file=discord.ca_file))
            ...
            assert await discord.problems() == []
            await discord.write_wavs("heard")
    """

    def __init__(
        self,
        *,
        guilds: int = 1,
        bots: int = 1,
        voice_channels: int = 2,
        stage_channels: int = 1,
        voice_servers: int = 1,
        modes: Sequence[str] = (),
        inspect: Literal["full", "headers"] = "full",
        keep_audio_s: float = 600.0,
        voice_heartbeat_ms: float = 13_750.0,
        dave: bool = True,
        start_timeout_s: float = 20.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        options = {
            "guilds": guilds,
            "bots": bots,
            "voice-channels": voice_channels,
            "stage-channels": stage_channels,
            "voice-servers": voice_servers,
            "inspect": inspect,
            "keep-audio-s": keep_audio_s,
            "voice-heartbeat-ms": voice_heartbeat_ms,
        }
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._options += [f"--mode={mode}" for mode in modes]
        if not dave:
            self._options.append("--no-dave")
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._facts: dict[str, Any] | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[object, asyncio.Future[Any]] = {}

    def __repr__(self) -> str:
        where = f"at {self._facts['rest_url']}" if self._facts else "not started"
        return f"<StandInProcess {where}>"

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the child, and return when bots can log in. Nothing is left behind when that fails.

        Raises
        ------
        StandInError
            It does not become ready; the text says why.
        RuntimeError
            It has been started already.
        """
        if self._process is not None:
            raise RuntimeError("this StandInProcess has been started already: make a new one")
        self._process = await asyncio.create_subprocess_exec(
            *command(self._options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            limit=_LONGEST_LINE_BYTES,
            **own_group(),
        )
        try:
            self._facts = await self._read_facts(self._process)
        except BaseException:
            await self.close()
            raise
        self._reader = asyncio.create_task(
            self._read_answers(self._process), name="voicepool stand-in answers"
        )

    async def close(self) -> None:
        """End the child, and return when it is gone; a second call does nothing.

        It is told by the end of its stdin, and killed when it does not leave.
        """
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if self._reader is not None:
                await asyncio.wait({self._reader})
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()
            self._clear_away()

    # What was measured.

    async def reports(self, guild_id: int | None = None) -> list[SessionReport]:
        """Return what was measured of each voice session, in the order they began, of one guild or of all."""
        return [read_report(report) for report in await self.request("reports", guild_id=guild_id)]

    async def violations(self) -> list[str]:
        """Return the broken rules of the voice protocol and of the main gateway, in sentences."""
        return list(await self.request("violations"))

    async def problems(self) -> list[str]:
        """Return `violations` and what else is wrong; empty after a good run.

        That is what a listener would have noticed, and REST routes the stand-in lacks.
        """
        return list(await self.request("problems"))

    async def kernel_drops(self) -> int:
        """Return how many datagrams the kernel dropped because the stand-in was too slow (Linux)."""
        return int(await self.request("kernel_drops"))

    async def write_wavs(
        self, directory: str | os.PathLike[str], *, max_gap_s: float = 5.0, timeout_s: float = 120.0
    ) -> list[WavFile]:
        """Write what was received: one WAV file for each session with audio, named after its guild.

        Parameters
        ----------
        directory
            Made if need be; files of the same name are overwritten.
        max_gap_s
            Longest silence, in seconds, to put where packets are missing.
        timeout_s
            Seconds it may take in all; decoding a minute of audio takes about 0.2 s.

        Raises
        ------
        OSError
            The directory or a file cannot be written.
        """
        written = await self.request(
            "write_wavs",
            answer_timeout_s=timeout_s,
            directory=_absolute(directory),
            max_gap_s=max_gap_s,
        )
        return [read_wav(file) for file in written]

    async def wait_for_packets(self, guild_id: int, count: int, *, timeout_s: float = 10.0) -> None:
        """Wait until a guild's voice session has received so many packets.

        Raises
        ------
        TimeoutError
            It has not, within `timeout_s` seconds.
        """
        await self.request("wait_for_packets", guild_id=guild_id, count=count, timeout_s=timeout_s)

    async def move_region(self, guild_id: int, *, null_first: bool = False) -> str:
        """Give a guild the next of ``voice_endpoints``, as Discord does when somebody changes the region.

        Parameters
        ----------
        guild_id
            Which guild.
        null_first
            Say first that the old server is gone (endpoint null), and only then which is the new one.

        Returns
        -------
        str
            Endpoint of the server that the guild has now.

        Raises
        ------
        LookupError
            The guild does not exist, or there is only one voice server: start with ``voice_servers=2``.
        """
        return str(await self.request("move_region", guild_id=guild_id, null_first=null_first))

    async def reset(self) -> None:
        """Forget sessions that have ended, violations and faults, so that the next test starts afresh."""
        await self.request("reset")

    # Anything that can be asked.

    async def request(self, what: str, /, *, answer_timeout_s: float | None = None, **arguments: Any) -> Any:
        """Ask for one of `voicepool.testing.stand_in_requests.StandInRequests`' methods by name.

        All the faults of both stand-ins are among them: ``kick_voice``, ``drop_gateway``, ``close_session``,
        ``crash_voice_server``, ``drop_packets``, ``spoil_dave`` and many more.

        Parameters
        ----------
        what
            For example ``"kick_voice"``.
        answer_timeout_s
            Seconds to wait for the answer; None for 30, or a little more than the argument ``timeout_s``.
        **arguments
            The method's.

        Returns
        -------
        Any
            Its result as JSON has it: ids are strings.

        Raises
        ------
        StandInError
            The child has ended, or does not answer in time.
        LookupError, TypeError, ValueError, TimeoutError, OSError
            As the method raises them.
        """
        self._fact("pid")
        if self._process is None or self._reader is None or self._reader.done():
            raise StandInError(f"the stand-in cannot do {what!r}: it has ended")
        assert self._process.stdin is not None
        if answer_timeout_s is None:
            answer_timeout_s = arguments.get("timeout_s", _ANSWER_S) + _MARGIN_S
        number = next(self._numbers)
        given = {
            name: str(value) if name in ID_FIELDS and value is not None else value
            for name, value in arguments.items()
        }
        line = json.dumps({"id": number, "do": what, "with": given}).encode()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(answer_timeout_s) as limit:
                with contextlib.suppress(ConnectionError):  # that it has ended is the reader's to tell
                    self._process.stdin.write(line + b"\n")
                    await self._process.stdin.drain()
                return await answer
        except TimeoutError:
            if not limit.expired():
                raise
            raise StandInError(
                f"the stand-in has not answered {what!r} within {answer_timeout_s:g} s"
            ) from None
        finally:
            del self._asked[number]

    # How it is done.

    async def _read_facts(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._start_timeout_s):
                line = await process.stdout.readline()
                if not line:
                    await process.wait()
        except TimeoutError:
            raise StandInError(f"the stand-in was not ready within {self._start_timeout_s:g} s") from None
        if not line:
            raise StandInError(
                f"the stand-in did not start: it exited with code {process.returncode}; its stderr says why"
            )
        facts: dict[str, Any] = json.loads(line)
        if "error" in facts:
            raise StandInError(f"the stand-in did not start: {facts['error']}")
        return facts

    async def _read_answers(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                answer = json.loads(line)
                waiting = self._asked.get(answer["id"])
                if waiting is None or waiting.done():
                    continue  # whoever asked has given up
                if "error" in answer:
                    waiting.set_exception(read_error(answer["error"]))
                else:
                    waiting.set_result(answer["result"])
        finally:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(StandInError("the stand-in has ended before it answered"))

    def _clear_away(self) -> None:
        """Remove what a child that was killed could not."""
        if self._facts is not None:
            with contextlib.suppress(OSError):
                self.ca_file.unlink()
                self.ca_file.parent.rmdir()


def _absolute(directory: str | os.PathLike[str]) -> str:
    # From here: the child has the current directory of its start.
    return str(Path(directory).absolute())
