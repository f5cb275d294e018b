"""A connection's events reach ``@bot.listen()``, as the plain event and as a hikari event in one."""

from __future__ import annotations

import asyncio
import typing
from dataclasses import fields
from typing import Any

import hikari
import pytest

import voicepool
from tests.fakes.hikari_bot import stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import VoiceConnectionEvent
from voicepool import events as plain
from voicepool.hikari import events
from voicepool.hikari.events import as_hikari_event
from voicepool.ipc.commands import SetEncoding
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallInterrupted, CallRestored, EncryptionState, MembersChanged, Speaking

PLAIN: tuple[type[Any], ...] = typing.get_args(plain.ConnectionEvent)
OURS: list[type[VoiceConnectionEvent]] = VoiceConnectionEvent.__subclasses__()


def test_each_plain_event_has_one_and_it_is_public() -> None:
    assert {kind.__bases__[1] for kind in OURS} == set(PLAIN)
    assert len(OURS) == len(PLAIN)
    assert {kind.__name__ for kind in OURS} | {"VoiceConnectionEvent", "as_hikari_event"} == set(
        events.__all__
    )
    assert {kind.__name__ for kind in OURS} <= set(voicepool.__all__)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_it_has_the_attributes_of_the_plain_one(kind: type[VoiceConnectionEvent]) -> None:
    plain_kind = kind.__bases__[1]
    assert kind.__name__ == f"Voice{plain_kind.__name__}Event"
    assert {each.name for each in fields(plain_kind)} <= {each.name for each in fields(kind)}
    assert kind.dispatches() == (kind, VoiceConnectionEvent, hikari.Event)


@asyncio_test
async def test_listeners_of_the_bot_hear_all_of_a_calls_life() -> None:
    async with stage() as on:
        everything: list[VoiceConnectionEvent] = []
        restored: list[voicepool.VoiceRestoredEvent] = []

        @on.bot.listen()
        async def on_any(event: VoiceConnectionEvent) -> None:
            everything.append(event)

        @on.bot.listen()
        async def on_restored(event: voicepool.VoiceRestoredEvent) -> None:
            restored.append(event)

        voice = await on.join()
        call = voice.call_id
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="crash", data={"close_code": 4015})
        on.worker.say(CallInterrupted(call=call, generation=1, error=error))
        on.worker.say(CallRestored(call=call, generation=1, gap_ms=120.0, resumed=False, mode="m", ssrc=5))
        on.worker.say(MembersChanged(call=call, joined=[8]))
        on.worker.say(Speaking(call=call, user=8, ssrc=99, flags=1))
        on.worker.say(
            EncryptionState(call=call, protocol_version=1, sending=True, privacy_code="1" * 30, members=[8])
        )
        on.worker.say(MembersChanged(call=call, left=[8]))
        await until(lambda: len(everything) == 7)
        await voice.disconnect()
        await until(lambda: len(everything) == 8)
        assert [type(event) for event in everything] == [
            voicepool.VoiceConnectedEvent,
            voicepool.VoiceInterruptedEvent,
            voicepool.VoiceRestoredEvent,
            voicepool.VoiceMemberJoinedEvent,
            voicepool.VoiceMemberSpeakingEvent,
            voicepool.VoiceEncryptionChangedEvent,
            voicepool.VoiceMemberLeftEvent,
            voicepool.VoiceClosedEvent,
        ]
        for event in everything:
            assert event.app is on.bot
            assert event.connection is voice
            assert (event.guild_id, event.channel_id) == (on.guild.id, on.place())
        assert restored == everything[2:3]
        assert isinstance(restored[0], voicepool.Restored)
        assert (restored[0].gap_ms, restored[0].resumed) == (120.0, False)
        assert "secret" not in repr(everything)
        assert on.fake.token not in repr(everything)


@asyncio_test
async def test_one_made_by_hikari_is_heard_too_and_can_be_waited_for() -> None:
    async with stage() as on:
        connected = asyncio.create_task(on.bot.wait_for(voicepool.VoiceConnectedEvent, timeout=None))
        await asyncio.sleep(0)
        voice = await on.join_by_component()
        assert (await connected).connection is voice
        closed = asyncio.create_task(on.bot.wait_for(voicepool.VoiceClosedEvent, timeout=None))
        await asyncio.sleep(0)
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        assert (await closed).connection is voice


@asyncio_test
async def test_the_channel_is_that_of_the_time() -> None:
    async with stage() as on:
        voice = await on.join()
        before = as_hikari_event(plain.MemberLeft(8), voice)
        await voice.move(on.place(1))
        after = as_hikari_event(plain.MemberLeft(8), voice)
        assert (before.channel_id, after.channel_id) == (on.place(0), on.place(1))


@asyncio_test
async def test_listeners_of_the_bot_hear_of_tracks() -> None:
    async with stage() as on:
        heard: list[VoiceConnectionEvent] = []

        @on.bot.listen()
        async def on_started(event: voicepool.VoiceTrackStartedEvent) -> None:
            heard.append(event)

        @on.bot.listen()
        async def on_ended(event: voicepool.VoiceTrackEndedEvent) -> None:
            heard.append(event)

        @on.bot.listen()
        async def on_empty(event: voicepool.VoiceQueueEmptyEvent) -> None:
            heard.append(event)

        voice = await on.join()
        voice.queue.add("song.flac")
        await until(lambda: len(heard) == 1)
        track = voice.track
        on.worker.finish(voice.call_id)
        await until(lambda: len(heard) == 3)
        started, ended, empty = heard
        assert isinstance(started, voicepool.VoiceTrackStartedEvent)
        assert isinstance(ended, voicepool.VoiceTrackEndedEvent)
        assert isinstance(empty, voicepool.VoiceQueueEmptyEvent)
        assert (started.track, ended.track) == (track, track)
        assert (ended.reason, ended.error) == (voicepool.EndReason.FINISHED, None)
        assert empty.connection is voice
        await voice.disconnect()


@asyncio_test
async def test_the_bitrate_may_be_that_of_the_channel() -> None:
    async with stage() as on:
        voice = await on.join()
        assert voice.channel_bitrate_bps == on.guild.voice_channels[0].bitrate
        voice.encoding = voicepool.Encoding(bitrate_bps="auto")
        [told] = await on.worker.hear(SetEncoding)
        assert told.encoding.bitrate_bps == on.guild.voice_channels[0].bitrate
        before = len(on.worker.heard(SetEncoding))
        await voice.move(on.place(1))
        assert len(await on.worker.hear(SetEncoding, before + 1)) > before
        await voice.disconnect()
