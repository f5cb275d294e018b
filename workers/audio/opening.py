"""Opens sources away from the event loop: probing a file takes milliseconds, a dead server takes seconds.

Files, URLs and resolvers have separate bounds: a hundred dead servers leave local files untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.sources import ResolverSource, Source, StationSource, StreamSource, UrlSource
from voicepool.workers.audio.assembling import Assembler, ConcreteSource, OpenedTrack
from voicepool.workers.audio.blocking import DaemonThreads
from voicepool.workers.audio.resolving import Resolution, Resolvers

__all__ = ["OpenedTrack", "Opener"]

_FILES_AT_ONCE: Final = 8
_URLS_AT_ONCE: Final = 64


class Opener:
    """Opens what `Play` names, for the calls of one event loop.

    Parameters
    ----------
    open_timeout_s, read_timeout_s
        How long a server may take to answer, and to send the next bytes; a resolver has as long as a server
        has to answer.
    read_ahead_s
        How much of a URL to hold decoded ahead.
    ca_file
        Certificates to trust for https; `None` takes the system's.
    """

    def __init__(
        self,
        *,
        open_timeout_s: float,
        read_timeout_s: float,
        read_ahead_s: float,
        ca_file: str | None = None,
    ) -> None:
        self._assembler = Assembler(open_timeout_s, read_timeout_s, read_ahead_s, ca_file)
        self._files = DaemonThreads("voicepool-opener", at_once=_FILES_AT_ONCE)
        self._urls = DaemonThreads("voicepool-opener", at_once=_URLS_AT_ONCE)
        self._resolvers = Resolvers(timeout_s=open_timeout_s)

    async def open(
        self,
        source: Source,
        options: TrackOptions,
        attachments: Sequence[bytes],
        *,
        position_s: float | None = None,
    ) -> OpenedTrack:
        """Open a source at its place; cancelled, it is closed as soon as it has opened.

        Parameters
        ----------
        source
            Any but a `StreamSource` and a `StationSource`, which nobody can open alone.
        options
            Of these, `start_s`, `end_s`, `repeats` and `position_s` count here. `repeats` is how many rounds
            follow the one that begins: after a seek, what is left of them.
        attachments
            The bytes of a `BytesSource`.
        position_s
            Where the first round begins, in seconds of the source, in place of what the options have. Before
            the part that is played it is its start; behind it, there is nothing left of the round.

        Raises
        ------
        SourceError
            It cannot be played; ``UNSEEKABLE`` if only from another place than asked for, ``RESOLVER_FAILED``
            if its resolver found nothing.
        TypeError
            A stream or a station was to be opened.
        """
        found = None
        if isinstance(source, ResolverSource):
            found = await self._resolvers.resolve(source)
            source = found.source if not source.public_only else _held_to_public(found.source)
        if isinstance(source, StreamSource | StationSource):
            raise TypeError(f"a {type(source).__name__} is no source to be opened; its players join it")
        concrete = source
        wanted_s = options.position_s if position_s is None else position_s
        threads = self._urls if isinstance(source, UrlSource) else self._files
        opened = await threads.run(
            lambda: self._assembler.open(concrete, options, attachments, position_s=wanted_s),
            discard=OpenedTrack.close,
        )
        return opened if found is None else _retold(opened, found)


def _held_to_public(source: ConcreteSource) -> ConcreteSource:
    return msgspec.structs.replace(source, public_only=True) if isinstance(source, UrlSource) else source


def _retold(opened: OpenedTrack, found: Resolution) -> OpenedTrack:
    """Put what a resolver says of a source in the place of what the source says."""
    said = {"title": found.title, "artist": found.artist, "duration_s": found.duration_s}
    known = {name: value for name, value in said.items() if value is not None}
    info = msgspec.structs.replace(opened.info, **known)
    return OpenedTrack(opened.reader, info, opened.source, opened.begins_s)
