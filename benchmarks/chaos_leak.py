"""A resolver that runs in a worker and leaks: what a defect in a library of the bot author's does to it.

Workers import this module by its name, so it imports nothing that they do not have.
"""

from __future__ import annotations

import os
import time
from typing import Final

__all__ = ["STEP_BYTES", "leak"]

STEP_BYTES: Final = 4 << 20
_MOST_BYTES: Final = 384 << 20
_PAUSE_S: Final = 0.04

_held: list[bytes] = []


def leak(query: str) -> None:
    """Take 100 MiB a second and never give them back, in the one process whose id is the query.

    It finds nothing. A call that has moved asks again, in another process, and nothing happens there.
    """
    if query != str(os.getpid()):
        return
    while len(_held) * STEP_BYTES < _MOST_BYTES:
        # Not zeros: the kernel would hand out the same empty page again and again.
        _held.append(b"\x5a" * STEP_BYTES)
        time.sleep(_PAUSE_S)
