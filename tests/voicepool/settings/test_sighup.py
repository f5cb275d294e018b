"""SIGHUP, and who else may want it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.running import asyncio_test
from voicepool._settings.sighup import on_hangup

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")


@pytest.fixture(autouse=True)
def _nobody_wants_it() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@asyncio_test
async def test_all_hear_it_until_they_stop_and_then_it_is_given_back() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    stop_first, stop_second = on_hangup(first.set), on_hangup(second.set)
    os.kill(os.getpid(), signal.SIGHUP)
    await first.wait()
    await second.wait()
    first.clear()
    second.clear()
    stop_first()
    stop_first()
    os.kill(os.getpid(), signal.SIGHUP)
    await second.wait()
    assert not first.is_set()
    stop_second()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    again = asyncio.Event()
    stop = on_hangup(again.set)
    os.kill(os.getpid(), signal.SIGHUP)
    await again.wait()
    stop()


@pytest.mark.parametrize("theirs", [signal.SIG_IGN, lambda _number, _frame: None])
def test_a_handler_of_the_bots_own_stays(theirs: signal.Handlers) -> None:
    @asyncio_test
    async def run() -> None:
        signal.signal(signal.SIGHUP, theirs)
        stop = on_hangup(lambda: None)
        assert signal.getsignal(signal.SIGHUP) is theirs
        stop()
        assert signal.getsignal(signal.SIGHUP) is theirs

    run()


@asyncio_test
async def test_a_handler_that_came_later_stays_too() -> None:
    stop = on_hangup(lambda: None)

    def theirs(_number: int, _frame: object) -> None:
        pass

    signal.signal(signal.SIGHUP, theirs)
    stop()
    assert signal.getsignal(signal.SIGHUP) is theirs


def test_off_the_main_thread_it_is_left_alone() -> None:
    @asyncio_test
    async def run() -> None:
        on_hangup(lambda: None)()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
