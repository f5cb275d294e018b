"""The word that stands where a secret would."""

from __future__ import annotations

from typing import Final

__all__ = ["REDACTED"]

REDACTED: Final = "<hidden>"
