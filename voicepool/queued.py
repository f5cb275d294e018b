"""`QueuedTrack`: a source and how it is to be played when its turn comes."""

from __future__ import annotations

from typing import Final, Unpack

from voicepool._playing.options import PlayOptions, PlaySettings, checked_options
from voicepool.source import AudioSource, Playable, Pushed, as_source

__all__ = ["QueuedTrack"]


class QueuedTrack:
    """A place in a queue. Two of them are equal only if they are the same.

    Parameters
    ----------
    source
        What ``play`` takes. A stream that the bot writes can be played once, so it cannot be looped.
    **options
        As for ``play``. A ``crossfade_s`` of its own, with the track before it, comes before the queue's.

    Raises
    ------
    TypeError, ValueError
        It is nothing that can be played, or an option is not allowed.

    Examples
    --------
    >>> QueuedTrack("/music/song.opus", volume=0.5)
    QueuedTrack('/music/song.opus')
    """

    __slots__ = ("settings", "source")

    def __init__(self, source: Playable, **options: Unpack[PlayOptions]) -> None:
        self.source: Final[AudioSource | Pushed] = as_source(source)
        self.settings: Final[PlaySettings] = checked_options(options)

    def __repr__(self) -> str:
        return f"QueuedTrack({self.label!r})"

    @property
    def label(self) -> str:
        """A short name for logs, without secrets."""
        return self.source.label
