"""What a stream says, while it plays, of what is heard: the next title of a station.

Two kinds of streams do. SHOUTcast and Icecast put blocks between the bytes of MP3 and AAC (`icy`). Ogg begins
a new logical stream for each title, with tags of its own (RFC 3533 §4, chained); FFmpeg plays on over that
joint and hands the tags along with the first packet behind it. A link of another codec, sample rate or number
of channels is more than FFmpeg can do, and ends the source with ``SOURCE_FAILED``: a broadcast that is opened
anew goes on with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from av.audio.stream import AudioStream
from av.packet import Packet

from voicepool.workers.audio.description import clean_tags, clean_text

__all__ = ["TitleChange", "TitleLog"]

_MAX_WAITING: Final = 16
"""Changes that nobody has taken; then the oldest goes. Only the last one is what is heard."""


@dataclass(frozen=True, slots=True)
class TitleChange:
    """What is heard from now on.

    Attributes
    ----------
    position_s
        Where in the source that begins, in seconds; some 100 ms too early or too late.
    title, artist
        At most 300 characters; `None` if the stream does not say.
    tags
        All that was said, as `MediaInfo.tags` is.
    """

    position_s: float
    title: str | None
    artist: str | None
    tags: dict[str, str] = field(default_factory=dict)


class TitleLog:
    """Collects the changes of one source. Belongs to the thread that reads it."""

    def __init__(self) -> None:
        self._waiting: deque[TitleChange] = deque(maxlen=_MAX_WAITING)
        self._last: tuple[str | None, str | None, dict[str, str]] | None = None

    @property
    def latest(self) -> TitleChange | None:
        """The last change that nobody has taken yet."""
        return self._waiting[-1] if self._waiting else None

    def announce(self, tags: Mapping[str, str], *, title: str | None, artist: str | None) -> None:
        """Note what the stream says; the same again is no change."""
        said = clean_text(title or ""), clean_text(artist or ""), clean_tags(tags)
        if said != self._last:
            self._last = said
            self._waiting.append(TitleChange(0.0, *said))

    def look_at(self, packet: Packet[AudioStream]) -> None:
        """Take note of the tags of a new logical stream, if a packet comes with some."""
        if packet.has_sidedata("strings_metadata"):
            tags = _strings(bytes(packet.get_sidedata("strings_metadata")))
            self.announce(tags, title=tags.get("title"), artist=tags.get("artist"))

    def take(self, position_s: float) -> list[TitleChange]:
        """Return the changes since the last call, oldest first.

        Parameters
        ----------
        position_s
            Where in the source the reader is, in seconds.
        """
        taken = [replace(change, position_s=position_s) for change in self._waiting]
        self._waiting.clear()
        return taken


def _strings(data: bytes) -> dict[str, str]:
    """Read FFmpeg's ``AV_PKT_DATA_STRINGS_METADATA``: name, zero, value, zero, and so on."""
    words = data.decode("utf-8", "replace").split("\0")
    return {name.lower(): value for name, value in zip(words[0::2], words[1::2], strict=False)}
