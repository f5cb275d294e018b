"""The soundboard bot: sounds over music, which steps back for them and comes up again."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import hikari

from tests.examples.hall import TONE_DB, hall, hears, near, tone
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost
from voicepool import VoicePool

MUSIC_HZ, HORN_HZ, BELL_HZ = 300.0, 1_000.0, 2_000.0
DUCK_DB = -9.0


@asyncio_test
async def test_all_that_it_can_do(tmp_path: Path) -> None:
    (tmp_path / "music.wav").write_bytes(tone(MUSIC_HZ, seconds=2))
    (tmp_path / "horn.wav").write_bytes(tone(HORN_HZ, seconds=20))
    (tmp_path / "bell.wav").write_bytes(tone(BELL_HZ, seconds=20))
    (tmp_path / "click.wav").write_bytes(tone(HORN_HZ, seconds=0.5))

    def build(example: ModuleType, bot: hikari.GatewayBot, pool: VoicePool) -> None:
        example.SoundboardBot(bot, pool, tmp_path)

    async with hall("soundboard_bot", build) as here:
        await here.write("!sound drum")
        assert await here.answered("Sorry") == "Sorry: there are bell, click, horn, music"
        await here.write("!music music")
        session = await here.session()
        await hears(session, lambda level: near(level(MUSIC_HZ), TONE_DB))

        await here.write("!sound horn")
        await hears(
            session,
            lambda level: near(level(HORN_HZ), TONE_DB) and near(level(MUSIC_HZ), TONE_DB + DUCK_DB),
        )
        await here.write("!sound bell 50")
        # The music sinks once for both, and they do not sink for each other.
        await hears(
            session,
            lambda level: (
                near(level(BELL_HZ), TONE_DB - 6)
                and near(level(HORN_HZ), TONE_DB)
                and near(level(MUSIC_HZ), TONE_DB + DUCK_DB)
            ),
        )
        await here.write("!quiet")
        await hears(
            session,
            lambda level: near(level(MUSIC_HZ), TONE_DB) and max(level(HORN_HZ), level(BELL_HZ)) < -50,
        )

        # A sound that ends by itself lets the music come up too.
        await here.write("!sound click")
        await hears(session, lambda level: near(level(MUSIC_HZ), TONE_DB + DUCK_DB))
        await hears(session, lambda level: near(level(MUSIC_HZ), TONE_DB) and level(HORN_HZ) < -50)

        await here.write("!stop")
        await here.discord.wait_for_voice_state(here.guild.id, here.discord.bot_user_id, None)
        await session.wait_closed()
        assert_nothing_lost(session)
