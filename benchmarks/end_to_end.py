"""What a frame's end-to-end encryption costs by itself: the native library's call, in a group of two."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from voicepool.testing.dave_call import DaveCall
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_members import DaveListener, DaveSpeaker

__all__ = ["FrameSeal", "frame_seals"]

FrameSeal = Callable[[bytes], bytes]
"""An Opus frame to a protocol frame."""

_LISTENER: Final = 1
_SPEAKER: Final = 2
_CHANNEL: Final = 1_000_000

_made: list[FrameSeal] = []


def frame_seals(count: int) -> list[FrameSeal]:
    """Return the encrypting functions of as many calls, each with keys of its own.

    Making one takes some 15 ms, so they are kept for the next time.
    """
    while len(_made) < count:
        _made.append(_establish(_CHANNEL + len(_made)))
    return _made[:count]


def _establish(channel: int) -> FrameSeal:
    now = time.monotonic()
    call = DaveCall(DaveDeliveryService(channel))
    speaker = DaveSpeaker(_SPEAKER, channel)
    call.play(DaveListener(_LISTENER, channel), now)
    call.play(speaker, now)
    session = speaker._session
    if session is None or not session.ready:
        raise RuntimeError(f"the two members of channel {channel} did not come to a group; there are no keys")
    # Not `DaveSpeaker.seal`: what is measured is the library's function, with nothing around it.
    return session.encrypt_opus
