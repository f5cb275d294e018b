"""Going elsewhere in a source, and every race about it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    HandPlayer,
    HandSource,
    code_of,
    tone,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.errors import SourceError


def twin(bench: HandPlayer, name: str, count: int = 200) -> HandSource:
    """Put what is opened by the next seek in the place of a source that plays."""
    elsewhere = HandSource(f"{name}'", count)
    bench.hand.opener.sources[name] = elsewhere
    return elsewhere


def slow_twin(bench: HandPlayer, name: str) -> tuple[HandSource, asyncio.Future[HandSource]]:
    opening: asyncio.Future[HandSource] = asyncio.get_running_loop().create_future()
    bench.hand.opener.sources[name] = opening
    return HandSource(f"{name}'", 200), opening


@asyncio_test
async def test_a_seek_goes_on_at_the_other_place_with_the_same_track() -> None:
    bench = HandPlayer()
    before = await bench.play("a", 200)
    await bench.tick(5)
    elsewhere = twin(bench, "a", 30)
    await (await bench.begin_seek("a", 60.0))
    assert bench.hand.opener.places == [("a", None), ("a", 60.0)]
    heard = await bench.tick(60)
    assert heard[:2] == ["a 5", MIX]
    assert heard[-10:] == [*elsewhere.names(5, first=25), *TAIL]
    assert bench.started == ["a"]
    assert bench.ended == [("a", "finished", 5 + 1 + 30)]
    assert (before.closes, elsewhere.closes) == (1, 1)
    await bench.close()


@asyncio_test
async def test_a_seek_that_cannot_be_done_leaves_the_track_as_it_was() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 20)
    await bench.tick(5)
    bench.hand.opener.sources["a"] = SourceError(ErrorCode.UNSEEKABLE, "live")
    assert await code_of(await bench.begin_seek("a", 60.0)) is ErrorCode.UNSEEKABLE
    assert await bench.tick(30) == [*source.names(15, first=5), *TAIL]
    await bench.close()


@asyncio_test
async def test_a_seek_of_a_track_that_is_over_is_an_error() -> None:
    bench = HandPlayer()
    await bench.play("a", 2)
    await bench.tick(20)
    assert await code_of(await bench.begin_seek("a", 1.0)) is ErrorCode.NO_SUCH_TRACK
    await bench.close()


@asyncio_test
async def test_a_newer_seek_overtakes_one_under_way() -> None:
    bench = HandPlayer()
    await bench.play("a", 200)
    await bench.tick(5)
    late, opening = slow_twin(bench, "a")
    first = await bench.begin_seek("a", 60.0)
    newest = twin(bench, "a")
    newest.name = "newest"
    newest.steps = list(newest.packets(200))
    await (await bench.begin_seek("a", 30.0))
    await first
    opening.set_result(late)
    heard = await bench.tick(30)
    assert heard[-2:] == newest.names(2, first=27)
    assert not [name for name in heard if name.startswith("a'")]
    assert late.given == 0
    assert bench.ended == []
    await bench.close()
    assert newest.closes == 1


@pytest.mark.parametrize(
    "how",
    [
        "finished",
        "stopped",
        "fading out",
        "replaced",
        "waiting",
    ],
)
def test_a_seek_for_a_track_that_ends_meanwhile_revives_nothing(how: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        if how == "waiting":
            await bench.play("main", 300)
            await bench.follow("a", 200)
        else:
            await bench.play("a", 12 if how == "finished" else 200)
        await bench.tick(5)
        late, opening = slow_twin(bench, "a")
        seeking = await bench.begin_seek("a", 60.0)
        if how in ("stopped", "waiting"):
            bench.player.stop(PlaybackId("a"))
        elif how == "fading out":
            bench.player.stop(PlaybackId("a"), fade_out_s=1.0)
        elif how == "replaced":
            await bench.play("b", 300)
        await bench.tick(30 if how == "finished" else 0)
        opening.set_result(late)
        await bench.hand.settle()
        heard = await bench.tick(120)
        await asyncio.gather(seeking, return_exceptions=True)
        assert not [name for name in heard if name.startswith("a'")]
        assert [end[0] for end in bench.ended].count("a") == 1
        await bench.close()
        assert all(source.closes == 1 for source in bench.hand.opener.opened)

    scenario()


@asyncio_test
async def test_a_change_right_after_a_seek_does_not_undo_it() -> None:
    bench = HandPlayer()
    await bench.play("main", 5)
    await bench.follow("a", 200)
    await bench.tick(6)
    elsewhere = twin(bench, "a")
    await (await bench.begin_seek("a", 60.0))
    bench.player.set_volume(0.5)
    await bench.tick(2)
    bench.player.set_volume(1.0)
    heard = await bench.tick(40)
    assert heard[-1] in elsewhere.names(60)
    await bench.close()


@asyncio_test
async def test_close_ends_a_seek_under_way_and_leaves_nothing_open() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 200)
    late, opening = slow_twin(bench, "a")
    seeking = await bench.begin_seek("a", 60.0)
    bench.player.close()
    await bench.hand.settle()
    ended_at_once = seeking.done()
    opening.set_result(late)
    await bench.hand.settle()
    await asyncio.gather(seeking, return_exceptions=True)
    submitted = len(bench.hand.encoders.submitted)
    await bench.close()
    assert ended_at_once, "who closes a call waits for what is under way"
    assert submitted == 1, "no playback for a call that is closed"
    assert source.closes == 1


class Rounds(HandSource):
    """A source of one second, again and again."""

    @property
    def position_s(self) -> float:
        return super().position_s % 1.0


@pytest.mark.parametrize(("heard", "left"), [(10, 2), (60, 1), (110, 0)])
def test_of_what_is_repeated_a_seek_leaves_the_rounds_that_are_left(heard: int, left: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        song = Rounds("song", steps=tone(1_000, 150))
        song.info = msgspec.structs.replace(song.info, duration_s=1.0, passthrough=False)
        bench.hand.opener.sources["song"] = song
        await (await bench.start("song", repeats=2))
        await bench.tick(heard)
        bench.source("song", steps=tone(1_000, 50))
        await (await bench.begin_seek("song", 0.5))
        assert bench.hand.opener.repeats == [2, left]
        await bench.close()

    scenario()
