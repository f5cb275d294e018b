"""What a bot author plays with: the half of a connection that is about sound."""

from __future__ import annotations

import asyncio

from voicepool.player import Gap, Player, checked_gap, checked_volume
from voicepool.source import AudioFile, Playable, as_audio

__all__ = ["Playing"]


class Playing:
    """Play, hold, stop; mixed into `voicepool.connection.BaseVoiceConnection`.

    Parameters
    ----------
    player
        Of the call.
    """

    def __init__(self, player: Player) -> None:
        self._player = player

    async def play(self, audio: Playable, *, on_gap: Gap = "continue") -> None:
        """Play, and return when playback has stopped: at the end, by `stop`, or because another took over.

        What plays already goes on until this one is ready. Cancelling this stops the playback.

        Parameters
        ----------
        audio
            An `AudioFile`, or what one is made from: a path, an http(s) URL, or a file's content as bytes.
        on_gap
            What follows a time in which the call could not send: ``"continue"`` where it stopped, or
            ``"skip"`` what would have been heard meanwhile, for what has to keep to the wall clock.

        Raises
        ------
        SourceError
            It cannot be played, or broke off; the class tells why. The connection stays.
        CallGoneError
            The connection has closed.
        ConnectError, WorkerError
            The connection ended while it played.
        TypeError, ValueError
            It is nothing that can be played, or `on_gap` is another word.
        """
        await self._player.run(self._player.begin(as_audio(audio), on_gap=checked_gap(on_gap)))

    def play_no_wait(self, audio: Playable, *, on_gap: Gap = "continue") -> asyncio.Task[None]:
        """Play, and return at once.

        Parameters
        ----------
        audio, on_gap
            As for `play`.

        Returns
        -------
        asyncio.Task
            Ends as `play` would; cancelling it stops the playback. It need not be awaited or kept: a failure
            is logged once, at the level WARNING by ``voicepool.player``, awaited or not.

        Raises
        ------
        CallGoneError, WorkerError, TypeError, ValueError
            It cannot even begin; what goes wrong later is the task's.
        """
        return self._player.run_detached(self._player.begin(as_audio(audio), on_gap=checked_gap(on_gap)))

    async def stop(self) -> None:
        """End what plays, and return when it has ended. Without effect when nothing plays.

        Raises
        ------
        WorkerError
            The worker does not answer.
        """
        await self._player.stop()

    def pause(self) -> None:
        """Hold what plays; the sound ends with a moment of silence. Without effect when nothing plays."""
        self._player.pause()

    def resume(self) -> None:
        """Go on where `pause` held it."""
        self._player.resume()

    async def wait_for_stopped(self) -> None:
        """Wait until nothing plays and nothing is about to; returns at once when that is so already."""
        await self._player.wait_for_stopped()

    @property
    def volume(self) -> float:
        """Linear gain of all that is played; 1.0 leaves the sound, and Opus packets, as they are.

        Setting it takes effect at once.

        Raises
        ------
        ValueError
            When set to anything but a finite number of 0 or more.
        """
        return self._player.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._player.set_volume(checked_volume(volume))

    @property
    def current_audio(self) -> AudioFile | None:
        """What plays, is held, or is being opened; None when nothing is."""
        current = self._player.current
        return current.audio if current is not None else None

    @property
    def playing(self) -> bool:
        """Whether something plays or is being opened, and is not held."""
        current = self._player.current
        return current is not None and not current.paused

    @property
    def paused(self) -> bool:
        """Whether something is held by `pause`."""
        current = self._player.current
        return current is not None and current.paused

    @property
    def stopped(self) -> bool:
        """Whether nothing plays, is held, or is being opened."""
        return self._player.current is None

    @property
    def position_s(self) -> float:
        """Where in the current source playback is, in seconds, as of the worker's last report.

        What was skipped (see ``on_gap``) counts.
        """
        return self._player.position_s
