"""The faults of the life-cycle matrix: how each is brought about, and what is expected of the call.

The functions that bring a fault about return when it has happened, and what it takes to end it has been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import hikari

from benchmarks.patient import Observed, Patient
from voicepool.errors import JoinError
from voicepool.testing import DiscordVoiceServer
from voicepool.testing.gateway_voice import Op4Outcome

__all__ = ["ROWS", "Expectation", "Row"]

_SMALL_LOSS: Final = 25
"""Frames that may be lost where the way to the listener was broken before anybody knew."""
_LOST_ON_PURPOSE: Final = 20


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected, and how to tell.

    Attributes
    ----------
    text
        A few words.
    rules
        Sentences that hold if it was not so.
    ends
        Whether the call is over then, or never began.
    """

    text: str
    rules: Callable[[Observed], dict[str, bool]]
    ends: bool = False

    def complaints(self, seen: Observed) -> list[str]:
        """Return what was not as expected."""
        return [text for text, holds in self.rules(seen).items() if holds] + list(seen.wrong)


@dataclass(frozen=True, slots=True)
class Row:
    """A fault of the matrix.

    Attributes
    ----------
    fault
        A few words.
    expected
        What should come of it.
    inflict
        Brings it about, while the song plays.
    before
        Done before the bot joins.
    channel
        Which one the bot joins: a voice channel (0, 1) or a stage (2).
    timeout_s
        What Discord's answer to the join may take, in seconds.
    shown_by
        Opcodes without which the fault did not happen, or the client took no notice.
    """

    fault: str
    expected: Expectation
    inflict: Callable[[Patient], Awaitable[None]] | None = None
    before: Callable[[Patient], Awaitable[None]] | None = None
    channel: int = 0
    timeout_s: float = 10.0
    shown_by: tuple[str, ...] = ()

    def complaint(self, seen: Observed) -> str | None:
        """Return what was not as expected; None if all was."""
        complaints = self.expected.complaints(seen)
        complaints += [f"op {opcode} was not sent" for opcode in self.shown_by if opcode not in seen.sent]
        return "; ".join(complaints) or None


# What can be expected.


def _goes_on(seen: Observed, lost: int) -> dict[str, bool]:
    return {
        f"the call ended: {seen.error}": seen.error is not None or seen.closed,
        f"{seen.lost} frames were lost": seen.lost > lost,
        f"{-seen.lost} frames were heard twice": seen.lost < 0,
    }


def _is_unheard(seen: Observed) -> dict[str, bool]:
    return _goes_on(seen, 0) | {"there was another voice session": seen.sessions > 1}


def _is_resumed(seen: Observed) -> dict[str, bool]:
    return _is_unheard(seen) | {"the session was not resumed": not seen.resumes}


def _is_renewed(seen: Observed, lost: int = _SMALL_LOSS) -> dict[str, bool]:
    return _goes_on(seen, lost) | {
        "there was no other voice session": seen.sessions < 2,
        "the bot sent op 4": bool(seen.op4),
    }


def _has_rejoined(seen: Observed) -> dict[str, bool]:
    return _goes_on(seen, _SMALL_LOSS) | {
        "there was no other voice session": seen.sessions < 2,
        "the bot did not join again": Op4Outcome.JOINED not in seen.op4,
    }


def _is_over(seen: Observed, *, error: bool) -> dict[str, bool]:
    return {
        "the connection is open": not seen.closed,
        "the bot is still in the channel": seen.in_channel,
        "no error says why": error and seen.error is None,
        f"it ended with an error: {seen.error}": not error and seen.error is not None,
        "the bot joined again": Op4Outcome.JOINED in seen.op4,
    }


def _is_refused(seen: Observed, reason: str) -> dict[str, bool]:
    told = seen.error.reason if isinstance(seen.error, JoinError) else repr(seen.error)
    return {
        f"the reason was {told}": told != reason,
        "the bot is in the channel": seen.in_channel,
        "there was a voice session": seen.sessions > 0,
    }


def _is_plain(seen: Observed) -> dict[str, bool]:
    return _is_unheard(seen) | {"the call was encrypted": seen.dave_version != 0}


UNHEARD: Final = Expectation("nothing is heard of it", _is_unheard)
RESUMED: Final = Expectation("resumed, nothing is heard of it", _is_resumed)
RENEWED: Final = Expectation("a new voice session, the song goes on", _is_renewed)
FOLLOWED: Final = Expectation("the bot follows, the song goes on", _is_renewed)
REJOINED: Final = Expectation("the bot leaves, joins again, the song goes on", _has_rejoined)
REKEYED: Final = Expectation("a new key, the song goes on", partial(_goes_on, lost=_SMALL_LOSS))
MISSING: Final = Expectation(
    "these frames are missing, no others",
    lambda seen: (
        _goes_on(seen, _LOST_ON_PURPOSE)
        | {"another number is missing": seen.lost != _LOST_ON_PURPOSE, "sessions": seen.sessions > 1}
    ),
)
PLAIN: Final = Expectation("a call without DAVE, all is heard", _is_plain)
OVER: Final = Expectation("the connection closes without an error", partial(_is_over, error=False), ends=True)
FAILED: Final = Expectation(
    "the connection closes, `play` says why", partial(_is_over, error=True), ends=True
)
FULL: Final = Expectation("JoinError, reason full", partial(_is_refused, reason="full"), ends=True)
SILENT: Final = Expectation(
    "leaves, tries once more, JoinError, reason timeout", partial(_is_refused, reason="timeout"), ends=True
)


# The voice server's websocket.


async def _nothing(_: Patient) -> None:
    pass


async def _cut(patient: Patient) -> None:
    patient.session.abort()


async def _close(patient: Patient, code: int) -> None:
    await patient.session.close(code)


async def _refuse_resume(patient: Patient, code: int) -> None:
    patient.server.close_next_resume(code)
    patient.session.abort()


async def _ignore_resume(patient: Patient) -> None:
    server, session = patient.server, patient.session
    server.mute_step("resumed")
    session.abort()
    await server.wait_until(lambda _: len(patient.sessions) > 1)
    server.unmute_step("resumed")


async def _withhold_acks(patient: Patient) -> None:
    server, session = patient.server, patient.session
    server.mute_step("heartbeat_ack")
    await patient.resumed(session)
    server.unmute_step("heartbeat_ack")


async def _stall(patient: Patient) -> None:
    session = patient.session
    session.stall()
    await patient.resumed(session)


async def _crash(patient: Patient, code: int, *, keep_sessions: bool) -> None:
    server = patient.server
    await server.crash(code, keep_sessions=keep_sessions)
    await _knocked_at(server)
    await server.recover()


async def _knocked_at(server: DiscordVoiceServer) -> None:
    """Wait until a client has tried twice to reach a server that is down."""
    knocks = asyncio.Semaphore(0)

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        knocks.release()

    host, _, port = server.endpoint.rpartition(":")
    async with await asyncio.start_server(hang_up, host, int(port)):
        for _ in range(2):
            await knocks.acquire()


# UDP.


async def _lose_packets(patient: Patient) -> None:
    patient.session.drop_packets(received=_LOST_ON_PURPOSE)


async def _lose_discovery(patient: Patient) -> None:
    there = patient.others[0]
    there.drop_discovery_requests(2)
    await patient.discord.change_voice_server(patient.guild_id, there)


# The main gateway.


async def _move_region(patient: Patient, *, null_first: bool = False) -> None:
    await patient.discord.change_voice_server(patient.guild_id, patient.others[0], null_first=null_first)


async def _take_server_away(patient: Patient) -> None:
    there, session = patient.others[0], patient.session
    await patient.discord.change_voice_server(patient.guild_id, None)
    await session.wait_closed()
    await patient.discord.change_voice_server(patient.guild_id, there)


async def _move_region_twice(patient: Patient) -> None:
    first, second = patient.others
    first.mute_step("ready")
    await patient.discord.change_voice_server(patient.guild_id, first)
    await first.wait_for_session(patient.guild_id)
    await patient.discord.change_voice_server(patient.guild_id, second)


async def _move_region_unanswered(patient: Patient) -> None:
    there = patient.others[0]
    there.mute_step("ready")
    await patient.discord.change_voice_server(patient.guild_id, there)
    session = await there.wait_for_session(patient.guild_id)
    await session.wait_closed()
    there.unmute_step("ready")


async def _move_region_refused(patient: Patient, code: int) -> None:
    there = patient.others[0]
    there.close_next_identify(code)
    await patient.discord.change_voice_server(patient.guild_id, there)


async def _move_region_to_the_dead(patient: Patient) -> None:
    there = patient.others[0]
    await there.crash()
    await patient.discord.change_voice_server(patient.guild_id, there)
    await _knocked_at(there)
    await there.recover()


async def _drag(patient: Patient) -> None:
    await patient.discord.move_member(patient.guild_id, patient.user_id, patient.channels[1])


async def _move(patient: Patient) -> None:
    await patient.connection.move(patient.channels[1])


async def _kick(patient: Patient) -> None:
    await patient.discord.kick_voice(patient.guild_id, patient.user_id)


async def _delete_channel(patient: Patient) -> None:
    await patient.discord.delete_channel(patient.guild_id, patient.channels[0])


async def _drop_gateway(patient: Patient, *, resume: bool) -> None:
    await patient.discord.drop_gateway(resume=resume)


async def _fill_channel(patient: Patient) -> None:
    await patient.discord.join_voice(patient.guild_id, patient.channels[0])
    async with patient.hears(hikari.GuildChannelUpdateEvent):
        await patient.discord.set_user_limit(patient.guild_id, patient.channels[0], 1)


async def _fill_channel_unseen(patient: Patient) -> None:
    async with patient.hears(hikari.VoiceStateUpdateEvent):
        await patient.discord.join_voice(patient.guild_id, patient.channels[0])
    # Without an event, so the bot's cache keeps the old limit.
    patient.discord.guilds[0].channels[patient.channels[0]].user_limit = 1


# End-to-end encryption.


async def _spoil_commit(patient: Patient) -> None:
    patient.server.spoil_dave(patient.user_id, "commit")
    await _let_in(patient)


async def _spoil_welcome(patient: Patient) -> None:
    server = patient.assigned
    server.add_speaker(patient.guild_id, patient.channels[0], patient.guest())
    server.spoil_dave(patient.user_id, "welcome")


async def _renew_group(patient: Patient) -> None:
    patient.server.renew_dave_group(patient.guild_id, patient.channels[0])


async def _miss_ops(patient: Patient) -> None:
    session = patient.session
    session.stall()
    patient.server.add_speaker(patient.guild_id, patient.channels[0], patient.guest())
    session.abort()


async def _let_in(patient: Patient) -> None:
    server, epoch = patient.server, patient.session.dave_epoch
    server.add_speaker(patient.guild_id, patient.channels[0], patient.guest())
    await patient.until(lambda session: session.dave_epoch > epoch)


async def _come_and_go(patient: Patient) -> None:
    server, place = patient.server, (patient.guild_id, patient.channels[0])
    for _ in range(3):
        epoch, guest = patient.session.dave_epoch, patient.guest()
        server.add_speaker(*place, guest)
        await patient.until(lambda session, epoch=epoch: session.dave_epoch > epoch)  # type: ignore[misc]
        server.remove_speaker(*place, guest)
        await patient.until(lambda session, epoch=epoch: session.dave_epoch > epoch + 1)  # type: ignore[misc]


async def _downgrade(patient: Patient) -> None:
    server, place, guest = patient.server, (patient.guild_id, patient.channels[0]), patient.guest()
    server.add_speaker(*place, guest, dave=False)
    await patient.until(lambda session: session.dave_protocol_version == 0)
    server.remove_speaker(*place, guest)


ROWS: Final = (
    Row("nothing at all", UNHEARD, _nothing),
    Row("voice websocket cut", RESUMED, _cut),
    Row("voice websocket closed with 1001", RESUMED, partial(_close, code=1001)),
    Row("closed with 4015, the server has crashed", RESUMED, partial(_close, code=4015)),
    Row("heartbeats are not acknowledged", RESUMED, _withhold_acks),
    Row("nothing reaches the client any more", RESUMED, _stall),
    Row("Resume refused with 4006", RENEWED, partial(_refuse_resume, code=4006)),
    Row("Resume cut", RENEWED, partial(_refuse_resume, code=1006)),
    Row("Resume not answered", RENEWED, _ignore_resume),
    Row("server down and back, sessions kept", RENEWED, partial(_crash, code=1006, keep_sessions=True)),
    Row("server down and back, sessions lost", RENEWED, partial(_crash, code=4015, keep_sessions=False)),
    Row("closed with 4006, session no longer valid", REJOINED, partial(_close, code=4006)),
    Row("closed with 4009, session timeout", REJOINED, partial(_close, code=4009)),
    Row("closed with 4014, no word from the main gateway", FAILED, partial(_close, code=4014)),
    Row("closed with 4022, no word from the main gateway", FAILED, partial(_close, code=4022)),
    Row("closed with 4021, rate limited", FAILED, partial(_close, code=4021)),
    Row("20 packets lost on the way", MISSING, _lose_packets),
    Row("region moves", FOLLOWED, _move_region),
    Row("region moves, null endpoint first", FOLLOWED, partial(_move_region, null_first=True)),
    Row("server taken away, another named later", FOLLOWED, _take_server_away),
    Row("region moves again amid the handshake", FOLLOWED, _move_region_twice),
    Row("region moves, two IP discoveries lost", FOLLOWED, _lose_discovery),
    Row("region moves, Identify cut", FOLLOWED, partial(_move_region_refused, code=1006)),
    Row("region moves, Identify not answered", FOLLOWED, _move_region_unanswered),
    Row("region moves, Identify closed with 4006", REJOINED, partial(_move_region_refused, code=4006)),
    Row("region moves to a server not up yet", FOLLOWED, _move_region_to_the_dead),
    Row("moved by a moderator", FOLLOWED, _drag),
    Row("moved by itself", Expectation("the song goes on there", partial(_goes_on, lost=_SMALL_LOSS)), _move),
    Row("kicked", OVER, _kick),
    Row("channel deleted", OVER, _delete_channel),
    Row("channel full", FULL, before=_fill_channel),
    Row("channel full, and the bot does not know", SILENT, before=_fill_channel_unseen, timeout_s=0.5),
    Row("main gateway lost, resumed", UNHEARD, partial(_drop_gateway, resume=True)),
    Row(
        "main gateway session lost",
        Expectation("the bot joins again, the song goes on", _has_rejoined),
        partial(_drop_gateway, resume=False),
    ),
    Row("a member joins", UNHEARD, _let_in, shown_by=("23",)),
    Row("members join and leave, three times", UNHEARD, _come_and_go, shown_by=("23",)),
    Row("bad commit", REKEYED, _spoil_commit, shown_by=("31", "26")),
    Row("bad welcome", REKEYED, _nothing, before=_spoil_welcome, shown_by=("31",)),
    Row("group created anew, key packages again", REKEYED, _renew_group, shown_by=("26",)),
    Row("DAVE messages missed, sent again after Resume", RESUMED, _miss_ops, shown_by=("7", "23")),
    Row("a member without DAVE comes and goes", REKEYED, _downgrade, shown_by=("26", "23")),
    Row("stage channel", PLAIN, _nothing, channel=2),
)
