"""Async tests on every event loop that a bot may run on, and on platforms that lack something."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import os
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVarTuple

import pytest

from tests.fakes.running import SAFETY_S

__all__ = ["WAYS", "Way", "every_way"]


_Ts = TypeVarTuple("_Ts")


class ReaderlessLoop(asyncio.SelectorEventLoop):
    """Watches no file descriptors for others, like the default loop of Windows."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        raise NotImplementedError


def uvloop_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


class Way(NamedTuple):
    """A loop, and whether the system tells of the end of processes by file descriptors."""

    name: str
    make: Callable[[], asyncio.AbstractEventLoop]
    has_pidfd: bool = True

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SAFETY_S):
                await coroutine

        with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=self.make) as runner:
            if not self.has_pidfd:
                patch.delattr(os, "pidfd_open", raising=False)
            runner.run(bounded())


WAYS = [
    Way("asyncio", asyncio.SelectorEventLoop),
    Way("asyncio, no pidfd", asyncio.SelectorEventLoop, has_pidfd=False),
    Way("asyncio, no readers", ReaderlessLoop),
]
if importlib.util.find_spec("uvloop") is not None:
    WAYS += [Way("uvloop", uvloop_loop), Way("uvloop, no pidfd", uvloop_loop, has_pidfd=False)]


def every_way(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test function on each of `WAYS`, a loop of its own each time."""

    def run(*args: Any, way: Way, **kwargs: Any) -> None:
        way.run(test(*args, **kwargs))

    functools.update_wrapper(run, test)
    # Read by pytest.
    signature = inspect.signature(test)
    extra = inspect.Parameter("way", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), extra]
    )
    mark = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
    marked: Callable[..., None] = mark(run)
    return marked
