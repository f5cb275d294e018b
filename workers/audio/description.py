"""What a source says of itself: its tags, its length and its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from voicepool.workers.audio.frame import CHANNELS

__all__ = ["MediaInfo", "describe", "may_pass_through"]

_MAX_TAG_CHARACTERS: Final = 300
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
    """

    title: str | None
    artist: str | None
    duration_s: float | None
    codec: str
    container: str
    sample_rate_hz: int
    channels: int


def describe(container: InputContainer, stream: AudioStream) -> MediaInfo:
    """Return what an opened source says of itself."""
    # Ogg has its tags on the stream, most others on the container.
    tags = {key.lower(): value for key, value in [*stream.metadata.items(), *container.metadata.items()]}
    duration_s = None
    if container.duration is not None:
        duration_s = container.duration / av.time_base
    elif stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    return MediaInfo(
        title=_text(tags.get("title", "")),
        artist=_text(tags.get("artist", "")),
        duration_s=duration_s,
        codec=stream.codec.canonical_name,
        container=container.format.name,
        sample_rate_hz=stream.codec_context.sample_rate,
        channels=stream.codec_context.channels,
    )


def may_pass_through(head: bytes | None) -> bool:
    """Tell whether an Opus stream is one plain stream at its own level (RFC 7845 §5.1).

    Surround sound is several streams in a packet, and a gain in the header is the decoder's to apply.
    """
    if head is None or len(head) < _OPUS_HEAD_BYTES:
        return False
    channels, gain, mapping_family = head[9], head[16:18], head[18]
    return channels <= CHANNELS and gain == b"\x00\x00" and mapping_family == 0


def _text(tag: str) -> str | None:
    """Return a tag as it can be sent on; None if there is nothing in it.

    Bytes that are no UTF-8 are lone surrogates from PyAV 19 on, and replacement characters before.
    """
    return tag.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:_MAX_TAG_CHARACTERS] or None
