"""One source for many calls."""

from __future__ import annotations

import dataclasses
import os
from typing import Final

from voicepool._checks import check_types
from voicepool.ipc.sources import OpenableSource, Source, StationSource
from voicepool.source import AudioFile, AudioSource, SourceKind, as_source

__all__ = ["Station"]

_MAX_NAME_CHARACTERS: Final = 200
_KINDS: Final = (SourceKind.FILE, SourceKind.URL, SourceKind.RESOLVER)


@dataclasses.dataclass(frozen=True, slots=True)
class Station(AudioSource):
    """One source that many calls hear at the same moment: a worker reads, decodes and encodes it only once.

    Parameters
    ----------
    name
        Who plays a station of this name hears it. Each name stands for one source: another under the same
        name is refused while the first is on the air.
    source
        A path, a URL, or an `AudioFile` of one of them; or what a `WorkerResolver` returns. No bytes, which
        would travel once for each call. No `Resolved` either, since that may come out differently for each
        call: resolve it once and give all calls what came out.
    repeats
        Begin anew at the source's end, rather than end. Not for ``live`` ones, which have no end.

    Raises
    ------
    TypeError, ValueError
        It has no usable name, or another source than these.

    Examples
    --------
    >>> Station("lofi", AudioFile("https://radio.example/lofi", live=True, max_latency_s=5))
    Station('lofi', AudioFile('https://radio.example/lofi', live=True, max_latency_s=5))
    """

    name: str
    source: AudioSource | str | os.PathLike[str]
    repeats: bool = False

    def __post_init__(self) -> None:
        """Check everything, and make the source one."""
        check_types(self, name=str, repeats=bool)
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > _MAX_NAME_CHARACTERS:
            raise ValueError(
                f"a station's name has 1 to {_MAX_NAME_CHARACTERS} printable characters, not only blanks"
            )
        source = as_source(self.source)
        if not isinstance(source, AudioSource):
            raise TypeError(
                f"a station cannot have {source.label}: only one call can play a stream of the bot"
            )
        if source.needs_resolving:
            raise TypeError(
                "a station cannot have a Resolved, which may come out differently for each call; "
                "give it `await source.resolve()`, or use a WorkerResolver"
            )
        if source.kind not in _KINDS:
            raise ValueError(
                f"a station cannot have {source.label}; allowed is a path, a URL or a WorkerResolver's"
            )
        if self.repeats and isinstance(source, AudioFile) and source.live:
            raise ValueError("repeats goes with sources that end; a live one is opened anew after each break")
        object.__setattr__(self, "source", source)

    @property
    def kind(self) -> SourceKind:
        """That it is a station."""
        return SourceKind.STATION

    @property
    def label(self) -> str:
        """Its name, and its source's."""
        return f"station {self.name!r} ({self._audio.label})"

    @property
    def _audio(self) -> AudioSource:
        assert isinstance(self.source, AudioSource)
        return self.source

    def __repr__(self) -> str:
        return f"Station({self.name!r}, {self.source!r}{', repeats=True' if self.repeats else ''})"

    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description; there are no attachments.

        Parameters
        ----------
        public_only
            What counts where the source has no ``public_only`` of its own.
        """
        source, _ = self._audio.to_wire(public_only=public_only)
        assert isinstance(source, OpenableSource)
        return StationSource(station=self.name, source=source, repeats=self.repeats), ()
