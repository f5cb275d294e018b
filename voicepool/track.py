"""`Track`: what a bot author holds of one source that is played."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from voicepool._filter import Filters, filter_chain
from voicepool._playing.line import Line
from voicepool._playing.options import checked_loudness, checked_seconds, checked_speed, checked_volume
from voicepool._playing.playback import EndReason, Playback, TrackInfo, TrackState
from voicepool._playing.tempo import rate_of
from voicepool._process.link import fresh_copy
from voicepool.errors import TrackGoneError, UnseekableError
from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.ids import PlaybackId
from voicepool.source import AudioSource, Pushed

__all__ = ["EndReason", "Track", "TrackInfo", "TrackState"]


class _Keep(enum.Enum):
    """Stands for what is not to be changed, where None says something."""

    KEEP = "as it is"


_KEEP: Final = _Keep.KEEP


class Track:
    """One source that is played, was played, or waits for its turn. Made by ``voice.start`` and the like.

    ::

        track = await voice.start("song.flac", fade_in_s=2)
        track.volume = 0.5
        await track.seek(60)
        await track.set(filters=[BassBoost(), "tremolo"])  # from voicepool.filters
        print(track.info.title, track.position_s, track.duration_s)
        await track.wait()

    Parameters
    ----------
    playback
        What is known of it.
    line
        To the worker.
    now
        The clock, in seconds.
    stop
        Ends it, in so many seconds.
    """

    def __init__(
        self,
        playback: Playback,
        line: Line,
        *,
        now: Callable[[], float],
        stop: Callable[[Playback, float], Awaitable[None]],
    ) -> None:
        self._playback = playback
        self._line = line
        self._now = now
        self._stop = stop
        self._told_volume = playback.options.volume

    def __repr__(self) -> str:
        return f"<Track {self._playback.source.label!r} {self.state.value}>"

    # What is known of it.

    @property
    def ident(self) -> PlaybackId:
        """Its name in logs and figures."""
        return self._playback.ident

    @property
    def source(self) -> AudioSource | Pushed:
        """What is played."""
        return self._playback.source

    @property
    def state(self) -> TrackState:
        """Where it stands: opening, waiting, playing, paused or over."""
        return self._playback.state

    @property
    def info(self) -> TrackInfo:
        """Title, artist, length and what else is known; empty while it is being opened."""
        return self._playback.info or TrackInfo()

    @property
    def duration_s(self) -> float | None:
        """Length of the source in seconds; None if it is not known."""
        return self.info.duration_s

    @property
    def position_s(self) -> float:
        """Where in the source what is heard now comes from, in seconds.

        Reckoned from the worker's last report; it stands still while the track is held, waits for its source,
        or the connection is interrupted.
        """
        return self._playback.position.at(self._now())

    @property
    def skipped_packets(self) -> int:
        """Damaged packets of the source, which were left out; counted when it is over, 0 before."""
        return self._playback.skipped_packets

    @property
    def reason(self) -> EndReason | None:
        """Why it is over; None while it is not."""
        return self._playback.reason

    # How it is played.

    @property
    def volume(self) -> float:
        """Linear gain of this track alone, beside the connection's; 1.0 leaves it as it is.

        Setting it takes effect at once, without a click.

        Raises
        ------
        ValueError
            When set to anything but a finite number of 0 or more.
        """
        return self._playback.options.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        options = self._playback.options
        self._playback.options = msgspec.structs.replace(options, volume=checked_volume(volume))
        self.tell_volume()

    @property
    def speed(self) -> float:
        """How fast it is played, at the same pitch; see `set`."""
        return self._playback.options.speed

    @property
    def filters(self) -> str | None:
        """Its sound effects as FFmpeg writes them; see `set`."""
        return self._playback.options.filters

    @property
    def loudness_lufs(self) -> float | None:
        """The loudness it is brought to; see `set`."""
        return self._playback.options.loudness_lufs

    async def set(
        self,
        *,
        speed: float | None = None,
        filters: Filters | Literal[_Keep.KEEP] | None = _KEEP,
        loudness_lufs: float | Literal[_Keep.KEEP] | None = _KEEP,
    ) -> None:
        """Play it otherwise from now on, all at once or not at all. What is not named stays as it is.

        Parameters
        ----------
        speed
            0.25 to 4.0.
        filters
            As for ``play``; None takes away what there is.
        loudness_lufs
            As for ``play``; None leaves the loudness as it is in the source.

        Raises
        ------
        FilterRefusedError
            libavfilter refuses a filter; the text has its reason, and nothing has changed.
        TrackGoneError
            It does not play any more.
        WorkerError
            The worker does not answer.
        TypeError, ValueError
            A value is not allowed.
        """
        changes: dict[str, object] = {}
        if speed is not None:
            changes["speed"] = checked_speed(speed)
        if filters is not _KEEP:
            changes["filters"] = filter_chain(filters)
        if loudness_lufs is not _KEEP:
            changes["loudness_lufs"] = checked_loudness(loudness_lufs)
        playback = self._playback
        async with playback.changing:
            # In here: whoever had it before may have waited for another worker, which has yet to open it.
            await self._opened()
            wanted = msgspec.structs.replace(playback.options, **changes)
            try:
                await self._change(wanted)
            finally:
                playback.asked = None
                # The volume may have been set meanwhile.
                self._tell_volume()

    def tell_volume(self) -> None:
        """Have the worker use the volume, as soon as it may be told. For the player."""
        if not self._playback.changing.locked():
            self._tell_volume()

    def on_sent(self, volume: float | None = None) -> None:
        """Take note of the volume that a worker was told, None being that of now. For the player."""
        self._told_volume = self._playback.options.volume if volume is None else volume

    async def seek(self, position_s: float) -> None:
        """Go to another place, and return when it is heard from there.

        Parameters
        ----------
        position_s
            Seconds from the beginning of the source. Beyond its end, or that of the part that is played, it
            is as if the end were reached.

        Raises
        ------
        UnseekableError
            The source cannot do that: a live stream, or pushed audio. It plays on.
        TrackGoneError
            It does not play any more.
        SourceError, WorkerError
            It could not be opened there, or the worker does not answer. It plays on where it was.
        ValueError
            The position is negative or no number.
        """
        place_s = checked_seconds("position_s", position_s)
        await self._opened()
        playback = self._playback
        if self._line.away:
            # The worker that goes on with it begins there.
            self._require_places()
            playback.position.move(place_s, self._now())
            return
        request = self._line.seek(playback.ident, place_s)
        playback.sought_s = place_s
        try:
            if await self._line.carried_out(request):
                playback.position.move(place_s, self._now())
        finally:
            if playback.sought_s == place_s:
                playback.sought_s = None

    async def stop(self, fade_out_s: float = 0.0) -> None:
        """End this track, and return when it has ended; without effect when it has already.

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
        await self._stop(self._playback, checked_seconds("fade_out_s", fade_out_s))

    async def wait(self) -> EndReason:
        """Wait until it is over. Cancelling this leaves the track alone.

        Returns
        -------
        EndReason
            Finished, stopped or replaced.

        Raises
        ------
        VoicePoolError
            It failed, or its worker was lost; the class tells more.
        """
        playback = self._playback
        playback.watchers += 1
        try:
            await playback.over.wait()
        finally:
            playback.watchers -= 1
        if playback.error is not None:
            raise fresh_copy(playback.error)
        assert playback.reason is not None
        return playback.reason

    # How it is done.

    async def _opened(self) -> None:
        """Wait until it can be changed: it is ready at a worker, or was and goes on at another."""
        await self._playback.settled.wait()
        while not (self._line.away or self._playback.present.is_set()):
            await self._playback.present.wait()
        self._require_alive()

    def _require_places(self) -> None:
        if self.info.live or not isinstance(self.source, AudioSource):
            raise UnseekableError(f"{self.source.label} has no other place than the present one")

    async def _change(self, wanted: TrackOptions) -> None:
        playback = self._playback
        playback.refusal = None
        if not self._line.away:
            request = self._line.change(playback.ident, wanted)
            playback.asked = wanted
            if await self._line.carried_out(request):
                self._told_volume = wanted.volume
                playback.options = msgspec.structs.replace(wanted, volume=playback.options.volume)
                playback.position.set_speed(rate_of(wanted), self._now())
                return
        else:
            playback.adopt(wanted, self._now())
        if playback.fallback is None:
            return
        # Only a worker knows whether there are such filters.
        await playback.present.wait()
        refusal, playback.refusal = playback.refusal, None
        if refusal is not None:
            raise fresh_copy(refusal)
        self._require_alive()

    def _require_alive(self) -> None:
        if self._playback.over.is_set():
            raise TrackGoneError(f"{self._playback.source.label} does not play any more; play it again")

    def _tell_volume(self) -> None:
        playback = self._playback
        volume = playback.options.volume
        if volume == self._told_volume or not playback.present.is_set():
            return
        if playback.over.is_set() or not self._line.up:
            return
        self._told_volume = volume
        # Not waited for: it can fail only if the track ends first.
        self._line.change(playback.ident, playback.options).abandon()
