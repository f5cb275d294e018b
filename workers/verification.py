"""Makes the codes by which two members of an encrypted call make sure of each other.

A code costs a worker some 60 ms of computing. That happens on one thread of its own, one code at a time; the
interpreter is free meanwhile, so calls go on sending. A code is a function of two users and their keys, so
codes made before are kept and cannot be out of date.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from voicepool.workers.dave.codes import VerificationPair

__all__ = ["CODES_KEPT", "Verifier"]

CODES_KEPT: Final = 256
"""Beyond it, the one that was asked for least recently is forgotten."""


class Verifier:
    """Owns the thread, which begins with the first code and ends with `close`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voicepool-codes")
        self._codes: OrderedDict[VerificationPair, str] = OrderedDict()

    async def code(self, pair: VerificationPair) -> str:
        """Return the 45 digits that both see alike."""
        code = self._codes.get(pair)
        if code is None:
            code = await asyncio.get_running_loop().run_in_executor(self._thread, pair.code)
        self._codes[pair] = code
        self._codes.move_to_end(pair)
        if len(self._codes) > CODES_KEPT:
            self._codes.popitem(last=False)
        return code

    def close(self) -> None:
        """End the thread; a code that is being made takes some 60 ms more, those that wait are not made."""
        self._thread.shutdown(cancel_futures=True)
