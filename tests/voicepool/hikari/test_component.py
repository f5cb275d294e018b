"""`voicepool.VoiceConnection` under hikari's own voice component, in a real bot against the stand-in."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import hikari
import pytest

from tests.fakes.hikari_bot import stage
from tests.fakes.pool import credentials, pool_of, until
from tests.fakes.running import asyncio_test
from voicepool.credentials import VoiceCredentials
from voicepool.errors import AuthenticationError, CallGoneError, PoolNotStartedError, WorkerLostError
from voicepool.events import Restored
from voicepool.hikari import VoiceConnection
from voicepool.ipc.commands import CloseCall, OpenCall, Play, ServerGone
from voicepool.ipc.errors import ErrorCode, ErrorInfo

# With a real bot.


@asyncio_test
async def test_it_joins_plays_and_leaves() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        assert isinstance(voice, VoiceConnection)
        assert isinstance(voice.guild_id, hikari.Snowflake)
        assert voice.channel_id == on.guild.voice_channels[0].id
        assert (voice.is_alive, voice.shard_id, voice.owner) == (True, 0, on.bot.voice)
        assert on.bot.voice.connections[voice.guild_id] is voice
        [opened] = on.worker.heard(OpenCall)
        assert opened.credentials.user_id == on.fake.bot_user_id
        assert opened.credentials.session_id == on.fake.sessions[0].session_id
        playing = asyncio.create_task(voice.play("song.flac"))
        await on.worker.hear(Play)
        await voice.disconnect()
        await playing
        assert not voice.is_alive
        assert not on.bot.voice.connections
        await on.bot_is_in(None)
        await voice.join()


@asyncio_test
async def test_hikari_can_disconnect_it_and_join_again() -> None:
    async with stage() as on:
        first = await on.join_by_component()
        await on.bot.voice.disconnect(on.guild.id)
        assert not first.is_alive
        await on.bot_is_in(None)
        second = await on.join_by_component()
        assert second.is_alive
        await on.bot.voice.disconnect_all()
        assert not second.is_alive


@asyncio_test
async def test_closing_the_bot_closes_it() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        await on.bot.close()
        assert not voice.is_alive
        assert on.worker.open_calls == {}


@asyncio_test
async def test_a_lost_worker_is_not_its_end() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        restored = voice.events(Restored)
        on.fakes.processes[0].kill()
        await anext(restored)
        assert voice.is_alive
        assert list(on.bot.voice.connections.values()) == [voice]


@asyncio_test
async def test_a_call_that_no_worker_takes_over_ends_and_leaves() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        voice.give_up(WorkerLostError("no worker is running"))
        await voice.join()
        assert isinstance(voice.error, WorkerLostError)
        assert not on.bot.voice.connections
        await on.bot_is_in(None)


@asyncio_test
async def test_a_failed_join_leaves_the_channel_and_may_be_tried_again() -> None:
    async with stage() as on:
        on.worker.refusals[OpenCall] = ErrorInfo(code=ErrorCode.AUTHENTICATION, text="wrong token")
        with pytest.raises(AuthenticationError):
            await on.join_by_component()
        await on.bot_is_in(None)
        assert not on.bot.voice.connections
        assert on.pool.connections == ()
        on.worker.refusals.clear()
        assert (await on.join_by_component()).is_alive


@asyncio_test
async def test_the_pool_closing_first_leaves_the_channels() -> None:
    async with stage() as on:
        voice = await on.join_by_component()
        await on.pool.close()
        assert not voice.is_alive
        assert not on.bot.voice.connections
        await on.bot_is_in(None)


# Alone, with a component of the test's own.


class Component:
    """Records how it is told of the end."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.told: list[VoiceConnection] = []
        self.failure = failure
        self.connections: dict[hikari.Snowflake, VoiceConnection] = {}
        self.hold = asyncio.Event()
        self.hold.set()

    async def on_close(self, connection: VoiceConnection) -> None:
        self.told.append(connection)
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure


def arguments(component: Component, **more: Any) -> dict[str, Any]:
    wanted: VoiceCredentials = credentials()
    return {
        "channel_id": hikari.Snowflake(wanted.channel_id),
        "endpoint": "wss://voice.example:443",
        "guild_id": hikari.Snowflake(wanted.guild_id),
        "on_close": component.on_close,
        "owner": component,
        "session_id": "secret-session",
        "shard_id": 3,
        "token": "secret-token",
        "user_id": hikari.Snowflake(wanted.user_id),
    } | more


@asyncio_test
async def test_without_a_pool_the_call_is_explained() -> None:
    component = Component()
    with pytest.raises(TypeError, match=r"pool= is missing; use await voicepool\.connect"):
        await VoiceConnection.initialize(**arguments(component))
    with pytest.raises(TypeError, match="pool= is dict, not a VoicePool"):
        await VoiceConnection.initialize(**arguments(component, pool={}))
    pool, _ = pool_of()
    with pytest.raises(TypeError, match="unknown arguments volume"):
        await VoiceConnection.initialize(**arguments(component, pool=pool, volume=1))
    with pytest.raises(PoolNotStartedError):
        await VoiceConnection.initialize(**arguments(component, pool=pool))
    await pool.close()
    assert component.told == []


@asyncio_test
async def test_a_cancelled_join_cleans_up_and_does_not_tell_the_component() -> None:
    pool, fakes = pool_of()
    component = Component()
    async with pool:
        fakes.workers[0].silent_about.add(OpenCall)
        joining = asyncio.create_task(VoiceConnection.initialize(**arguments(component, pool=pool)))
        await fakes.workers[0].hear(OpenCall)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await fakes.workers[0].hear(CloseCall)
        assert pool.connections == ()
    assert component.told == []


@asyncio_test
async def test_the_component_is_told_once_however_often_it_ends() -> None:
    pool, fakes = pool_of()
    component = Component()
    async with pool:
        voice = await VoiceConnection.initialize(**arguments(component, pool=pool))
        component.hold.clear()
        leaving = [asyncio.create_task(voice.disconnect()) for _ in range(3)]
        await until(lambda: component.told)
        assert fakes.workers[0].open_calls == {}
        assert not any(task.done() for task in leaving)
        component.hold.set()
        await asyncio.gather(*leaving)
        await voice.disconnect()
    assert component.told == [voice]


@asyncio_test
async def test_a_component_that_fails_is_logged_and_not_our_failure(caplog: pytest.LogCaptureFixture) -> None:
    pool, _ = pool_of()
    component = Component(ValueError("list.remove(x)"))
    async with pool:
        voice = await VoiceConnection.initialize(**arguments(component, pool=pool))
        await voice.disconnect()
    [record] = [record for record in caplog.records if record.name == "voicepool.hikari"]
    assert record.levelno == logging.WARNING
    assert "did not leave the channel" in record.getMessage()
    assert "secret" not in caplog.text


@asyncio_test
async def test_a_component_that_hangs_does_not_hang_the_end_of_the_pool() -> None:
    pool, _ = pool_of(stop_timeout_s=0.05)
    component = Component()
    component.hold.clear()
    await pool.start()
    await VoiceConnection.initialize(**arguments(component, pool=pool))
    await pool.close()
    assert len(component.told) == 1


@asyncio_test
async def test_a_superseded_connection_does_not_throw_the_new_one_out() -> None:
    pool, _ = pool_of()
    component = Component()
    async with pool:
        old = await VoiceConnection.initialize(**arguments(component, pool=pool))
        new = await VoiceConnection.initialize(**arguments(component, pool=pool))
        assert isinstance(old.error, CallGoneError)
        assert not old.is_alive
        assert component.told == []
        await new.disconnect()
    assert component.told == [new]


@asyncio_test
async def test_events_it_does_not_know_are_ignored() -> None:
    unknown: Any = SimpleNamespace(app=None)
    pool, _ = pool_of()
    component = Component()
    async with pool:
        voice = await VoiceConnection.initialize(**arguments(component, pool=pool))
        await voice.notify(unknown)
        assert voice.is_alive
        await voice.disconnect()
        await voice.notify(unknown)


def server_update(voice: VoiceConnection, endpoint: str | None, token: str) -> hikari.VoiceServerUpdateEvent:
    return hikari.VoiceServerUpdateEvent(
        app=None,  # type: ignore[arg-type]  # no bot
        shard=None,  # type: ignore[arg-type]  # not looked at
        guild_id=voice.guild_id,
        token=token,
        raw_endpoint=endpoint,
    )


@asyncio_test
async def test_overlapping_server_updates_end_at_the_newest() -> None:
    pool, fakes = pool_of()
    component = Component()
    async with pool:
        voice = await VoiceConnection.initialize(**arguments(component, pool=pool))
        worker = fakes.workers[0]
        worker.silent_about.add(OpenCall)
        older = asyncio.create_task(voice.notify(server_update(voice, "a.example", "a")))
        await worker.hear(OpenCall, 2)
        worker.silent_about.clear()
        await voice.notify(server_update(voice, "b.example", "b"))
        await older
        assert voice.connected
        assert worker.heard(OpenCall)[-1].credentials.endpoint == "wss://b.example"
        await voice.notify(server_update(voice, "b.example", "b"))
        assert len(worker.heard(OpenCall)) == 3
        assert voice.connected
        await voice.notify(server_update(voice, None, "c"))
        await worker.hear(ServerGone)
        assert (voice.connected, voice.interrupted) == (False, True)
        await voice.notify(server_update(voice, "d.example", "d"))
        assert voice.connected


@asyncio_test
async def test_an_end_in_the_moment_of_joining_is_the_joins_failure() -> None:
    pool, fakes = pool_of()
    component = Component()

    class Doomed(VoiceConnection):
        async def _open(self, effort: int) -> None:
            await super()._open(effort)
            self.give_up(WorkerLostError("gone in between"))

    async with pool:
        with pytest.raises(WorkerLostError, match="gone in between"):
            await Doomed.initialize(**arguments(component, pool=pool))
        assert fakes.workers[0].heard(OpenCall)
    assert component.told == []
