"""What a bot is told of a call, and may ask of it, with real workers and the stand-in behind it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, world
from tests.workers.audio.media_files import encode
from voicepool import (
    Closed,
    Connected,
    EncryptionChanged,
    Interrupted,
    MemberJoined,
    MemberLeft,
    MemberSpeaking,
    PoolConfig,
    Restored,
    ServerWanted,
    UnverifiableError,
    VoiceCredentials,
    VoicePool,
)

GUILD = 100
CHANNEL = 101
OTHER_BOT = 43
SONG_FRAMES = 100
ROUNDING_FRAMES = 2
STATES = (Connected, Interrupted, Restored, ServerWanted, Closed)


@asyncio_test
async def test_two_bots_see_each_other_and_verify_each_other() -> None:
    async with (
        world() as here,
        VoicePool(PoolConfig(workers=1, ca_file=here.server.ca_file)) as other_pool,
    ):
        ours = await here.join(GUILD)
        # The stand-in's own listener is in every call.
        members = ours.events(MemberJoined)
        [listener] = ours.members or {(await anext(members)).user_id}
        heard = ours.events(MemberJoined, MemberLeft, MemberSpeaking)
        grant = here.server.grant(guild_id=GUILD, channel_id=CHANNEL, user_id=OTHER_BOT)
        theirs = await other_pool.connect(
            VoiceCredentials(
                guild_id=GUILD,
                channel_id=CHANNEL,
                user_id=OTHER_BOT,
                session_id=grant.session_id,
                endpoint=grant.endpoint,
                token=grant.token,
            )
        )
        assert await anext(heard) == MemberJoined(OTHER_BOT)
        assert ours.members == {OTHER_BOT, listener}
        both = {ours.user_id, OTHER_BOT, listener}
        for voice in (ours, theirs):
            states = voice.events(EncryptionChanged)
            while voice.encryption is None or voice.encryption.members != both:
                await anext(states)
        codes = await asyncio.gather(
            ours.verification_code(OTHER_BOT), theirs.verification_code(ours.user_id)
        )
        assert len(codes[0]) == 45
        assert codes[0] == codes[1]
        with pytest.raises(UnverifiableError, match="99"):
            await ours.verification_code(99)
        await theirs.disconnect()
        while not isinstance(event := await anext(heard), MemberLeft):
            assert isinstance(event, MemberSpeaking)
            assert event.user_id == OTHER_BOT
        assert event == MemberLeft(OTHER_BOT)
        assert ours.members == {listener}


async def play_over_a_gap(on_gap: Literal["continue", "skip"]) -> tuple[int, Restored]:
    """Play `SONG_FRAMES` while the server is replaced; return the frames that arrived, and the gap."""
    async with world() as here:
        voice = await here.join(GUILD)
        heard: list[Any] = []
        for kind in STATES:
            voice.listen(heard.append, kind)
        wanted = voice.events(ServerWanted)
        before = here.session(GUILD)
        song = encode("flac", "flac", seconds=SONG_FRAMES / 50)
        playing = voice.play_no_wait(song, on_gap=on_gap)
        await before.wait_for_packets(20)
        voice.server_gone()
        assert await anext(wanted) == ServerWanted(rejoin=False)
        await voice.connect(here.credentials(GUILD))
        await playing
        await voice.disconnect()
        interrupted, _, connected, restored, closed = heard
        assert [type(event) for event in heard] == [Interrupted, ServerWanted, Connected, Restored, Closed]
        assert "will name another" in str(interrupted.reason)
        assert connected.channel_id == CHANNEL
        assert not restored.resumed
        assert closed == Closed(None)
        after = here.session(GUILD)
        assert_nothing_lost(after)
        return before.report().frames + after.report().frames, restored


@asyncio_test
async def test_a_server_that_is_taken_away_is_replaced_and_the_song_goes_on() -> None:
    frames, restored = await play_over_a_gap("continue")
    assert frames == SONG_FRAMES
    assert restored.gap_ms > 0


@asyncio_test
async def test_a_song_that_keeps_to_the_wall_clock_loses_what_the_gap_took() -> None:
    frames, restored = await play_over_a_gap("skip")
    assert frames < SONG_FRAMES
    missed = SONG_FRAMES - frames
    # Of the frames that were ready when the gap began, none is missed twice.
    assert abs(missed - restored.gap_ms / 20) <= ROUNDING_FRAMES


@asyncio_test
async def test_a_server_that_is_named_before_it_listens_is_tried_again() -> None:
    async with world(
        reconnect_first_pause_s=0.05, reconnect_longest_pause_s=0.1, reconnect_attempts=200
    ) as here:
        voice = await here.join(GUILD)
        heard = voice.events(*STATES)
        playing = voice.play_no_wait(encode("flac", "flac", seconds=1.0))
        await here.session(GUILD).wait_for_packets(10)
        credentials = here.credentials(GUILD)
        await here.server.crash()
        joining = asyncio.create_task(voice.connect(credentials))
        lost = await anext(heard)
        assert isinstance(lost, Interrupted)
        assert not joining.done()
        await here.server.recover()
        await joining
        assert isinstance(await anext(heard), Connected)
        assert isinstance(await anext(heard), Restored)
        assert (voice.connected, voice.interrupted) == (True, False)
        await playing
