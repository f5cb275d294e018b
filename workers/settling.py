"""A future's result, given by whoever comes first: what comes after it, or a cancellation, is too late."""

from __future__ import annotations

import asyncio
from typing import TypeVar

__all__ = ["settle"]

_T = TypeVar("_T")


def settle(future: asyncio.Future[_T], result: _T) -> None:
    """Give a future its result, unless it is done in any way. On its event loop's thread."""
    if not future.done():
        future.set_result(result)
