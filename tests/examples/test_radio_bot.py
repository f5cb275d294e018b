"""The radio bot: one stream in all guilds, through breaks, region moves, and a worker that dies."""

from __future__ import annotations

import asyncio
import os
import signal
from types import ModuleType
from typing import Any

import hikari

from tests.examples.hall import TONE_DB, Level, hall, hears, near
from tests.examples.icecast import on_the_air
from tests.fakes.running import asyncio_test
from voicepool import VoicePool

MORNING_HZ, EVENING_HZ = 500.0, 800.0


def morning(level: Level) -> bool:
    return near(level(MORNING_HZ), TONE_DB)


def evening(level: Level) -> bool:
    return near(level(EVENING_HZ), TONE_DB) and level(MORNING_HZ) < -40


@asyncio_test
async def test_it_stays_on_the_air_whatever_happens() -> None:
    radio: Any = None
    pools: list[VoicePool] = []
    shown: asyncio.Queue[str] = asyncio.Queue()

    def build(example: ModuleType, bot: hikari.GatewayBot, pool: VoicePool) -> None:
        nonlocal radio
        pools.append(pool)
        radio = example.RadioBot(bot, pool, station.url)
        radio.retry_s = 0.1
        show = radio.show

        async def show_and_tell(title: str) -> None:
            await show(title)
            shown.put_nowait(title)

        radio.show = show_and_tell
        radio.channel_name = "voice-0"

    with on_the_air(MORNING_HZ, "Good morning") as station:
        async with hall("radio_bot", build, guilds=2, servers=2) as here:
            first, second = here.discord.guilds
            sessions = [await here.session(first), await here.session(second)]
            await asyncio.gather(*(hears(session, morning) for session in sessions))
            assert await shown.get() == "Good morning"

            station.change(EVENING_HZ, "Good evening")
            await asyncio.gather(*(hears(session, evening) for session in sessions))
            assert await shown.get() == "Good evening"
            assert station.listeners == 2, "both guilds hear one stream, which was opened anew once"

            await here.discord.move_region(first.id)
            sessions[0] = await here.session(first, after=sessions[0])
            await hears(sessions[0], evening)

            worker = pools[0].workers[0]
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            for guild, session in zip(here.discord.guilds, sessions, strict=True):
                await hears(await here.session(guild, after=session), evening)

            await here.discord.kick_voice(second.id, here.discord.bot_user_id)
            await radio.calls[hikari.Snowflake(second.id)]
            assert here.discord.violations == ()
            assert shown.empty()
