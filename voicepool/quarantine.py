"""`Quarantine`: the sources that a pool refuses to play, since workers died of them."""

from __future__ import annotations

from collections.abc import Iterator

from voicepool._playing.identity import SourceId, identify
from voicepool._playing.suspicion import Suspicion
from voicepool.source import AudioSource, Playable, as_source

__all__ = ["Quarantine"]


class Quarantine:
    """The sources that a pool refuses, as ``pool.quarantine``.

    A source that was being opened or played when a worker crashed, and again when another did, is refused
    from then on: ``play`` and ``start`` raise `SourceQuarantinedError`, and a queue leaves it out. Among many
    calls the ones just being opened are suspected first, then those opened or sought in the last seconds, and
    whatever has since been heard for a minute, or to its end, is not suspected any more. It lasts until it is
    lifted here, or the pool is gone.

    ::

        for label in pool.quarantine:
            print("refused:", label)
        pool.quarantine.release("/music/broken.flac")

    Parameters
    ----------
    suspicion
        Of the pool.
    """

    def __init__(self, suspicion: Suspicion) -> None:
        self._suspicion = suspicion

    def __len__(self) -> int:
        return len(self._suspicion.convicted)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the labels of what is refused, as it is now; the first that was comes first."""
        return iter(tuple(self._suspicion.convicted.values()))

    def __contains__(self, source: Playable) -> bool:
        """Tell whether a source, or what has that label, is refused."""
        return bool(self._meant(source))

    def __repr__(self) -> str:
        return f"<Quarantine of {len(self)}>"

    def release(self, source: Playable) -> bool:
        """Let a source be played again.

        Parameters
        ----------
        source
            What ``play`` takes, or a label as iteration gives it. A `Resolved` is refused only for what it
            was resolved to: release that.

        Returns
        -------
        bool
            Whether it was refused.

        Raises
        ------
        TypeError, ValueError
            It is nothing that can be played.
        """
        meant = self._meant(source)
        for each in meant:
            self._suspicion.release(each)
        return bool(meant)

    def clear(self) -> None:
        """Let everything be played again, and forget who was there when workers died."""
        self._suspicion.clear()

    def _meant(self, source: Playable) -> list[SourceId]:
        convicted = self._suspicion.convicted
        by_label = [ident for ident, label in convicted.items() if label == source]
        if by_label:
            return by_label
        audio = as_source(source)
        if isinstance(audio, AudioSource) and not audio.needs_resolving:
            ident = identify(*audio.to_wire())
            return [each for each in convicted if each == ident]
        return []
