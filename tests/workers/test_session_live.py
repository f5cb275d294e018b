"""Sessions with their real threads, over the stand-in of a voice server."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.sounds import opus_packets
from tests.workers import live_studio
from tests.workers.session_bench import CALL
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallRestored,
    EndReason,
    TrackEnded,
)
from voicepool.ipc.ids import CallId
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session_view import SessionState
from voicepool.workers.session import Session


@asynccontextmanager
async def joined(
    server: DiscordVoiceServer, **settings: Any
) -> AsyncIterator[tuple[Session, live_studio.Reports, list[CallId]]]:
    reports = live_studio.Reports()
    forgotten: list[CallId] = []
    with live_studio.live_studio(**settings) as studio:
        session = Session(
            CALL,
            studio=studio,
            ssl_context=live_studio.trusting(server),
            report=reports,
            on_closed=forgotten.append,
        )
        await session.open(live_studio.open_command(server.grant(1, 2, 3)))
        try:
            yield session, reports, forgotten
        finally:
            await session.close()


@asyncio_test
async def test_a_whole_song_arrives_without_a_flaw() -> None:
    async with DiscordVoiceServer() as server:
        async with joined(server) as (session, reports, _):
            command, attachments = live_studio.play_command(seconds=0.5)
            await session.player.play(command, attachments)
            [ended] = await reports.wait_for(TrackEnded)
            heard = await server.wait_for_session(1)
            await heard.wait_for_packets(ended.frames_sent + 5)
        await heard.wait_closed()
        report = heard.report()
        assert report.problems == ()
        assert (report.frames, report.silence_frames) == (ended.frames_sent, 5)
        assert ended.reason is EndReason.FINISHED
        assert ended.frames_sent >= 25


@asyncio_test
async def test_a_closed_call_is_freed_without_a_collection() -> None:
    gc.disable()
    try:
        async with DiscordVoiceServer() as server, joined(server) as (session, reports, _):
            command, attachments = live_studio.play_command(seconds=0.2)
            await session.player.play(command, attachments)
            await reports.wait_for(TrackEnded)
            connection = session._connection
            assert connection is not None
            gone: list[weakref.ref[Any]] = [
                weakref.ref(each) for each in (session, connection, connection._encryption)
            ]
            del connection
            await session.close()
            del session
        # What is left was the context manager's.
        assert [ref() for ref in gone] == [None, None, None]
    finally:
        gc.enable()


@asyncio_test
async def test_a_move_to_another_server_in_mid_song_loses_no_frame() -> None:
    async with DiscordVoiceServer() as first, DiscordVoiceServer() as second:
        async with joined(first) as (session, reports, _):
            command, attachments = live_studio.play_command(seconds=1.0)
            await session.player.play(command, attachments)
            before = await first.wait_for_session(1)
            await before.wait_for_packets(5)
            session._ssl_context.load_verify_locations(second.ca_file)
            await session.open(live_studio.open_command(second.grant(1, 2, 3), request=3, generation=2))
            [ended] = await reports.wait_for(TrackEnded)
            after = await second.wait_for_session(1)
            await after.wait_until(lambda it: it.media.silence_frames >= 5)
        await after.wait_closed()
        assert before.state is SessionState.ENDED
        assert before.close_code_received == 1000
        assert before.media.frames + after.media.frames == ended.frames_sent
        assert ended.reason is EndReason.FINISHED
        assert after.report().problems == ()
        assert reports.of(CallClosed) == []


@asyncio_test
async def test_a_call_that_goes_on_at_another_worker_loses_no_frame() -> None:
    async with DiscordVoiceServer() as server:
        command, attachments = live_studio.play_command(seconds=2.0)
        async with joined(server) as (old, old_reports, _):
            await old.player.play(command, attachments)
            before = await server.wait_for_session(1)
            await before.wait_for_packets(5)
            with live_studio.live_studio() as studio:
                reports = live_studio.Reports()
                new = Session(
                    CALL,
                    studio=studio,
                    ssl_context=live_studio.trusting(server),
                    report=reports,
                    on_closed=lambda _: None,
                )
                new.prepare()
                await new.player.play(command, attachments)
                await before.wait_for_packets(20)
                places = await old.release()
                sent = old.stats().frames_sent
                await new.player.align(places)
                opening = live_studio.open_command(server.grant(1, 2, 3), request=3, generation=2)
                await new.open(msgspec.structs.replace(opening, takes_over=True))
                [ended] = await reports.wait_for(TrackEnded)
                after = await server.wait_for_session(1)
                await after.wait_until(lambda it: it.media.silence_frames >= 5)
                await new.close()
        await after.wait_closed()
        assert before.close_code_received == 1000
        assert before.media.silence_frames == 0
        assert places[0].position_s == pytest.approx(sent * 0.02)
        assert before.media.frames == sent
        assert sent + ended.frames_sent == len(opus_packets(attachments[0]))
        assert after.report().problems == ()
        assert old_reports.of(TrackEnded) == []
        assert reports.of(CallInterrupted) == []


@asyncio_test
async def test_a_move_to_a_server_that_is_not_up_yet_goes_on_when_it_is() -> None:
    async with DiscordVoiceServer() as first, DiscordVoiceServer() as second:
        async with joined(
            first, reconnect_first_pause_s=0.01, reconnect_longest_pause_s=0.05, reconnect_attempts=1_000
        ) as (session, reports, _):
            command, attachments = live_studio.play_command(seconds=1.0)
            await session.player.play(command, attachments)
            before = await first.wait_for_session(1)
            await before.wait_for_packets(5)
            session._ssl_context.load_verify_locations(second.ca_file)
            await second.crash()
            moving = asyncio.create_task(
                session.open(live_studio.open_command(second.grant(1, 2, 3), request=3, generation=2))
            )
            [interrupted] = await reports.wait_for(CallInterrupted)
            assert interrupted.error.code is ErrorCode.CONNECT_REFUSED
            await second.recover()
            await moving
            [ended] = await reports.wait_for(TrackEnded)
            after = await second.wait_for_session(1)
            await after.wait_until(lambda it: it.media.silence_frames >= 5)
        await after.wait_closed()
        assert before.media.frames + after.media.frames == ended.frames_sent
        assert ended.reason is EndReason.FINISHED
        assert after.report().problems == ()
        assert len(reports.of(CallRestored)) == 1


@asyncio_test
async def test_a_server_that_crashes_and_comes_back_is_found_again() -> None:
    async with (
        DiscordVoiceServer() as server,
        joined(
            server, reconnect_first_pause_s=0.01, reconnect_longest_pause_s=0.05, reconnect_attempts=1_000
        ) as (session, reports, _),
    ):
        command, attachments = live_studio.play_command(seconds=1.0)
        await session.player.play(command, attachments)
        before = await server.wait_for_session(1)
        await before.wait_for_packets(5)
        await server.crash(4015)
        await reports.wait_for(CallInterrupted)
        await server.recover()
        [restored] = await reports.wait_for(CallRestored)
        assert not restored.resumed
        after = await server.wait_for_session(1)
        assert after is not before
        [ended] = await reports.wait_for(TrackEnded)
        assert ended.reason is EndReason.FINISHED


@pytest.mark.parametrize("close_code", [4004, 4021])
def test_a_server_that_hangs_up_in_mid_song_for_good_ends_both_once(close_code: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            async with joined(server) as (session, reports, forgotten):
                command, attachments = live_studio.play_command(seconds=5.0)
                await session.player.play(command, attachments)
                heard = await server.wait_for_session(1)
                await heard.wait_for_packets(3)
                await heard.close(close_code)
                [closed] = await reports.wait_for(CallClosed)
            [ended] = reports.of(TrackEnded)
            assert closed.error.data["close_code"] == close_code
            assert (ended.reason, ended.error) == (EndReason.FAILED, closed.error)
            assert forgotten == [CALL]
            assert len(reports.of(CallClosed)) == 1

    scenario()
