from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from benchmarks.ear import HIGH_HZ, LOW_HZ, Ear, Heard, level, share
from benchmarks.sources import Tones
from voicepool.testing import VoiceSession

SILENCE = b"\xf8\xff\xfe"


class Session:
    """As much of a session as an ear needs; packets are put in by hand."""

    def __init__(self) -> None:
        self.media: Any = SimpleNamespace(listen=None)
        self.waited = 0

    async def wait_until(self, predicate: Callable[[Any], bool], timeout_s: float) -> None:
        del timeout_s
        while not predicate(self):
            self.waited += 1
            await asyncio.sleep(0)

    def put(self, *packets: bytes) -> None:
        for packet in packets:
            assert self.media.listen(0, packet) == packet


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def ear(session: Session) -> Ear:
    return Ear(cast("VoiceSession", session))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Tones:
    folder = tmp_path_factory.mktemp("tones")
    return Tones.make(folder, "ogg", 1.0, low_hz=LOW_HZ, high_hz=HIGH_HZ)


def packets(file: Path) -> list[bytes]:
    with av.open(str(file)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def frame(*frequencies_hz: float, peak: float = 0.5) -> Heard:
    time_s = np.arange(960) / 48_000
    return Heard(
        0, sum((peak * np.sin(2 * np.pi * f * time_s) for f in frequencies_hz), np.zeros(960)), False
    )


class TestShare:
    @pytest.mark.parametrize("frequency_hz", [LOW_HZ, HIGH_HZ])
    def test_a_tone_is_all_of_itself_and_nothing_of_the_other(self, frequency_hz: float) -> None:
        other_hz = LOW_HZ + HIGH_HZ - frequency_hz
        assert share(frame(frequency_hz), frequency_hz) == pytest.approx(1.0)
        assert share(frame(frequency_hz), other_hz) == pytest.approx(0.0, abs=1e-9)

    def test_two_tones_share(self) -> None:
        assert share(frame(LOW_HZ, HIGH_HZ), LOW_HZ) == pytest.approx(0.5)

    def test_silence_has_none(self) -> None:
        assert share(frame(), LOW_HZ) == 0.0


def test_the_level_of_a_sine() -> None:
    assert level([frame(LOW_HZ, peak=0.5), frame(LOW_HZ, peak=0.5)]) == pytest.approx(0.5 / np.sqrt(2))


def test_what_was_sent_is_heard(ear: Ear, session: Session, tones: Tones) -> None:
    session.put(*packets(tones.low)[:20], *packets(tones.high)[20:25])
    heard = asyncio.run(ear.sound())
    assert [each.arrival_ns for each in heard] == sorted(each.arrival_ns for each in heard)
    assert share(heard[15], LOW_HZ) > 0.9
    assert share(heard[-1], HIGH_HZ) > 0.9
    assert level([heard[15]]) == pytest.approx(0.8 / np.sqrt(2), rel=0.1)


def test_the_silence_after_a_sound_takes_five_packets(ear: Ear, session: Session, tones: Tones) -> None:
    async def scenario() -> None:
        session.put(*packets(tones.low)[:3], *[SILENCE] * 4)
        waiting = asyncio.create_task(ear.wait_for_silence())
        await asyncio.sleep(0)
        assert not waiting.done()
        session.put(SILENCE)
        await waiting
        sound = asyncio.create_task(ear.wait_for_sound())
        await asyncio.sleep(0)
        assert not sound.done()
        session.put(packets(tones.low)[3])
        await sound

    asyncio.run(scenario())
    assert [each.is_silence for each in asyncio.run(ear.sound())] == [False] * 3 + [True] * 5 + [False]


def test_waiting_counts_from_now(ear: Ear, session: Session) -> None:
    async def scenario() -> None:
        session.put(SILENCE, SILENCE)
        waiting = asyncio.create_task(ear.wait_for(2))
        await asyncio.sleep(0)
        session.put(SILENCE)
        await asyncio.sleep(0)
        assert not waiting.done()
        session.put(SILENCE)
        await waiting

    asyncio.run(scenario())


def test_what_is_old_is_forgotten(ear: Ear, session: Session) -> None:
    session.put(*[SILENCE] * 100)
    ear.forget()
    assert len(asyncio.run(ear.sound())) == 30
