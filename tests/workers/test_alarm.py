"""Alarms go off once each time they are set."""

from __future__ import annotations

import asyncio
import weakref

from tests.fakes.running import asyncio_test
from voicepool.workers.alarm import Alarm


@asyncio_test
async def test_it_goes_off_once_and_can_be_set_again() -> None:
    rung = asyncio.Event()
    alarm = Alarm(rung.set)
    assert not alarm.is_set
    for delay_s in (0.0, -1.0):
        alarm.set(delay_s)
        assert alarm.is_set
        await rung.wait()
        assert not alarm.is_set
        rung.clear()


@asyncio_test
async def test_what_is_stopped_or_put_off_does_not_go_off() -> None:
    calls: list[str] = []
    stopped, put_off = Alarm(lambda: calls.append("stopped")), Alarm(lambda: calls.append("put off"))
    stopped.set(0.0)
    stopped.stop()
    put_off.set(0.0)
    put_off.set(3_600.0)
    later = asyncio.Event()
    Alarm(later.set).set(0.0)
    await later.wait()
    assert calls == []
    assert not stopped.is_set
    assert put_off.is_set
    put_off.stop()


@asyncio_test
async def test_one_that_is_retired_does_not_go_off_and_knows_nobody() -> None:
    class Owner:
        def __init__(self) -> None:
            self.alarm = Alarm(self.ring)
            self.rung = 0

        def ring(self) -> None:
            self.rung += 1

    owner = Owner()
    known, alarm = weakref.ref(owner), owner.alarm
    alarm.set(0.0)
    alarm.retire()
    later = asyncio.Event()
    Alarm(later.set).set(0.0)
    await later.wait()
    assert owner.rung == 0
    del owner
    assert known() is None
