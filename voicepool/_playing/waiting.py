"""The ways to wait for a playback: until it can be heard, until it is over, or in a task that does."""

from __future__ import annotations

import asyncio

from voicepool._playing.playback import Playback
from voicepool._process.link import fresh_copy
from voicepool.errors import CallGoneError, SupersededError
from voicepool.player import Player
from voicepool.track import Track

__all__ = ["detached", "until_over", "until_ready"]


async def until_over(player: Player, playback: Playback) -> None:
    """Wait until a playback has ended. When cancelled, stop it.

    Raises
    ------
    VoicePoolError
        It could not be played, or broke off.
    """
    try:
        await player.roster.track_of(playback).wait()
    except asyncio.CancelledError:
        player.cancel(playback)
        raise


async def until_ready(player: Player, playback: Playback) -> Track:
    """Wait until a playback can be heard. When cancelled, stop it.

    Raises
    ------
    SupersededError
        A newer play or stop came first.
    CallGoneError
        The connection was closed first.
    VoicePoolError
        It cannot be played.
    """
    track = player.roster.track_of(playback)
    playback.watchers += 1
    try:
        await playback.settled.wait()
    except asyncio.CancelledError:
        player.cancel(playback)
        raise
    finally:
        playback.watchers -= 1
    if playback.info is not None:
        return track
    if playback.error is not None:
        raise fresh_copy(playback.error)
    if player.line.gone:
        raise CallGoneError(
            f"the connection in {player.line.place} ended before {playback.source.label} was ready"
        )
    raise SupersededError(f"a newer play or stop came before {playback.source.label} was ready")


def detached(player: Player, playback: Playback) -> asyncio.Task[None]:
    """Let a task wait for the end of a playback; cancelling the task stops it.

    A failure is logged once, by the player, whether or not anyone awaits the task.
    """

    async def wait() -> None:
        try:
            await playback.over.wait()
        except asyncio.CancelledError:
            player.cancel(playback)
            raise
        if playback.error is not None:
            raise fresh_copy(playback.error)

    def on_done(task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never enters `wait`.
        player.cancel(playback)
        if not task.cancelled():
            # Asking for the exception is what keeps asyncio from logging it a second time.
            task.exception()

    task = player.spawn(wait(), name="play")
    task.add_done_callback(on_done)
    return task
