"""Names for the numbers and strings that identify things on the wire."""

from __future__ import annotations

import secrets
from typing import NewType

__all__ = [
    "CallId",
    "ChannelId",
    "GuildId",
    "PlaybackId",
    "RequestId",
    "StreamId",
    "UserId",
    "WorkerId",
    "new_call_id",
    "new_playback_id",
    "new_stream_id",
]

GuildId = NewType("GuildId", int)
ChannelId = NewType("ChannelId", int)
UserId = NewType("UserId", int)

WorkerId = NewType("WorkerId", str)
"""Name of one worker process instance, for example ``w0.1``: slot 0, second start."""

CallId = NewType("CallId", str)
"""One guild's call, for as long as the bot wants it: it outlives workers, sockets and Python objects."""

PlaybackId = NewType("PlaybackId", str)
"""One `Play` command and everything that comes of it."""

StreamId = NewType("StreamId", str)
"""Audio that a bot pushes, for as long as it does."""

RequestId = NewType("RequestId", int)
"""Counts up from 1 on each link; ties an answer to its command."""


def new_call_id() -> CallId:
    """Return a fresh, unguessable name for a call."""
    return CallId(secrets.token_hex(8))


def new_playback_id() -> PlaybackId:
    """Return a fresh name for a playback."""
    return PlaybackId(secrets.token_hex(6))


def new_stream_id() -> StreamId:
    """Return a fresh name for pushed audio."""
    return StreamId(secrets.token_hex(6))
