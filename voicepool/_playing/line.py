"""How the player of one call tells its worker what it wants: a method for each command about sound.

A line is *up* while there is a worker to be told. It is *away* from when a worker was lost or left until
another one holds the call: what is wanted meanwhile is the player's to remember. It is *gone* once the call
has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from voicepool._playing.identity import identify
from voicepool._playing.playback import Playback
from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import Link, Request
from voicepool.config import PoolConfig
from voicepool.errors import CallGoneError, SourceRefusedError, WorkerError, WorkerLostError
from voicepool.ipc.commands import (
    ChangeTrack,
    Command,
    Encoding,
    Pause,
    Play,
    Resume,
    Seek,
    SetEncoding,
    SetVolume,
    Skip,
    Stop,
    StreamAudio,
    TrackOptions,
)
from voicepool.ipc.events import Done, TrackReady
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.ipc.sources import ResolverSource, Source, StationSource, StreamSource
from voicepool.source import AudioSource, Pushed

__all__ = ["ANSWER_MARGIN_S", "Line", "described"]

ANSWER_MARGIN_S: Final = 5.0
"""How much longer than the worker's own limit an answer is waited for; the worker's error says more."""


def described(source: AudioSource | Pushed, config: PoolConfig) -> tuple[Source, tuple[bytes, ...]]:
    """Return the description of a source and its attachments as they go to a worker."""
    if isinstance(source, AudioSource):
        return source.to_wire(public_only=config.public_urls_only)
    return source.to_wire()


class Line:
    """The commands of one call. All of them raise `CallGoneError` once it has ended, and `WorkerError`.

    None is to be given while it is away.

    Parameters
    ----------
    call
        Whose.
    config
        The pool's.
    place
        Where it plays, for texts: ``guild 1234``.
    suspicion
        Told what each worker is asked to read; says what is refused.
    now
        The clock, in seconds.

    Attributes
    ----------
    config
        The settings in force; may be exchanged.
    """

    def __init__(
        self,
        call: CallId,
        config: PoolConfig,
        *,
        place: str,
        suspicion: Suspicion,
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self.place: Final = place
        self._call = call
        self.suspicion: Final = suspicion
        self._now = now
        self._link: Link | None = None
        self._left = False
        self._asked: set[Request[Done]] = set()
        """What `carried_out` waits for; as many as there are callers."""

    @property
    def up(self) -> bool:
        """Whether there is a worker to be told."""
        # One that is lost may not have been said to be so yet: of its calls, others are told first.
        return self._link is not None and not self._left and self._link.lost is None

    @property
    def gone(self) -> bool:
        """Whether everything is refused: the call has ended, or was never made."""
        return self._link is None

    @property
    def away(self) -> bool:
        """Whether the call is between two workers."""
        return not (self.gone or self.up)

    def use(self, link: Link | None) -> None:
        """Send there from now on; None refuses everything."""
        self._link, self._left = link, False

    def leave(self) -> None:
        """Send nothing until the next `use`; what a worker has not answered yet is not waited for."""
        self._left = True
        for request in list(self._asked):
            request.fail(WorkerLostError(f"{self.place}: the call goes on at another worker"))

    async def carried_out(self, request: Request[Done]) -> bool:
        """Wait until a worker has done what it was asked.

        Returns
        -------
        bool
            False if its worker was lost or left meanwhile, and the call goes on at another.

        Raises
        ------
        VoicePoolError
            The worker could not do it, or does not answer, or the call has ended.
        """
        self._asked.add(request)
        try:
            await request.answer()
        except WorkerLostError:
            if self.gone:
                raise
            return False
        finally:
            self._asked.discard(request)
        return True

    def check(self, source: AudioSource | Pushed) -> None:
        """Do nothing, unless the source cannot be sent.

        Raises
        ------
        SourceRefusedError
            It is given as bytes, and more of them than ``max_source_bytes``.
        SourceQuarantinedError
            Workers have died of it.
        """
        if self.gone:
            self._require_link()
        size_bytes = getattr(source, "size_bytes", 0)
        if size_bytes > self.config.max_source_bytes:
            raise SourceRefusedError(
                f"{source.label} are more than max_source_bytes = {self.config.max_source_bytes} allows; "
                "raise it, or pass a path or URL",
                size_bytes=size_bytes,
            )
        is_known = not (isinstance(source, AudioSource) and source.needs_resolving)
        if is_known and self.suspicion.convicted:
            self.suspicion.check(identify(*described(source, self.config)), source.label)

    def play(
        self, playback: Playback, *, volume: float, paused: bool, options: TrackOptions | None = None
    ) -> Request[TrackReady]:
        """Ask for a playback; what is pushed can be sent from then on.

        Parameters
        ----------
        playback
            Which.
        volume, paused
            Of the call, and whether it is held.
        options
            How one goes on that was heard before; None for one that begins.

        Raises
        ------
        StreamClosedError
            What is pushed was played before.
        """
        link = self._require_link()
        source, attachments = described(playback.source, self.config)
        command = self.play_command(playback, source, volume=volume, paused=paused)
        if options is not None:
            command = msgspec.structs.replace(command, options=options)
        pushed: Any = None
        if isinstance(source, StreamSource):
            pushed = playback.source
            # First, since it may refuse; it sends nothing before the worker grants it credit.
            self._attach(pushed, source, again=playback.sent)
        try:
            request = link.request(
                lambda number: msgspec.structs.replace(command, request=number),
                TrackReady,
                timeout_s=self.opening_limit_s(source),
                attachments=attachments,
            )
        except WorkerError as error:
            if pushed is not None:
                pushed.detach(error)
            raise
        self.suspicion.on_sent(
            playback.ident,
            identify(source, attachments),
            worker=link.worker,
            label=playback.source.label,
            is_shared=isinstance(source, StationSource),
            now=self._now(),
        )
        return request

    def adopt(self, playback: Playback) -> None:
        """Take note that the worker has a playback ready, of which it was told before it held the call."""
        link = self._require_link()
        source, attachments = described(playback.source, self.config)
        now = self._now()
        self.suspicion.on_sent(
            playback.ident,
            identify(source, attachments),
            worker=link.worker,
            label=playback.source.label,
            is_shared=isinstance(source, StationSource),
            now=now,
        )
        self.suspicion.on_opened(playback.ident, now)

    def play_command(self, playback: Playback, source: Source, *, volume: float, paused: bool) -> Play:
        """Return the command for a playback, with a request number of 0."""
        return Play(
            request=RequestId(0),
            call=self._call,
            playback=playback.ident,
            source=source,
            role=playback.role,
            options=playback.options,
            volume=volume,
            paused=paused,
            on_gap=playback.settings.on_gap,
            duck_db=playback.duck_db,
            crossfade_s=0.0 if playback.started else playback.settings.crossfade_s or 0.0,
        )

    def opening_limit_s(self, source: Source) -> float | None:
        """Return how long a worker may take until a source can be heard, by its own limits."""
        if isinstance(source, StreamSource):
            # It waits for the bot to write, which has no limit.
            return None
        limit_s = self.config.source_open_timeout_s + self.config.source_read_timeout_s + ANSWER_MARGIN_S
        opened = source.source if isinstance(source, StationSource) else source
        resolves = isinstance(opened, ResolverSource)
        return limit_s + self.config.source_open_timeout_s if resolves else limit_s

    def stop(self, playback: PlaybackId | None = None, *, fade_out_s: float = 0.0) -> Request[Done]:
        """End one playback, or all."""
        return self._require_link().request(
            lambda number: Stop(request=number, call=self._call, playback=playback, fade_out_s=fade_out_s),
            Done,
            timeout_s=self.config.command_timeout_s + fade_out_s,
        )

    def skip(self, playback: PlaybackId) -> Request[Done]:
        """Let the one that waits take the place of the main one."""
        return self._require_link().request(
            lambda number: Skip(request=number, call=self._call, playback=playback),
            Done,
            timeout_s=self.config.command_timeout_s,
        )

    def seek(self, playback: PlaybackId, position_s: float) -> Request[Done]:
        """Go on elsewhere; the source is opened once more for it."""
        request = self._require_link().request(
            lambda number: Seek(request=number, call=self._call, playback=playback, position_s=position_s),
            Done,
            timeout_s=self.config.source_open_timeout_s + self.config.source_read_timeout_s + ANSWER_MARGIN_S,
        )
        self.suspicion.on_sought(playback, self._now())
        return request

    def change(self, playback: PlaybackId, options: TrackOptions) -> Request[Done]:
        """Play one otherwise."""
        return self._require_link().request(
            lambda number: ChangeTrack(
                request=number,
                call=self._call,
                playback=playback,
                volume=options.volume,
                speed=options.speed,
                filters=options.filters,
                loudness_lufs=options.loudness_lufs,
            ),
            Done,
            timeout_s=self.config.command_timeout_s,
        )

    def hold(self, *, paused: bool) -> None:
        """Hold all that plays, or go on with it."""
        self._post(Pause(call=self._call) if paused else Resume(call=self._call))

    def set_volume(self, volume: float) -> None:
        """Use another gain for all."""
        self._post(SetVolume(call=self._call, volume=volume))

    def set_encoding(self, encoding: Encoding) -> None:
        """Encode otherwise."""
        self._post(SetEncoding(call=self._call, encoding=encoding))

    def _attach(self, pushed: Any, source: StreamSource, *, again: bool) -> None:
        call, stream = self._call, source.stream

        def send(attachments: Sequence[bytes], ends: bool) -> None:  # noqa: FBT001 - as a stream calls it
            # Else it is lost with its worker, which the stream is about to learn.
            if not self.away:
                self._post(StreamAudio(call=call, stream=stream, ends=ends), attachments)

        if again:
            pushed.reattach(send)
        else:
            pushed.attach(send)

    def _post(self, command: Command, attachments: Sequence[bytes] = ()) -> None:
        self._require_link().post(command, attachments)

    def _require_link(self) -> Link:
        if self._link is None:
            raise CallGoneError(f"the connection in {self.place} has ended; connect again")
        return self._link
