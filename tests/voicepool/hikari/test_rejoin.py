"""Back into the channel for new credentials: in a real bot against the stand-in, and `Rejoin` alone."""

from __future__ import annotations

import asyncio
import copy
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes.hikari_bot import Stage, stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import ClosedByServerError, Connected, ConnectError, JoinError, VoiceConnection
from voicepool.hikari import connection as adapter
from voicepool.hikari import rejoin as rejoin_module
from voicepool.hikari.rejoin import Phase, Rejoin
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


# In a real bot.


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
        for number in range(adapter._REJOINS):
            session_is_void(on, voice)
            await connected_again(on, voice, number + 2)
            await until(lambda: voice._rejoin is None)
        session_is_void(on, voice)
        await voice.join()
        assert isinstance(voice.error, ConnectError)
        assert "forgot the session 6 times within 120 s" in str(voice.error)
        assert outcomes(on).count(JOINED) == 1 + adapter._REJOINS
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


# Alone.


class Gateway:
    """Stands for the watch: op 4 waits for the test."""

    def __init__(self) -> None:
        self.guild_id = 1
        self.asked: list[int | None] = []
        self.let_through = asyncio.Event()
        self.state: Any = None
        self.servers = 0
        self.has_server = False
        self.shard_connected = True
        self.flags = (True, False)
        self.latest = SimpleNamespace(channel_id=10)
        self.changed = asyncio.Event()

    @property
    def in_channel(self) -> bool:
        return self.state is not None and self.state.channel_id is not None

    async def until(self, condition: Any) -> None:
        await until(condition)

    async def ask(self, channel_id: int | None, *, deaf: bool, mute: bool) -> None:
        assert (deaf, mute) == (True, False)
        await self.let_through.wait()
        self.asked.append(channel_id)


def rejoin_of(gateway: Gateway, **more: Any) -> Rejoin:
    wishes: dict[str, Any] = {
        "patience_s": 60,
        "hold": lambda: None,
        "needless": lambda: False,
        "leave_first": True,
        "session_id": None,
    }
    return Rejoin(cast("Any", gateway), **(wishes | more))


@asyncio_test
async def test_the_worker_keeps_the_call_while_op_4_waits_in_the_rate_limiter() -> None:
    gateway = Gateway()
    holds: list[None] = []
    rejoin = rejoin_of(
        gateway,
        patience_s=0.02,
        hold=lambda: holds.append(None),
        needless=lambda: True,
        leave_first=False,
        session_id="new",
    )
    running = asyncio.create_task(rejoin.run(lambda: 10))
    await until(lambda: len(holds) > 5)
    assert gateway.asked == []
    # What comes now cannot be missed by a timeout: the answer is there before it is waited for.
    gateway.servers, gateway.has_server = 1, True
    rejoin.on_state("old")
    assert rejoin.awaits_state
    rejoin.on_state("new")
    held = len(holds)
    for _ in range(3):
        await asyncio.wait([running], timeout=0.02)
    assert len(holds) == held, "what the answer has begun is not undone"
    gateway.let_through.set()
    await running
    assert gateway.asked == [10]
    assert rejoin.phase is Phase.JOINED


@asyncio_test
async def test_a_state_while_leaving_is_that_of_a_move() -> None:
    gateway = Gateway()
    rejoin = rejoin_of(gateway, patience_s=60)
    channel = 10
    assert not rejoin.explains_leave
    running = asyncio.create_task(rejoin.run(lambda: channel))
    await until(lambda: rejoin.voids_server)
    rejoin.on_state("any")
    assert (rejoin.voids_server, rejoin.explains_leave) == (True, True)
    channel = 20
    gateway.let_through.set()
    await until(lambda: gateway.asked == [None])
    gateway.state = SimpleNamespace(channel_id=None)
    await until(lambda: gateway.asked == [None, 20])
    assert (rejoin.awaits_state, rejoin.voids_server) == (True, False)
    gateway.servers, gateway.has_server = 1, True
    rejoin.on_state("any")
    await running


@asyncio_test
async def test_credentials_that_came_before_the_leave_make_it_needless() -> None:
    gateway = Gateway()
    gateway.let_through.set()
    holds: list[None] = []
    rejoin = rejoin_of(gateway, needless=lambda: True, hold=lambda: holds.append(None))
    await rejoin.run(lambda: 10)
    assert (gateway.asked, holds) == ([], [])


@asyncio_test
async def test_a_shard_that_does_not_come_back_is_an_end() -> None:
    gateway = Gateway()
    gateway.shard_connected = False
    rejoin = rejoin_of(gateway, patience_s=0.01)
    with pytest.raises(JoinError, match="guild 1, channel 10: Discord did not answer"):
        await rejoin.run(lambda: 10)
    assert gateway.asked == []
