"""The file of the settings: noticed when it changes, and read again when asked."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._settings.reloading import ConfigFile, Reloading, read_config
from voicepool.config import PoolConfig
from voicepool.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "voicepool.toml"
    path.write_text("workers = 1\nconfig_check_s = 0.001\n", encoding="utf-8")
    return path


class Pool:
    """Has settings, and counts how often it is to read them again."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self.failure: Exception | None = None
        self.reloads = 0
        self.changed = asyncio.Event()

    async def reload(self) -> frozenset[str]:
        self.reloads += 1
        self.changed.set()
        if self.failure is not None:
            raise self.failure
        self.config = await read_config(self.config.origin)
        return frozenset()

    async def next_reload(self) -> None:
        await self.changed.wait()
        self.changed.clear()


def rewrite(path: Path, text: str) -> None:
    """As editors do: another file takes the place."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def test_only_other_contents_are_a_change(file: Path) -> None:
    watched = ConfigFile(file)
    assert not watched.has_changed()
    rewrite(file, "workers = 2\n")
    assert watched.has_changed()
    assert not watched.has_changed()
    os.utime(file, ns=(1, 1))
    assert not watched.has_changed()
    file.unlink()
    assert not watched.has_changed()
    rewrite(file, "workers = 2\n")
    assert not watched.has_changed()
    rewrite(file, "workers = 3\n")
    assert watched.has_changed()


def test_a_file_that_was_missing_is_a_change_when_it_comes(tmp_path: Path) -> None:
    watched = ConfigFile(tmp_path / "voicepool.toml")
    assert not watched.has_changed()
    (tmp_path / "voicepool.toml").touch()
    assert watched.has_changed()


@asyncio_test
async def test_settings_without_a_file_cannot_be_read_again() -> None:
    with pytest.raises(ConfigError, match=r"came from no file; call pool\.reload with a PoolConfig"):
        await read_config(None)


def test_a_change_is_noticed_and_a_wrong_file_is_told_of_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @asyncio_test
    async def run() -> None:
        pool = Pool(PoolConfig.load(file))
        reloading = Reloading(lambda: pool.config, pool.reload)
        await asyncio.sleep(0)
        # What is written before the first look is what there is.
        await until(lambda: reloading.looks >= 2)
        rewrite(file, "workers = 2\nconfig_check_s = 0.001\n")
        await pool.next_reload()
        await until(lambda: pool.config.workers == 2)
        rewrite(file, "wokers = 3\nconfig_check_s = 0.001\n")
        await pool.next_reload()
        looks = reloading.looks
        await until(lambda: reloading.looks >= looks + 3)
        assert (pool.reloads, pool.config.workers) == (2, 2)
        await reloading.close()

    run()
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told.startswith("the settings stay as they were:")
    assert "wokers" in told


@asyncio_test
async def test_without_a_file_or_an_interval_nothing_is_read() -> None:
    pool = Pool(PoolConfig(config_check_s=0.001))
    reloading = Reloading(lambda: pool.config, pool.reload)
    await until(lambda: reloading.looks >= 3)
    assert pool.reloads == 0
    await reloading.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
class TestHangup:
    """SIGHUP."""

    @pytest.fixture(autouse=True)
    def _nobody_wants_it(self) -> Iterator[None]:
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGHUP, before)

    def test_it_reads_the_file_at_once_and_is_given_back(self, file: Path) -> None:
        @asyncio_test
        async def run() -> None:
            rewrite(file, "config_check_s = 0\n")
            pool = Pool(PoolConfig.load(file))
            reloading = Reloading(lambda: pool.config, pool.reload)
            rewrite(file, "workers = 7\nconfig_check_s = 0\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await pool.next_reload()
            await until(lambda: pool.config.workers == 7)
            await reloading.close()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL

        run()

    @asyncio_test
    async def test_a_pool_without_a_file_leaves_it_to_the_bot(self) -> None:
        reloading = Reloading(PoolConfig, Pool(PoolConfig()).reload)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        await reloading.close()


@asyncio_test
async def test_other_settings_have_it_look_more_often_at_once(file: Path) -> None:
    rewrite(file, "workers = 1\nconfig_check_s = 3600\n")
    pool = Pool(PoolConfig.load(file, env={}))
    reloading = Reloading(lambda: pool.config, pool.reload)
    await until(lambda: reloading.looks)
    pool.config = dataclasses.replace(pool.config, config_check_s=0.001)
    reloading.wake()
    await until(lambda: reloading.looks > 3)
    rewrite(file, "workers = 2\nconfig_check_s = 0.001\n")
    await pool.next_reload()
    await reloading.close()
