"""The speech bot: each letter is heard, in order, over music that steps back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import hikari
import numpy as np

from tests.examples.hall import RATE_HZ, TONE_DB, Level, hall, hears, load, near, tone
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost
from voicepool import VoicePool
from voicepool.testing import VoiceSession

MUSIC_HZ = 300.0
DUCK_DB = -15.0
BEEP_HZ = {"a": 600.0, "k": 1_000.0, "u": 1_400.0}
BEEP_DB = float(20 * np.log10(9_000 / 32_768))


def beeps(session: VoiceSession) -> str:
    """Return the letters that were heard, in order: the loudest beep of each 30 ms, repeats left out."""
    heard = session.pcm()[:, 0] / 32_768
    step = round(0.03 * RATE_HZ)
    heard = heard[: len(heard) // step * step].reshape(-1, step)
    turning = {hz: np.exp(-2j * np.pi * hz * np.arange(step) / RATE_HZ) for hz in BEEP_HZ.values()}
    loud = {letter: np.abs(heard @ turning[hz]) * 2 / step > 0.12 for letter, hz in BEEP_HZ.items()}
    letters = ["".join(letter for letter in BEEP_HZ if loud[letter][at]) for at in range(len(heard))]
    return "".join(
        letter for letter, before in zip(letters, ["", *letters], strict=False) if letter != before
    )


def over_music(hz: float) -> Callable[[Level], bool]:
    return lambda level: level(hz) > BEEP_DB - 3 and near(level(MUSIC_HZ), TONE_DB + DUCK_DB)


@asyncio_test
async def test_it_speaks_over_music(tmp_path: Path) -> None:
    (tmp_path / "music.wav").write_bytes(tone(MUSIC_HZ, seconds=3))

    def build(example: ModuleType, bot: hikari.GatewayBot, pool: VoicePool) -> None:
        example.SpeechBot(bot, pool, tmp_path)

    async with hall("speech_bot", build) as here:
        await here.write("!say ukaka")
        session = await here.session()
        await session.wait_until(lambda heard: heard.report().silence_frames >= 5)
        assert beeps(session) == "ukaka"
        await here.write("!music ../music.wav")
        await hears(session, lambda level: near(level(MUSIC_HZ), TONE_DB))

        # Two at once: the second waits until the first has said it all.
        await here.write("!say kkkkkkkk")
        await here.write("!say uuuuuuuu")
        for hz in (BEEP_HZ["k"], BEEP_HZ["u"]):
            await hears(session, over_music(hz))
        await hears(session, lambda level: near(level(MUSIC_HZ), TONE_DB) and level(BEEP_HZ["u"]) < -50)
        assert beeps(session) == "ukakaku"

        await here.write("!stop")
        await here.discord.wait_for_voice_state(here.guild.id, here.discord.bot_user_id, None)
        await session.wait_closed()
        assert_nothing_lost(session)


def test_the_stand_in_for_a_service_gives_16_bit_mono() -> None:
    async def pieces() -> list[bytes]:
        return [piece async for piece in load("speech_bot").synthesise("A b")]

    made = [np.frombuffer(piece, np.int16) for piece in asyncio.run(pieces())]
    assert [len(piece) for piece in made] == [3_600] * 3
    assert [bool(piece.any()) for piece in made] == [True, False, True]
