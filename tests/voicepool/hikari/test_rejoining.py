"""Back into the channel for new credentials: in a real bot against the stand-in."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from tests.fakes.hikari_bot import Stage, stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import ClosedByServerError, Connected, ConnectError, JoinError, VoiceConnection
from voicepool.hikari import connection as adapter
from voicepool.hikari import following
from voicepool.hikari import rejoin as rejoin_module
from voicepool.ipc.commands import CloseCall, OpenCall, Play, ServerGone
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed, ServerWanted
from voicepool.testing.gateway_voice import Op4Outcome
from voicepool.testing.guild_model import Permission

LEFT, JOINED, MOVED = Op4Outcome.LEFT, Op4Outcome.JOINED, Op4Outcome.MOVED


def outcomes(on: Stage) -> list[Op4Outcome]:
    return [entry.outcome for entry in on.fake.op4_log]


def session_is_void(on: Stage, voice: VoiceConnection) -> None:
    """What a worker says after close code 4006 or 4009."""
    generation = on.worker.heard(OpenCall)[-1].generation
    on.worker.say(ServerWanted(call=voice.call_id, generation=generation, rejoin=True))


async def connected_again(on: Stage, voice: VoiceConnection, attempts: int = 2) -> OpenCall:
    newest = (await on.worker.hear(OpenCall, attempts))[-1]
    await until(lambda: voice.connected)
    return newest


@pytest.mark.parametrize("by_component", [False, True])
def test_a_void_session_makes_the_bot_leave_and_join_again(*, by_component: bool) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with stage() as on:
            voice = await (on.join_by_component(deaf=True) if by_component else on.join(deaf=True))
            playing = voice.play_no_wait("song.flac")
            await on.worker.hear(Play)
            session_is_void(on, voice)
            again = await connected_again(on, voice)
            assert outcomes(on) == [JOINED, LEFT, JOINED]
            assert on.fake.op4_log[-1].self_deaf
            assert again.credentials.token != on.worker.heard(OpenCall)[0].credentials.token
            assert (voice.is_alive, voice.playing) == (True, True)
            assert on.bot.voice.connections[voice.guild_id] is voice
            await on.bot_is_in(0)
            # The leave was no kick, but this is one.
            await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
            await voice.join()
            await playing

    scenario()


@asyncio_test
async def test_the_worker_is_told_to_wait_and_told_once_of_the_new_server() -> None:
    async with stage() as on:
        voice = await on.join()
        session_is_void(on, voice)
        session_is_void(on, voice)
        await connected_again(on, voice)
        assert on.worker.heard(ServerGone)
        assert {gone.generation for gone in on.worker.heard(ServerGone)} == {1}
        assert len(on.worker.heard(OpenCall)) == 2
        session_is_void(on, voice)
        await connected_again(on, voice, 3)
        assert outcomes(on) == [JOINED, LEFT, JOINED, LEFT, JOINED]


@asyncio_test
async def test_silence_is_the_end_and_says_so() -> None:
    async with stage(server_wait_s=0.4) as on:
        voice = await on.join()
        on.fake.withhold("VOICE_SERVER_UPDATE")
        session_is_void(on, voice)
        await voice.join()
        assert isinstance(voice.error, JoinError)
        assert voice.error.reason == "timeout"
        assert f"guild {on.guild.id}, channel {on.place()}: Discord did not answer" in str(voice.error)
        assert outcomes(on)[:5] == [JOINED, LEFT, JOINED, LEFT, JOINED], "it is tried twice"
        assert not on.bot.voice.connections
        await on.worker.hear(CloseCall)
        await on.bot_is_in(None)


@asyncio_test
async def test_a_channel_that_closed_its_doors_is_the_end() -> None:
    async with stage(server_wait_s=0.4) as on:
        voice = await on.join()
        on.guild.everyone.permissions = Permission(0)
        session_is_void(on, voice)
        await voice.join()
        assert isinstance(voice.error, JoinError)
        assert not on.bot.voice.connections


@asyncio_test
async def test_the_worker_giving_up_first_ends_it() -> None:
    async with stage() as on:
        voice = await on.join()
        on.fake.withhold("VOICE_SERVER_UPDATE")
        session_is_void(on, voice)
        await on.fake.wait_until(lambda: outcomes(on) == [JOINED, LEFT, JOINED])
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="session is void", data={"close_code": 4006})
        on.worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        await voice.join()
        assert isinstance(voice.error, ClosedByServerError)
        await on.bot_is_in(None)


@asyncio_test
async def test_leaving_in_the_middle_is_at_once() -> None:
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_STATE_UPDATE")
        session_is_void(on, voice)
        await on.fake.wait_until(lambda: LEFT in outcomes(on))
        await voice.disconnect()
        assert not on.bot.voice.connections
        held.discard()
        await on.bot_is_in(None)
        assert JOINED not in outcomes(on)[1:]


@asyncio_test
async def test_a_move_by_the_bot_waits_for_the_rejoin() -> None:
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_STATE_UPDATE")
        session_is_void(on, voice)
        await on.fake.wait_until(lambda: LEFT in outcomes(on))
        moving = asyncio.create_task(voice.move(on.place(1)))
        await asyncio.sleep(0)
        held.release()
        await moving
        assert outcomes(on) == [JOINED, LEFT, JOINED, MOVED]
        assert (voice.connected, voice.channel_id) == (True, on.place(1))


@asyncio_test
async def test_a_move_under_way_makes_a_rejoin_needless() -> None:
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_STATE_UPDATE")
        moving = asyncio.create_task(voice.move(on.place(1)))
        await on.fake.wait_until(lambda: MOVED in outcomes(on))
        session_is_void(on, voice)
        await on.worker.hear(OpenCall, 2)
        held.release()
        await moving
        await until(lambda: voice.connected)
        assert outcomes(on) == [JOINED, MOVED]
        assert on.worker.heard(ServerGone) == []
        assert voice.channel_id == on.place(1)


@asyncio_test
async def test_a_moderators_move_meanwhile_decides_where_to() -> None:
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_SERVER_UPDATE")
        await on.fake.move_member(on.guild.id, on.fake.bot_user_id, on.place(1))
        await until(lambda: voice.channel_id == on.place(1))
        session_is_void(on, voice)
        await on.fake.wait_until(lambda: outcomes(on) == [JOINED, LEFT, JOINED])
        held.release()
        await connected_again(on, voice)
        assert on.fake.op4_log[-1].channel_id == on.place(1)
        assert voice.channel_id == on.place(1)
        await on.bot_is_in(1)


@asyncio_test
async def test_a_new_gateway_session_meanwhile_wins() -> None:
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_STATE_UPDATE")
        session_is_void(on, voice)
        await on.fake.wait_until(lambda: LEFT in outcomes(on))
        await on.fake.drop_gateway(resume=False)
        held.discard()
        again = await connected_again(on, voice)
        assert again.credentials.session_id == on.fake.sessions[-1].session_id
        await on.bot_is_in(0)


@asyncio_test
async def test_a_gateway_that_is_down_is_waited_for() -> None:
    async with stage() as on:
        voice = await on.join()
        shard = on.bot.shards[voice.shard_id]
        await on.fake.drop_gateway()
        await until(lambda: not shard.is_connected)
        # Put out (4014), and nobody can say why yet: the worker keeps the call beyond its grace.
        on.worker.say(ServerWanted(call=voice.call_id, generation=1, rejoin=False))
        await on.worker.hear(ServerGone)
        session_is_void(on, voice)
        await connected_again(on, voice)
        assert outcomes(on) == [JOINED, LEFT, JOINED]


@asyncio_test
async def test_a_kick_while_the_gateway_was_down_is_a_kick() -> None:
    async with stage() as on:
        voice = await on.join()
        shard = on.bot.shards[voice.shard_id]
        await on.fake.drop_gateway()
        await until(lambda: not shard.is_connected)
        session_is_void(on, voice)
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        await voice.join()
        assert voice.error is None
        assert JOINED not in outcomes(on)[1:]


@asyncio_test
async def test_a_server_named_while_the_gateway_was_down_makes_a_rejoin_needless() -> None:
    async with stage() as on:
        voice = await on.join()
        shard = on.bot.shards[voice.shard_id]
        await on.fake.drop_gateway()
        await until(lambda: not shard.is_connected)
        session_is_void(on, voice)
        await on.worker.hear(ServerGone)
        await on.fake.change_voice_server(on.guild.id, "other.example:443")
        await connected_again(on, voice)
        await until(lambda: voice._rejoin is None)
        assert outcomes(on) == [JOINED]


@asyncio_test
async def test_being_put_out_while_the_gateway_is_up_is_the_gateways_to_explain() -> None:
    async with stage() as on:
        voice = await on.join()
        on.worker.say(ServerWanted(call=voice.call_id, generation=1, rejoin=False))
        heard: list[Any] = []
        voice.listen(heard.append)
        await on.fake.change_voice_server(on.guild.id, "other.example:443")
        await connected_again(on, voice)
        assert on.worker.heard(ServerGone) == []
        assert [event for event in heard if isinstance(event, Connected)]


@asyncio_test
async def test_without_a_bot_it_is_up_to_whoever_listens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(adapter, "bot_behind", lambda _owner: None)
    async with stage() as on:
        voice = await on.join_by_component()
        session_is_void(on, voice)
        await until(lambda: "a new one needs the bot" in caplog.text)
        assert voice.is_alive
        assert outcomes(on) == [JOINED]


@asyncio_test
async def test_a_session_that_never_holds_is_given_up() -> None:
    async with stage() as on:
        voice = await on.join()
        for number in range(following._REJOINS):
            session_is_void(on, voice)
            await connected_again(on, voice, number + 2)
            await until(lambda: voice._rejoin is None)
        session_is_void(on, voice)
        await voice.join()
        assert isinstance(voice.error, ConnectError)
        assert "forgot the session 6 times within 120 s" in str(voice.error)
        assert outcomes(on).count(JOINED) == 1 + following._REJOINS
        await on.bot_is_in(None)


@asyncio_test
async def test_the_end_of_a_lost_session_told_late_is_no_kick() -> None:
    async with stage() as on:
        voice = await on.join()
        state = on.bot.cache.get_voice_state(on.guild.id, on.fake.bot_user_id)
        assert state is not None
        with on.fake.withhold("VOICE_STATE_UPDATE"):
            voice.follow_session("a new session")
            left = copy.copy(state)
            left.channel_id = None
            await voice.follow_state(left)
            assert voice.is_alive
            await voice.disconnect()


@asyncio_test
async def test_one_that_is_out_already_joins_without_waiting_for_the_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rejoin_module, "_LEAVE_S", 0.05)
    async with stage() as on:
        voice = await on.join()
        held = on.fake.withhold("VOICE_STATE_UPDATE")
        await on.fake.kick_voice(on.guild.id, on.fake.bot_user_id)
        held.discard()
        session_is_void(on, voice)
        await connected_again(on, voice)
        assert outcomes(on) == [JOINED, Op4Outcome.IGNORED_NOT_IN_VOICE, JOINED]
