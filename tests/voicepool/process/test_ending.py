"""How a worker's process is ended, step by step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tests.fakes.running import asyncio_test
from voicepool._process.ending import execute, see_off
from voicepool.ipc.ids import WorkerId

NAME = WorkerId("w0.1")


class FakeProcess:
    """One that ends at a certain step, and can be asked for its stacks."""

    def __init__(self, *, ends_at: str = "", is_stopped: bool = False, stacks: Sequence[str] = ()) -> None:
        self.pid = 4711
        self.last_lines: Sequence[str] = ()
        self.is_stopped = is_stopped
        self.steps: list[str] = []
        self.ended = asyncio.Event()
        self.end = asyncio.create_task(self.wait())
        self._ends_at = ends_at
        self._stacks = stacks

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self._ends_at:
            self.ended.set()

    async def wait(self) -> int:
        await self.ended.wait()
        return 0

    def say_goodbye(self) -> None:
        self.step("goodbye")

    def terminate(self) -> None:
        self.step("terminate")

    def kill(self) -> None:
        self.step("kill")

    async def dump_stacks(self, timeout_s: float) -> Sequence[str]:
        assert timeout_s > 0
        self.step("stacks")
        return self._stacks


@pytest.mark.parametrize(
    ("ends_at", "patience_s", "steps"),
    [
        ("ask", 600.0, ["ask"]),
        ("terminate", 0.001, ["ask", "goodbye", "terminate"]),
        ("", 0.001, ["ask", "goodbye", "terminate"]),
        ("", 0.0, ["goodbye", "terminate"]),
    ],
)
def test_each_step_is_taken_if_the_one_before_was_not_enough(
    ends_at: str, patience_s: float, steps: list[str]
) -> None:
    @asyncio_test
    async def run() -> None:
        process = FakeProcess(ends_at=ends_at)
        await see_off(
            process, process.end, worker=NAME, ask=lambda: process.step("ask"), patience_s=patience_s
        )
        assert process.steps == steps
        process.ended.set()
        await process.end

    run()


@pytest.mark.parametrize(
    ("inquire", "is_stopped", "steps"),
    [(True, False, ["stacks", "kill"]), (True, True, ["kill"]), (False, False, ["kill"])],
)
def test_it_is_asked_where_it_hangs_if_it_can_answer(
    caplog: pytest.LogCaptureFixture, *, inquire: bool, is_stopped: bool, steps: list[str]
) -> None:
    @asyncio_test
    async def run() -> None:
        process = FakeProcess(ends_at="kill", is_stopped=is_stopped, stacks=["Thread 1", "  line 7"])
        await execute(process, worker=NAME, inquire=inquire)
        assert process.steps == steps
        await process.end

    with caplog.at_level(logging.ERROR):
        run()
    assert ("worker w0.1 (pid 4711) hangs; its threads:\nThread 1\n  line 7" in caplog.text) is (
        "stacks" in steps
    )
