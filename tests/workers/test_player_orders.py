"""Every order of commands: each start has one end, and no frame is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    HandPlayer,
    HandSource,
)
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.errors import SourceError


class Walk:
    """A bench, and everything that can be asked of it at any time, by name."""

    def __init__(self) -> None:
        self.bench = HandPlayer()
        self.plays: dict[str, asyncio.Task[Any]] = {}
        self._opening: list[tuple[str, asyncio.Future[HandSource]]] = []
        self._count = 0

    async def play(self, **options: Any) -> None:
        name = self._new_name()
        self._opening.append((name, self.bench.slow_source(name, 12)))
        self.plays[name] = await self.bench.start(name, **options)

    async def play_paused(self) -> None:
        await self.play(paused=True)

    async def play_skipping(self) -> None:
        await self.play(on_gap="skip")

    async def play_bad(self) -> None:
        name = self._new_name()
        self.bench.hand.opener.sources[name] = SourceError(ErrorCode.SOURCE_FAILED, "bad")
        self.plays[name] = await self.bench.start(name)

    async def open_newest(self) -> None:
        if self._opening:
            name, opening = self._opening.pop()
            opening.set_result(self.bench.sources[name])

    async def play_next(self) -> None:
        await self.play(role=TrackRole.NEXT)

    async def play_over(self) -> None:
        await self.play(role=TrackRole.OVERLAY, duck_db=-6.0)

    async def skip(self) -> None:
        for name in self.bench.figures:
            with contextlib.suppress(SourceError):
                self.bench.player.skip(PlaybackId(name))

    async def stop_slowly(self) -> None:
        self.bench.player.stop(fade_out_s=0.1)

    async def stop(self) -> None:
        self.bench.player.stop()

    async def stop_newest(self) -> None:
        self.bench.player.stop(PlaybackId(f"t{self._count}"))

    async def stop_the_one_before(self) -> None:
        self.bench.player.stop(PlaybackId(f"t{self._count - 1}"))

    async def let_time_pass(self) -> None:
        self.bench.pass_frames(3.5)

    async def pause(self) -> None:
        self.bench.player.pause()

    async def resume(self) -> None:
        self.bench.player.resume()

    async def be_quiet(self) -> None:
        self.bench.player.set_volume(0.5)

    async def be_loud(self) -> None:
        self.bench.player.set_volume(1.0)

    async def unbind(self) -> None:
        self.bench.player.unbind()

    async def bind(self) -> None:
        self.bench.bind(ssrc=self._count)

    async def tick(self) -> None:
        await self.bench.tick(3)

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"


STEPS = [name for name in vars(Walk) if not name.startswith("_")]


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30))
def test_whatever_the_order_each_start_has_one_end_and_no_frame_is_lost(steps: list[str]) -> None:
    @asyncio_test
    async def scenario() -> None:
        walk = Walk()
        bench = walk.bench
        for step in steps:
            await getattr(walk, step)()
            await bench.hand.settle()
        await bench.close()
        started = [name for name, task in walk.plays.items() if task.exception() is None]
        assert sorted(name for name, _, _ in bench.ended) == sorted(started)
        for name, _, frames_sent in bench.ended:
            numbers = [int(sent.split()[1]) for sent in bench.sent if sent.startswith(f"{name} ".encode())]
            assert numbers == sorted(set(numbers))
            # What was encoded anew for the volume carries no name.
            assert len(numbers) <= frames_sent
            assert bench.sources[name].closes == 1

    scenario()
