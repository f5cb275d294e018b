"""What a bot author plays with: the half of a connection that is about sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Unpack

from voicepool._playing.options import (
    PlayOptions,
    checked_duck,
    checked_options,
    checked_seconds,
    checked_volume,
)
from voicepool._playing.waiting import detached, until_over, until_ready
from voicepool.config import PoolConfig
from voicepool.encoding import Encoding
from voicepool.errors import TrackGoneError
from voicepool.events import ConnectionEvent
from voicepool.ipc.commands import TrackRole
from voicepool.play_queue import PlayQueue
from voicepool.player import Player
from voicepool.source import AudioSource, Playable, Pushed, as_source
from voicepool.track import Track

__all__ = ["Playing"]


class Playing:
    """Play, hold, stop; mixed into `voicepool.connection.BaseVoiceConnection`.

    One track has the main place; overlays are heard beside it. Each takes the options of `PlayOptions`:
    ``volume``, ``start_s``, ``end_s``, ``loop``, ``position_s``, ``fade_in_s``, ``fade_out_s``, ``speed``,
    ``filters``, ``loudness_lufs``, ``crossfade_s`` and ``on_gap``.

    Parameters
    ----------
    player
        Of the call.
    config
        The pool's.
    tell
        Takes events for whoever listens.
    now
        The clock, in seconds.
    place
        Where it plays, for log lines: ``guild 1234``.
    """

    def __init__(
        self,
        player: Player,
        config: PoolConfig,
        *,
        tell: Callable[[Iterable[ConnectionEvent]], None],
        now: Callable[[], float],
        place: str,
    ) -> None:
        self.queue: Final = PlayQueue(player, tell=tell, now=now, place=place)
        """What is played one after the other."""
        self._player = player
        self._config_bitrate_bps = config.bitrate_bps
        self._encoding = Encoding(bitrate_bps=config.bitrate_bps, complexity=config.complexity)
        self._encoding_chosen = False

    def configure(self, config: PoolConfig) -> None:
        """Go by other settings from now on. For the pool."""
        self._player.line.config = config
        self.queue.configure(config)
        self._config_bitrate_bps = config.bitrate_bps
        if not self._encoding_chosen:
            self._encoding = Encoding(bitrate_bps=config.bitrate_bps, complexity=config.complexity)

    # Playing.

    async def play(self, source: Playable, **options: Unpack[PlayOptions]) -> None:
        """Play, and return when playback has stopped: at the end, by `stop`, or because another took over.

        What plays already goes on until this one is ready. Cancelling this stops the playback. A queue goes
        on after it.

        Parameters
        ----------
        source
            A path, an http(s) URL, a file's content as bytes, a file opened as ``"rb"``, or one of the
            sources: `AudioFile`, `Silence`, `Station`, `Resolved`, `PcmStream` ...
        **options
            How; see `PlayOptions`.

        Raises
        ------
        SourceError
            It cannot be played, or broke off; the class tells why. The connection stays.
        FilterRefusedError
            libavfilter refuses a filter.
        CallGoneError
            The connection has closed.
        ConnectError, WorkerError
            The connection ended while it played.
        TypeError, ValueError
            It is nothing that can be played, or an option is not allowed.
        """
        settings = checked_options(options)
        await until_over(self._player, self._player.begin(as_source(source), settings))

    def play_no_wait(self, source: Playable, **options: Unpack[PlayOptions]) -> asyncio.Task[None]:
        """Play, and return at once.

        Parameters
        ----------
        source, **options
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
        settings = checked_options(options)
        return detached(self._player, self._player.begin(as_source(source), settings))

    async def start(self, source: Playable, **options: Unpack[PlayOptions]) -> Track:
        """Play, and return as soon as it can be heard.

        A stream can be heard once something was written to it: write before this, at most ``buffer_ms`` of
        it, or in another task. Without either it waits for ever.

        Parameters
        ----------
        source, **options
            As for `play`.

        Returns
        -------
        Track
            To change it, seek in it, stop it, or wait for its end.

        Raises
        ------
        SupersededError
            A newer play or stop came first.
        SourceError, FilterRefusedError, CallGoneError, ConnectError, WorkerError, TypeError, ValueError
            As for `play`. What goes wrong later is the track's: see `Track.wait`.
        """
        settings = checked_options(options)
        return await until_ready(self._player, self._player.begin(as_source(source), settings))

    async def overlay(
        self, source: Playable, duck_db: float = -12.0, **options: Unpack[PlayOptions]
    ) -> Track:
        """Play beside what plays, and return as soon as it can be heard: for effects, and for speech.

        What `start` says of streams goes for this too.

        Parameters
        ----------
        source
            As for `play`.
        duck_db
            By how much the other tracks sink while it sounds, -96 to 0 dB; 0 leaves them as they are.
        **options
            As for `play`, without ``crossfade_s``.

        Returns
        -------
        Track
            As of `start`.

        Raises
        ------
        SourceError, FilterRefusedError, CallGoneError, ConnectError, WorkerError, TypeError, ValueError
            As for `start`.
        """
        settings = checked_options(options)
        if settings.crossfade_s is not None:
            raise ValueError(
                "crossfade_s is for tracks that follow each other; an overlay may have fade_in_s"
            )
        playback = self._player.begin(
            as_source(source), settings, role=TrackRole.OVERLAY, duck_db=checked_duck(duck_db)
        )
        return await until_ready(self._player, playback)

    async def stop(self, fade_out_s: float = 0.0) -> None:
        """End all that plays, and return when it has ended. What is upcoming in the queue waits in it.

        Parameters
        ----------
        fade_out_s
            How long it takes to fall silent, in seconds.

        Raises
        ------
        WorkerError
            The worker does not answer.
        ValueError
            `fade_out_s` is negative or no number.
        """
        seconds = checked_seconds("fade_out_s", fade_out_s)
        self.queue.halt()
        await self._player.stop(seconds)

    def pause(self) -> None:
        """Hold what plays; the sound ends with a moment of silence. Without effect when nothing plays."""
        self._player.pause()

    def resume(self) -> None:
        """Go on where `pause` held it."""
        self._player.resume()

    async def seek(self, position_s: float) -> None:
        """Go to another place in the main track; see `Track.seek`.

        Raises
        ------
        TrackGoneError
            There is no main track.
        UnseekableError, SourceError, WorkerError, ValueError
            As for `Track.seek`.
        """
        seconds, track = checked_seconds("position_s", position_s), self.track
        if track is None:
            raise TrackGoneError("there is no main track to seek in; play something first")
        await track.seek(seconds)

    async def wait_for_stopped(self) -> None:
        """Wait until nothing plays and nothing is about to; returns at once when that is so already."""
        await self._player.roster.silent.wait()

    # How things are.

    @property
    def track(self) -> Track | None:
        """The main track: what plays, is held, or is being opened, overlays aside."""
        main = self._player.roster.main
        return None if main is None else self._player.roster.track_of(main)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks that are not over, the main one first; also the one that the queue has opened ahead."""
        return self._player.roster.tracks

    @property
    def volume(self) -> float:
        """Linear gain of all that is played; 1.0 leaves the sound, and Opus packets, as they are.

        Setting it takes effect at once. Each track has a volume of its own beside it.

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
    def encoding(self) -> Encoding:
        """How Opus packets are made. Setting it takes effect at once; by default it is as the config says.

        Raises
        ------
        TypeError
            When set to anything but an `Encoding`.
        """
        return self._encoding

    @encoding.setter
    def encoding(self, encoding: Encoding) -> None:
        if not isinstance(encoding, Encoding):
            raise TypeError(f"encoding must be an Encoding, not {type(encoding).__name__}")
        self._encoding, self._encoding_chosen = encoding, True
        self.refresh_encoding()

    @property
    def channel_bitrate_bps(self) -> int | None:
        """Bitrate of the voice channel in bit/s, for `Encoding`; None where it is not known."""
        return None

    def refresh_encoding(self) -> None:
        """Tell the worker how to encode, unless it does that by itself. For adapters, after a move."""
        if self._encoding_chosen:
            auto_bps = self.channel_bitrate_bps or self._config_bitrate_bps
            self._player.set_encoding(self._encoding.to_wire(auto_bps=auto_bps))

    @property
    def current_audio(self) -> AudioSource | Pushed | None:
        """What plays, is held, or is being opened; None when nothing is."""
        tracks = self._player.roster.tracks
        return tracks[0].source if tracks else None

    @property
    def playing(self) -> bool:
        """Whether something plays or is being opened, and is not held."""
        return not self.stopped and not self._player.roster.held

    @property
    def paused(self) -> bool:
        """Whether something is held by `pause`."""
        return not self.stopped and self._player.roster.held

    @property
    def stopped(self) -> bool:
        """Whether nothing plays, is held, or is being opened."""
        return not self._player.roster.playbacks

    @property
    def position_s(self) -> float:
        """Where in its source the main track is, in seconds; 0.0 without one. See `Track.position_s`."""
        track = self.track
        return 0.0 if track is None else track.position_s
