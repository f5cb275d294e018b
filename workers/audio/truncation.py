"""Whether a source ended where it said it would.

FFmpeg plays what is there and reports the end of a broken-off file like any other. A source counts as
truncated when less was played than its header announces, or when it breaks off inside its last packet. A
length that FFmpeg merely estimated is no announcement, so MP3 without a frame count and live streams end
without a word unless they break off inside a frame.
"""

from __future__ import annotations

from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from voicepool.workers.audio.headers import has_frame_count, mpeg_frame, ogg_ends_inside_page, wav_duration_s
from voicepool.workers.audio.location import SourceFile

__all__ = ["SLACK_S", "announced_s", "breaks_off", "is_short"]

SLACK_S: Final = 0.5
"""How much shorter than announced a source may be: encoders count their padding, and round."""
_EXACT_S: Final = 0.03
"""What is left unplayed by a source that plays to its announced end (one codec frame)."""
_MPEG_HEADER_BYTES: Final = 4


def announced_s(  # noqa: PLR0911 - one return a container
    container: InputContainer, stream: Stream, file: SourceFile | None
) -> float | None:
    """Return how long the source says it is, in seconds; `None` if it does not say, or FFmpeg guessed.

    Parameters
    ----------
    container, stream
        The opened source.
    file
        Its bytes; `None` for a URL.
    """
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    whole_s = container.duration / av.time_base if container.duration is not None else None
    match container.format.name.split(",")[0]:
        case "flac" | "aiff":
            return duration_s
        case "mov":
            # Whichever is less: an edit list may play less than the track holds.
            return min((s for s in (duration_s, whole_s) if s is not None), default=None)
        case "matroska":
            # The header's length is that of the longest stream, so with a video it says nothing on the sound.
            return whole_s if all(other.type == "audio" for other in container.streams) else None
        case "wav" if file is not None and stream.codec_context.name.startswith("pcm_"):
            return wav_duration_s(file.read_at)
        case "mp3" if file is not None:
            return duration_s if has_frame_count(file.read_at) else None
        case "mp3":
            # The bytes of a URL are out of reach. FFmpeg takes a start from an encoder's tag only, which
            # has the count beside it.
            return duration_s if stream.start_time else None
        case _:
            return None


def breaks_off(
    container: InputContainer, stream: Stream, file: SourceFile | None, last: Packet[AudioStream] | None
) -> bool:
    """Tell whether a source ends in the middle of a packet, which FFmpeg drops or plays half of.

    Parameters
    ----------
    container, stream, file
        The opened source, read to its end.
    last
        Its last packet.
    """
    if container.format.name == "ogg":
        return file is not None and ogg_ends_inside_page(file.read_at, file.size_bytes)
    if container.format.name != "mp3" or last is None or not stream.codec_context.name.startswith("mp3"):
        return False
    frame = mpeg_frame(bytes(last)[:_MPEG_HEADER_BYTES])
    if frame is not None and last.size < frame.size_bytes:
        return True
    if file is None or last.pos is None:
        return False
    # FFmpeg gives out no packet for less than a header, and may drop a frame that is cut.
    end_bytes = last.pos + last.size
    rest = file.read_at(end_bytes, _MPEG_HEADER_BYTES)
    frame = mpeg_frame(rest)
    if frame is not None:
        return end_bytes + frame.size_bytes > file.size_bytes
    return 0 < len(rest) < _MPEG_HEADER_BYTES and rest[0] == 0xFF  # noqa: PLR2004 - first byte of a header


def is_short(played_s: float, announced: float | None, *, last_packet_bad: bool) -> bool:
    """Tell whether a source that has ended had more to give.

    Parameters
    ----------
    played_s
        How much was played, skipped packets included.
    announced
        How much the header announces, in seconds.
    last_packet_bad
        The last packet could not be decoded, or is incomplete.
    """
    if announced is None:
        return last_packet_bad
    # Junk after the end (tags of other formats) is a bad last packet too, but then everything was played.
    missing_s = announced - played_s
    return missing_s > SLACK_S or (last_packet_bad and missing_s > _EXACT_S)
