"""Whom a closed thing tells what it would have told: nobody [pure].

A thing and whoever made it know each other: it by its callbacks. That is a cycle, which keeps both, and all
that they hold, until everything is collected (`voicepool.workers.garbage` says why that is seldom). So what
closes lets go of its callbacks. It puts `tell_nobody` in their place, since something may be on its way to
them still.
"""

from __future__ import annotations

__all__ = ["tell_nobody"]


def tell_nobody(*_: object) -> None:
    """Stand for whoever is not to be told any more."""
