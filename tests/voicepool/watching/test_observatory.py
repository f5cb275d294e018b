"""What looks at a pool: on its loop, from any thread, and for as long as it runs."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from tests.fakes.figures import call_figures, report
from tests.fakes.running import asyncio_test
from tests.fakes.subject import FakeLink, FakeSubject, busy_subject
from tests.voicepool.watching.test_metrics_server import ask, free_port, get
from voicepool._watching import observatory as _observatory
from voicepool._watching.observatory import Observatory
from voicepool._watching.status_view import read
from voicepool.config import PoolConfig
from voicepool.errors import ConfigError
from voicepool.stats import PoolStats

HIDDEN = PoolConfig(attach=False)


def test_a_pool_that_does_not_run_has_empty_figures() -> None:
    observatory = Observatory(lambda: None)
    assert observatory.look() is None
    assert observatory.status() is None
    assert observatory.see() is None
    assert observatory.stats() == PoolStats()


def test_the_figures_are_those_of_links_and_of_reports_that_came_between() -> None:
    subject = FakeSubject(links=[FakeLink("w0.1", unreadable=2)], wanted=3, guilds={call_figures().call: 5})
    observatory = Observatory(lambda: subject)
    assert observatory.stats().unreadable_messages == 2
    observatory.on_report(report("w0.1", frames_sent=100, calls=[call_figures(frames_sent=90)]))
    subject.links = [FakeLink("w0.2", report("w0.2", frames_sent=7), unreadable=1)]
    stats = observatory.stats()
    assert (stats.frames_sent, stats.workers_wanted, stats.unreadable_messages) == (107, 3, 3)
    assert [(call.guild_id, call.frames_sent) for call in stats.calls] == [(5, 90)]
    assert [(worker.name, worker.cpu_share) for worker in stats.workers] == [("w0.2", 0.25)]


def test_the_status_is_made_of_the_same() -> None:
    make = Observatory(busy_subject).status()
    assert make is not None
    status = read(make())
    assert [worker.name for worker in status.workers] == ["w0.1"]
    assert [call.playing.label for call in status.calls] == ["song", "song"]


@asyncio_test
async def test_another_thread_sees_what_was_last_seen_while_the_loop_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_observatory, "PATIENCE_S", 0.01)
    observatory = Observatory(busy_subject)
    await observatory.open(HIDDEN)
    view = observatory.look()
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(observatory.see()))
    thread.start()
    # The loop does nothing else until that thread has given up on it.
    thread.join()
    assert seen == [view]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(observatory.see) is not None
    await observatory.close()


def test_a_loop_that_has_been_closed_is_not_asked() -> None:
    observatory = Observatory(busy_subject)
    asyncio.run(observatory.open(HIDDEN))
    assert observatory.see() is None


def test_what_goes_wrong_is_raised_where_it_was_asked_for() -> None:
    def broken() -> FakeSubject:
        raise RuntimeError("no subject")

    @asyncio_test
    async def scenario() -> None:
        observatory = Observatory(broken)
        await observatory.open(HIDDEN)
        with pytest.raises(RuntimeError, match="no subject"):
            await asyncio.to_thread(observatory.see)
        await observatory.close()

    scenario()


@asyncio_test
async def test_the_endpoint_follows_the_config() -> None:
    observatory = Observatory(busy_subject)
    first, second = free_port(), free_port()
    await observatory.open(dataclasses.replace(HIDDEN, metrics_port=first))
    await observatory.open(dataclasses.replace(HIDDEN, metrics_port=first))
    assert (await ask(first, get()))[0] == "200 OK"
    await observatory.open(dataclasses.replace(HIDDEN, metrics_port=second))
    assert (await ask(second, get()))[0] == "200 OK"
    with pytest.raises(ConnectionError):
        await ask(first, get())
    with pytest.raises(ConfigError, match="metrics_host"):
        await observatory.open(dataclasses.replace(HIDDEN, metrics_port=first, metrics_host="192.0.2.1"))
    assert (await ask(second, get()))[0] == "200 OK"
    await observatory.open(HIDDEN)
    with pytest.raises(ConnectionError):
        await ask(second, get())
    await observatory.close()


@asyncio_test
async def test_the_same_port_at_another_address_is_not_in_its_own_way() -> None:
    observatory = Observatory(busy_subject)
    config = dataclasses.replace(HIDDEN, metrics_port=free_port())
    await observatory.open(config)
    await observatory.open(dataclasses.replace(config, metrics_host="0.0.0.0"))
    assert (await ask(config.metrics_port, get()))[0] == "200 OK"
    await observatory.close()


@asyncio_test
async def test_the_status_socket_follows_the_config() -> None:
    observatory = Observatory(busy_subject)
    await observatory.open(PoolConfig())
    status = observatory._status
    assert status is not None
    assert status.path.exists()
    await observatory.open(PoolConfig())
    assert observatory._status is status
    await observatory.open(HIDDEN)
    assert not status.path.exists()
    await observatory.close()
    await observatory.close()
