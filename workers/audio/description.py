"""What a source says of itself: its tags, its length and its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from voicepool.workers.audio.frame import CHANNELS

__all__ = ["MediaInfo", "clean_tags", "clean_text", "describe", "may_pass_through"]

_MAX_TITLE_CHARACTERS: Final = 300
_MAX_TAGS: Final = 32
_MAX_NAME_CHARACTERS: Final = 64
_MAX_VALUE_CHARACTERS: Final = 500
_WANTED_TAGS: Final = frozenset(
    {
        "title", "artist", "album", "album_artist", "date", "genre", "track", "replaygain_track_gain",
        "replaygain_track_peak", "replaygain_album_gain", "r128_track_gain", "r128_album_gain",
    }
)  # fmt: skip
"""Kept first where there are too many."""
_OPUS_HEAD_BYTES: Final = 19


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a source says of itself.

    Attributes
    ----------
    title, artist
        From its tags, at most 300 characters; `None` if it has none.
    duration_s
        Length in seconds, which may be an estimate; `None` for streams without end.
    codec, container
        In FFmpeg's words, for example ``"vorbis"`` and ``"ogg"``.
    sample_rate_hz, channels
        Of the source, not of what is read.
    tags
        All that is embedded, title and artist too, names in lower case: ``album``, ``replaygain_track_gain``,
        ``r128_track_gain``, a station's ``icy-name``. At most 32, with values of at most 500 characters.
    live
        A stream without a length, which cannot seek.
    """

    title: str | None
    artist: str | None
    duration_s: float | None
    codec: str
    container: str
    sample_rate_hz: int
    channels: int
    tags: dict[str, str] = field(default_factory=dict)
    live: bool = False


def describe(container: InputContainer, stream: AudioStream) -> MediaInfo:
    """Return what an opened source says of itself."""
    # Ogg has its tags on the stream, most others on the container.
    said = {key.lower(): value for key, value in [*stream.metadata.items(), *container.metadata.items()]}
    duration_s = None
    if container.duration is not None:
        duration_s = container.duration / av.time_base
    elif stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    return MediaInfo(
        title=clean_text(said.get("title", "")),
        artist=clean_text(said.get("artist", "")),
        duration_s=duration_s,
        codec=stream.codec.canonical_name,
        container=container.format.name,
        sample_rate_hz=stream.codec_context.sample_rate,
        channels=stream.codec_context.channels,
        tags=clean_tags(said),
        live=duration_s is None and _is_endless(container),
    )


def may_pass_through(head: bytes | None) -> bool:
    """Tell whether an Opus stream is one plain stream at its own level (RFC 7845 §5.1).

    Surround sound is several streams in a packet, and a gain in the header is the decoder's to apply.
    """
    if head is None or len(head) < _OPUS_HEAD_BYTES:
        return False
    channels, gain, mapping_family = head[9], head[16:18], head[18]
    return channels <= CHANNELS and gain == b"\x00\x00" and mapping_family == 0


def clean_text(tag: str) -> str | None:
    """Return a title as it can be sent on, one line of at most 300 characters; `None` if there is nothing."""
    line = "".join(letter if letter.isprintable() else " " for letter in _cut(tag, _MAX_TITLE_CHARACTERS))
    return line.strip() or None


def clean_tags(said: Mapping[str, str]) -> dict[str, str]:
    """Return tags as they can be sent on: names in lower case, bounded in number and length, none empty."""
    tags: dict[str, str] = {}
    # What bots ask for must not be lost behind what nobody asks for.
    for name in sorted(said, key=lambda name: name.lower() not in _WANTED_TAGS):
        value = _cut(said[name], _MAX_VALUE_CHARACTERS)
        short = _cut(name.lower(), _MAX_NAME_CHARACTERS)
        if value and short:
            tags[short] = value
        if len(tags) == _MAX_TAGS:
            break
    return tags


def _cut(text: str, most: int) -> str:
    # Bytes that are no UTF-8 are lone surrogates from PyAV 19 on, and replacement characters before.
    return text[:most].encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:most]


def _is_endless(container: InputContainer) -> bool:
    # Of HLS, FFmpeg measures the playlist. Unknown is -1, and None from PyAV 19 on.
    return container.format.name == "hls" or (container.size or -1) < 0
