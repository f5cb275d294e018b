"""What goes wrong is told at the call that caused it; the connection and the other guilds play on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration.calls import World, assert_nothing_lost, world
from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoicePool, VoicePoolError
from voicepool.testing import CertificateAuthority, DiscordVoiceServer
from voicepool.testing.voice_faults import Step

BYSTANDER = 900


@contextlib.asynccontextmanager
async def beside_music(here: World) -> AsyncIterator[None]:
    """Let another guild on the same worker play all the while; it must not notice anything."""
    bystander = await here.join(BYSTANDER)
    music = bystander.play_no_wait(encode("flac", "flac", seconds=60.0))
    session = here.session(BYSTANDER)
    await session.wait_for_packets(5)
    yield
    before = session.packets
    await session.wait_for_packets(before + 5)
    await bystander.stop()
    await music
    assert_nothing_lost(session)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(Site({"song.mp3": encode("libmp3lame", "mp3", bitrate_bps=192_000)})) as running:
        yield running


@asyncio_test
async def test_every_bad_source_has_its_error_and_costs_nothing_else(site: Site, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("this is no music\n" * 200)
    whole = encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.2)
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole[: len(whole) // 2])
    refused = socket.socket()
    refused.bind(("127.0.0.1", 0))
    # A server that falls silent in the middle, and is asked again for a while, is in test_player_bad_sources.
    bad = {
        str(tmp_path / "missing.mp3"): voicepool.SourceNotFoundError,
        str(text): voicepool.SourceUnreadableError,
        str(cut): voicepool.SourceTruncatedError,
        "/dev/zero": voicepool.SourceRefusedError,
        str(tmp_path): voicepool.SourceRefusedError,
        site.url("/404/gone.mp3"): voicepool.SourceNotFoundError,
        site.url("/403/private.mp3?key=SECRET"): voicepool.SourceRefusedError,
        site.url("/503/busy.mp3"): voicepool.SourceRefusedError,
        site.url("/hang/song.mp3"): voicepool.SourceTimeoutError,
        f"http://127.0.0.1:{refused.getsockname()[1]}/song.mp3": voicepool.SourceRefusedError,
    }
    with refused:
        async with world(source_open_timeout_s=2.0, source_read_timeout_s=0.5) as here, beside_music(here):
            await asyncio.gather(
                *(fail(here, guild, source, bad[source]) for guild, source in enumerate(bad, start=100))
            )
            voice = await here.join(500)
            await voice.play(whole)
            assert_nothing_lost(here.session(500))


async def fail(here: World, guild: int, source: str, expected: type[VoicePoolError]) -> None:
    voice = await here.join(guild)
    with pytest.raises(VoicePoolError) as caught:
        await voice.play(source)
    assert type(caught.value) is expected, f"{source}: {caught.value!r}"
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert voice.connected
    assert voice.stopped


@asyncio_test
async def test_bad_bytes_and_wrong_types_are_told_at_once() -> None:
    async with world(max_source_bytes=1_000) as here:
        voice = await here.join()
        with pytest.raises(voicepool.SourceUnreadableError):
            await voice.play(b"neither here nor there")
        with pytest.raises(voicepool.SourceRefusedError, match="max_source_bytes"):
            await voice.play(b"x" * 1_001)
        with pytest.raises(TypeError, match="path"):
            await voice.play(42)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="ftp"):
            await voice.play("ftp://example.org/song.mp3")


@asyncio_test
async def test_bad_volumes_are_value_errors_and_change_nothing() -> None:
    async with world() as here:
        voice = await here.join()
        for volume in (-0.1, math.nan, math.inf, "loud", None, True):
            with pytest.raises(ValueError, match="volume"):
                voice.volume = volume  # type: ignore[assignment]
        assert voice.volume == 1.0


@asyncio_test
async def test_a_failed_play_leaves_what_plays_alone(tmp_path: Path) -> None:
    async with world() as here:
        voice = await here.join()
        task = voice.play_no_wait(encode("flac", "flac", seconds=1.0))
        await here.session().wait_for_packets(5)
        with pytest.raises(voicepool.SourceNotFoundError):
            await voice.play(tmp_path / "missing.mp3")
        assert voice.playing
        await task
        assert here.session().report().frames == 50
        assert_nothing_lost(here.session())


@asyncio_test
async def test_a_failed_play_no_wait_is_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as here:
        voice = await here.join()
        with caplog.at_level(logging.WARNING):
            voice.play_no_wait(tmp_path / "missing.mp3")
            await voice.wait_for_stopped()
            await voice.disconnect()
        lines = [record for record in caplog.records if "missing.mp3" in record.getMessage()]
        assert len(lines) == 1


@asyncio_test
async def test_an_endpoint_that_refuses() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with world() as here, beside_music(here):
            with pytest.raises(voicepool.ConnectRefusedError, match=endpoint):
                await here.pool.connect(here.credentials(100, endpoint=endpoint))


@asyncio_test
async def test_an_endpoint_that_never_answers() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        endpoint = f"127.0.0.1:{mute.getsockname()[1]}"
        async with world(connect_timeout_s=1.0) as here, beside_music(here):
            with pytest.raises(voicepool.ConnectTimeoutError, match=endpoint):
                await here.pool.connect(here.credentials(100, endpoint=endpoint))


@asyncio_test
async def test_a_wrong_token() -> None:
    async with world() as here, beside_music(here):
        with pytest.raises(voicepool.AuthenticationError) as caught:
            await here.pool.connect(here.credentials(100, token="wrong-token"))
        assert caught.value.data["close_code"] == 4004
        assert "wrong-token" not in str(caught.value)
        # The credentials were at fault, not the guild.
        voice = await here.join(100)
        assert voice.connected


@asyncio_test
async def test_a_certificate_that_does_not_verify() -> None:
    with CertificateAuthority("someone else's") as other:
        async with DiscordVoiceServer() as server:
            config = PoolConfig(workers=1, ca_file=other.ca_file)
            async with VoicePool(config) as pool:
                here = World(server, pool)
                with pytest.raises(voicepool.CertificateError, match="ca_file"):
                    await here.join()


@asyncio_test
async def test_a_server_that_stops_answering_in_the_handshake() -> None:
    steps: tuple[Step, ...] = ("ready", "session_description", "discovery")
    async with world(connect_timeout_s=1.0) as here:
        await asyncio.gather(*(stop_answering(here, guild, step) for guild, step in enumerate(steps, 100)))


async def stop_answering(here: World, guild: int, step: Step) -> None:
    here.server.mute_step(step, guild_id=guild)
    with pytest.raises(voicepool.ConnectTimeoutError):
        await here.join(guild)
    here.server.unmute_step(step, guild_id=guild)
    assert (await here.join(guild)).connected, step


@asyncio_test
async def test_a_server_that_never_says_hello() -> None:
    async with world(connect_timeout_s=0.5) as here:
        here.server.mute_step("hello")
        voice = await here.join()
        # Sound would flow, but without HELLO there are no heartbeats, and so no way to see a dead server.
        await voice.wait_closed()
        assert isinstance(voice.error, voicepool.ConnectTimeoutError)


@asyncio_test
async def test_a_server_that_ends_the_call_for_good() -> None:
    async with world() as here, beside_music(here):
        voice = await here.join()
        task = voice.play_no_wait(encode("flac", "flac", seconds=60.0))
        await here.session().wait_for_packets(5)
        await here.session().close(4021)
        with pytest.raises(voicepool.ClosedByServerError) as caught:
            await task
        assert caught.value.close_code == 4021
        assert not voice.connected
        with pytest.raises(voicepool.CallGoneError):
            await voice.play(encode("flac", "flac"))


@asyncio_test
async def test_a_libopus_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "libopus.so"
    broken.write_bytes(b"no library")
    pool = VoicePool(PoolConfig(workers=2, libopus=broken))
    with pytest.raises(voicepool.LibopusMissingError, match=r"libopus\.so"):
        await pool.start()
    await pool.close()


@asyncio_test
async def test_a_lost_worker_is_replaced_and_goes_on_with_its_calls() -> None:
    async with world() as here:
        voice = await here.join()
        task = voice.play_no_wait(encode("flac", "flac", seconds=60.0))
        await here.session().wait_for_packets(5)
        (worker,) = here.pool.workers
        assert worker.pid is not None
        restored = voice.events(voicepool.Restored)
        await asyncio.to_thread(_kill, worker.pid)
        await anext(restored)
        assert voice.connected
        assert not task.done()
        await voice.stop()
        await task
        again = await here.join()
        await again.play(encode("flac", "flac", seconds=0.6))
        assert here.session().report().frames == 30


def _kill(pid: int) -> None:
    import psutil

    psutil.Process(pid).kill()
