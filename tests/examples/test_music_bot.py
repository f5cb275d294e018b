"""The music bot: each of its commands is heard."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import hikari

from tests.examples.hall import TONE_DB, hall, hears, near, tone
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost
from voicepool import VoicePool

LOW_HZ, HIGH_HZ = 300.0, 900.0


@asyncio_test
async def test_all_that_it_can_do(tmp_path: Path) -> None:
    (tmp_path / "Low song.wav").write_bytes(tone(LOW_HZ, seconds=20))
    (tmp_path / "High song.wav").write_bytes(tone(HIGH_HZ, seconds=20))

    def build(example: ModuleType, bot: hikari.GatewayBot, pool: VoicePool) -> None:
        example.MusicBot(bot, pool, tmp_path).crossfade_s = 1.0

    async with hall("music_bot", build, servers=2) as here:
        await here.write("!play no such thing")
        assert "no such thing" in await here.answered("Sorry")
        await here.write("!play song low")
        await here.answered("Now playing Low song")
        session = await here.session()
        await hears(session, lambda level: near(level(LOW_HZ), TONE_DB))

        await here.write("!volume 50")
        await hears(session, lambda level: near(level(LOW_HZ), TONE_DB - 6))
        await here.write("!filter nightcore")
        await hears(session, lambda level: near(level(1.25 * LOW_HZ), TONE_DB - 6) and level(LOW_HZ) < -40)
        await here.write("!play high")
        await here.answered("high is number 1 in the queue")

        # The song, its filter, the volume and the queue are the same on another voice server.
        await here.discord.move_region(here.guild.id)
        session = await here.session(after=session)
        await hears(session, lambda level: near(level(1.25 * LOW_HZ), TONE_DB - 6) and level(LOW_HZ) < -40)
        await here.write("!volume 100")
        await here.write("!filter off")
        await hears(session, lambda level: near(level(LOW_HZ), TONE_DB) and level(1.25 * LOW_HZ) < -40)
        await here.write("!queue")
        assert await here.answered("in all") == "1. 'high'\n1 in all, loop off"
        await here.write("!loop sometimes")
        await here.answered("'sometimes' is not a valid Loop")
        await here.write("!seek 0:10")
        await hears(session, lambda level: near(level(LOW_HZ), TONE_DB))
        await here.write("!now")
        assert re.fullmatch(r"Low song, 0:1[0-3] of 0:20", await here.answered("of 0:20"))

        await here.write("!skip")
        await here.answered("Now playing High song")
        await hears(session, lambda level: near(level(HIGH_HZ), TONE_DB) and level(LOW_HZ) < -40)
        await here.write("!back")
        await hears(session, lambda level: near(level(LOW_HZ), TONE_DB) and level(HIGH_HZ) < -40)
        await here.write("!seek 18")
        # At the end of the song it and the next one are heard together, and then the next one alone.
        await hears(session, lambda level: min(level(LOW_HZ), level(HIGH_HZ)) > TONE_DB - 12)
        await hears(session, lambda level: near(level(HIGH_HZ), TONE_DB) and level(LOW_HZ) < -40)

        await here.write("!stop")
        await here.discord.wait_for_voice_state(here.guild.id, here.discord.bot_user_id, None)
        await session.wait_closed()
        assert_nothing_lost(session)
        assert here.discord.violations == ()
