"""[pure] How an end-to-end encrypted frame is told from a plain one."""

from __future__ import annotations

__all__ = ("is_protocol_frame",)

from typing import Final

_MAGIC: Final = b"\xfa\xfa"
_MIN_SUPPLEMENT_BYTES: Final = 12


def is_protocol_frame(frame: bytes) -> bool:
    """Return whether a frame looks end-to-end encrypted: magic marker and a plausible supplement.

    Source: whitepaper, "Protocol Frame Check"; the ranges and the nonce are left to the decryption.
    """
    return frame.endswith(_MAGIC) and len(frame) > frame[-3:][0] >= _MIN_SUPPLEMENT_BYTES
