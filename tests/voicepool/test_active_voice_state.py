"""What bots written for interactions.py know: the same names, of the same kind, with the same meaning.

`ACTIVE_VOICE_STATE` are the public names that ``ActiveVoiceState`` of discord-py-interactions 5.16.0 defines
itself, as `inspect` showed them. README has them as a table.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import pytest

import voicepool
from tests.fakes.hikari_bot import Stage, stage
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import AudioFile, VoiceConnection
from voicepool.ipc.commands import Pause, Play, Resume, SetVolume, Stop

Kind = Literal["coroutine", "function", "property", "attribute"]

ACTIVE_VOICE_STATE: Final[dict[str, Kind]] = {
    "connect": "coroutine",
    "connected": "property",
    "create_recorder": "function",
    "current_audio": "property",
    "disconnect": "coroutine",
    "gateway": "property",
    "move": "coroutine",
    "pause": "function",
    "paused": "property",
    "play": "coroutine",
    "play_no_wait": "function",
    "player": "attribute",
    "playing": "property",
    "recorder": "attribute",
    "recordings": "property",
    "resume": "function",
    "start_recording": "coroutine",
    "stop": "coroutine",
    "stop_recording": "coroutine",
    "stopped": "property",
    "user_id": "attribute",
    "volume": "property",
    "wait_for_stopped": "coroutine",
    "ws": "attribute",
    "ws_connect": "coroutine",
}
RECORDING: Final = {"create_recorder", "recorder", "recordings", "start_recording", "stop_recording"}
"""Later: nothing is received yet."""
INTERNALS: Final = {"gateway", "player", "ws", "ws_connect"}
"""Its own websockets and threads, which here are in another process."""
OURS: Final = sorted(ACTIVE_VOICE_STATE.keys() - RECORDING - INTERNALS)
README: Final = Path(__file__).parents[2] / "README.md"


@contextlib.asynccontextmanager
async def call() -> AsyncIterator[tuple[Stage, VoiceConnection]]:
    async with stage() as there:
        yield there, await there.join()


# The names.


@pytest.mark.parametrize("name", OURS)
def test_each_name_is_there_and_of_the_same_kind(name: str) -> None:
    found = inspect.getattr_static(VoiceConnection, name)
    match ACTIVE_VOICE_STATE[name]:
        case "coroutine":
            assert inspect.iscoroutinefunction(found)
        case "function":
            assert inspect.isfunction(found)
            assert not inspect.iscoroutinefunction(found)
        case "property" | "attribute":
            assert isinstance(found, property)


def test_each_is_called_in_the_same_way() -> None:
    for name, arguments in {
        "connect": (),
        "disconnect": (),
        "move": (5,),
        "pause": (),
        "play": ("song.mp3",),
        "play_no_wait": ("song.mp3",),
        "resume": (),
        "stop": (),
        "wait_for_stopped": (),
    }.items():
        inspect.signature(getattr(VoiceConnection, name)).bind(None, *arguments)
    assert isinstance(VoiceConnection.volume, property)
    assert VoiceConnection.volume.fset is not None


def test_the_same_surface_without_hikari() -> None:
    # But `move`, which takes a bot that can ask Discord for it.
    assert [name for name in OURS if not hasattr(voicepool.BaseVoiceConnection, name)] == ["move"]


def test_the_table_in_the_readme_has_them_all() -> None:
    table = README.read_text().partition("<!-- surface -->")[2].partition("<!-- /surface -->")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = re.findall(r"`(\w+)[`(]", "".join(rows))
    assert sorted(named) == sorted(OURS)


# What they mean.


@asyncio_test
async def test_play_returns_when_playback_has_stopped_and_the_flags_say_how_it_stands() -> None:
    async with call() as (there, voice):
        assert (voice.connected, voice.playing, voice.paused, voice.stopped) == (True, False, False, True)
        assert voice.current_audio is None
        playing = asyncio.create_task(voice.play("song.mp3"))
        await there.worker.hear(Play)
        assert (voice.playing, voice.paused, voice.stopped) == (True, False, False)
        assert voice.current_audio == AudioFile("song.mp3")
        assert not playing.done()
        there.worker.finish(voice.call_id)
        await playing
        assert (voice.playing, voice.paused, voice.stopped) == (False, False, True)
        assert voice.current_audio is None


@asyncio_test
async def test_play_no_wait_returns_a_task_that_ends_with_playback() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        assert isinstance(task, asyncio.Task)
        await there.worker.hear(Play)
        assert not task.done()
        await voice.stop()
        await task
        assert voice.stopped


@asyncio_test
async def test_play_replaces_what_plays_whose_own_play_then_returns() -> None:
    async with call() as (there, voice):
        first = voice.play_no_wait("first.mp3")
        await there.worker.hear(Play)
        second = voice.play_no_wait("second.mp3")
        await first
        assert voice.current_audio == AudioFile("second.mp3")
        await voice.stop()
        await second


@asyncio_test
async def test_pause_holds_and_resume_goes_on() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        voice.pause()
        await there.worker.hear(Pause)
        assert (voice.playing, voice.paused, voice.stopped) == (False, True, False)
        assert voice.current_audio == AudioFile("song.mp3")
        voice.resume()
        await there.worker.hear(Resume)
        assert (voice.playing, voice.paused, voice.stopped) == (True, False, False)
        await voice.stop()
        await task


@asyncio_test
async def test_stop_returns_when_it_is_silent_and_what_waits_for_that_goes_on() -> None:
    async with call() as (there, voice):
        await voice.wait_for_stopped()
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        waiting = asyncio.create_task(voice.wait_for_stopped())
        await asyncio.sleep(0)
        assert not waiting.done()
        await voice.stop()
        await there.worker.hear(Stop)
        await waiting
        await task
        assert voice.stopped


@asyncio_test
async def test_volume_is_linear_lasts_and_is_never_negative() -> None:
    async with call() as (there, voice):
        voice.volume = 0.5
        assert voice.volume == 0.5
        with pytest.raises(ValueError, match="volume must be a finite number, 0 or more"):
            voice.volume = -0.1
        task = voice.play_no_wait("song.mp3")
        [command] = await there.worker.hear(Play)
        assert command.volume == 0.5
        voice.volume = 2.0
        [change] = await there.worker.hear(SetVolume)
        assert change.volume == voice.volume == 2.0
        await voice.stop()
        await task


@asyncio_test
async def test_move_goes_to_another_channel_and_what_plays_goes_on() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        await voice.move(there.place(1))
        await there.bot_is_in(1)
        assert voice.channel_id == there.place(1)
        assert voice.playing
        await voice.stop()
        await task


@asyncio_test
async def test_what_is_held_stays_held_over_a_move() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        voice.pause()
        await voice.move(there.place(1))
        await there.bot_is_in(1)
        assert (voice.connected, voice.paused, voice.current_audio) == (True, True, AudioFile("song.mp3"))
        await voice.stop()
        await task


@asyncio_test
async def test_disconnect_leaves_and_ends_what_plays_as_if_stopped() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        await voice.disconnect()
        await task
        await there.bot_is_in(None)
        assert (voice.connected, voice.stopped) == (False, True)
        assert voice.user_id == there.fake.bot_user_id


@asyncio_test
async def test_connect_joins_anew_with_what_it_knows() -> None:
    async with call() as (there, voice):
        task = voice.play_no_wait("song.mp3")
        await there.worker.hear(Play)
        await voice.connect()
        assert voice.connected
        assert voice.playing
        await voice.stop()
        await until(task.done)
