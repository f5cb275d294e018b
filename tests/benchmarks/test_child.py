from __future__ import annotations

import asyncio
import os
import sys

import psutil
import pytest

from benchmarks.child import Child, ChildError
from benchmarks.machine import ROOT


def test_what_it_cannot_do_is_told_and_it_goes_on() -> None:
    async def scenario() -> None:
        async with Child("benchmarks.bare", core=None) as child:
            for _ in range(2):
                with pytest.raises(
                    ChildError, match=r"benchmarks\.bare cannot do 'demux': FileNotFoundError"
                ):
                    await child.ask("demux", file="/no/such/file", seconds=0.01)

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this platform pins nothing")
def test_it_keeps_to_its_core() -> None:
    core = max(os.sched_getaffinity(0))

    async def scenario() -> None:
        async with Child("benchmarks.stand_in", core=core) as child:
            await child.ask("describe")
            assert os.sched_getaffinity(child.pid) == {core}

    asyncio.run(scenario())


def test_it_ends_with_the_block_even_if_that_fails() -> None:
    pids: list[int] = []

    async def scenario() -> None:
        async with Child("benchmarks.bare", core=None) as child:
            pids.append(child.pid)
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(scenario())
    assert not psutil.pid_exists(pids[0])


def test_a_child_that_has_left_is_noticed() -> None:
    async def scenario() -> None:
        async with Child("benchmarks.bare", core=None) as child:
            process = psutil.Process(child.pid)
            process.kill()
            with pytest.raises(ChildError, match="has left before it answered"):
                await child.ask("demux", file="", seconds=0.0)

    asyncio.run(scenario())


def test_a_child_that_does_not_answer_is_given_up_and_killed() -> None:
    async def scenario() -> None:
        async with Child("benchmarks.bare", core=None) as child:
            psutil.Process(child.pid).suspend()
            with pytest.raises(ChildError, match=r"has not answered 'demux' within 0\.05 s"):
                await child.ask("demux", file="", seconds=0.0, timeout_s=0.05)
            psutil.Process(child.pid).resume()

    asyncio.run(scenario())


def test_a_child_leaves_when_its_parent_dies() -> None:
    script = (
        "import asyncio, os\n"
        "from benchmarks.child import Child\n"
        "async def main():\n"
        "    async with Child('benchmarks.stand_in', core=None) as child:\n"
        "        await child.ask('describe')\n"
        "        print(child.pid, flush=True)\n"
        "        os._exit(0)\n"
        "asyncio.run(main())\n"
    )

    async def scenario() -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        await parent.wait()
        try:
            left, _ = psutil.wait_procs([psutil.Process(pid)], timeout=10)
        except psutil.NoSuchProcess:
            return
        assert left

    asyncio.run(scenario())
