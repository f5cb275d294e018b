"""What is known of one track: where it is, and how long it was heard."""

from __future__ import annotations

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import HandPlayer, HandSource


@asyncio_test
async def test_its_figures_follow_what_is_heard_and_not_what_is_made_ahead() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300)
    for sent in (0, 1, 30):
        await bench.tick(sent)
        assert source.given > bench.figures["a"].frames_sent
    assert bench.figures["a"].frames_sent == 31
    assert bench.position_frames("a") == 31
    await bench.close()


@asyncio_test
async def test_frames_count_on_over_a_seek_and_the_position_goes_elsewhere() -> None:
    class Elsewhere(HandSource):
        @property
        def position_s(self) -> float:
            return 60.0 + super().position_s

    bench = HandPlayer()
    await bench.play("a", 300)
    await bench.tick(10)
    bench.hand.opener.sources["a"] = Elsewhere("elsewhere", 300)
    await (await bench.begin_seek("a", 60.0))
    await bench.tick(20)
    figures = bench.figures["a"]
    assert abs(figures.frames_sent - 30) <= 1
    assert 60.3 < figures.position_s < 60.5
    await bench.close()


@asyncio_test
async def test_what_was_left_out_counts_for_its_position_only() -> None:
    bench = HandPlayer()
    await bench.play("a", 300, on_gap="skip")
    await bench.tick(5)
    await bench.gap(50)
    await bench.tick(5)
    assert bench.position_frames("a") == 60
    assert bench.figures["a"].frames_sent == 10
    await bench.close()
