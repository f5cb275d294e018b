"""Async tests without a plug-in."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["SAFETY_S", "asyncio_test"]

SAFETY_S = 60.0
"""Ends a test that hangs; no test waits for it on purpose."""


def asyncio_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test function on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SAFETY_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run
