"""[pure] What container headers announce, where FFmpeg does not say whether it read that or guessed it.

FFmpeg estimates the length of a WAV file from its size and that of an MP3 file from its bitrate, so a file
that was cut short looks complete. The functions here look at the bytes themselves, through a callback, and
at most at a few kilobytes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["MpegFrame", "ReadAt", "has_frame_count", "mpeg_frame", "ogg_ends_inside_page", "wav_duration_s"]

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""``read_at(offset, count)``: up to `count` bytes of the file; fewer at its end."""

_UNKNOWN_WAV_BYTES: Final = 0x7FFF_F000
"""Writers that cannot go back to fill in the size leave 0 or a number near 2 or 4 GiB."""
_MAX_WAV_CHUNKS: Final = 64
_MP3_SEARCH_BYTES: Final = 8_192
_ID3_HEADER_BYTES: Final = 10
_OGG_HEADER_BYTES: Final = 27
_OGG_MAX_PAGE_BYTES: Final = 27 + 255 + 255 * 255
"""RFC 3533 §6."""

_BITRATES_KBPS: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Layer III, MPEG-1 and MPEG-2/2.5 (ISO/IEC 11172-3 §2.4.2.3, 13818-3)."""
_RATES_HZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_1: Final = 3


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """The header of an MPEG audio frame, layer III.

    Attributes
    ----------
    size_bytes
        The whole frame, header included.
    rate_hz
        Sample rate.
    tag_offset_bytes
        Where an encoder's Xing or Info tag would start in it.
    """

    size_bytes: int
    rate_hz: int
    tag_offset_bytes: int


def mpeg_frame(header: bytes) -> MpegFrame | None:
    """Read the header of an MPEG layer III frame; `None` if these four bytes are none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # noqa: PLR2004 - the sync pattern
        return None
    version, padding, mono = header[1] >> 3 & 3, header[2] >> 1 & 1, header[3] >> 6 == 3  # noqa: PLR2004
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATES_HZ or bitrate not in range(1, 15) or rate == 3:  # noqa: PLR2004 - reserved values
        return None
    first = version == _MPEG_1
    rate_hz = _RATES_HZ[version][rate]
    per_frame = 144_000 if first else 72_000
    size_bytes = per_frame * _BITRATES_KBPS[0 if first else 1][bitrate] // rate_hz + padding
    side_info_bytes = ((32, 17), (17, 9))[not first][mono]
    return MpegFrame(size_bytes, rate_hz, len(header[:4]) + side_info_bytes)


def has_frame_count(read_at: ReadAt) -> bool:
    """Tell whether an MP3 file starts with a Xing, Info or VBRI tag that counts its frames."""
    start = 0
    id3 = read_at(0, _ID3_HEADER_BYTES)
    if id3[:3] == b"ID3" and len(id3) == _ID3_HEADER_BYTES:
        size = 0
        for byte in id3[6:]:
            size = size << 7 | byte & 0x7F
        # Bit 4 of the flags: a footer as long as the header follows the tag (ID3v2.4 §3.1).
        start = size + _ID3_HEADER_BYTES * (2 if id3[5] & 0x10 else 1)
    head = read_at(start, _MP3_SEARCH_BYTES)
    at = head.find(b"\xff")
    while at >= 0:
        frame = mpeg_frame(head[at : at + 4])
        if frame is not None:
            return _counts_frames(head[at : at + frame.size_bytes], frame)
        at = head.find(b"\xff", at + 1)
    return False


def _counts_frames(data: bytes, frame: MpegFrame) -> bool:
    tag = data[frame.tag_offset_bytes :]
    if tag[:4] in {b"Xing", b"Info"}:
        return bool(tag[7:8] and tag[7] & 1 and int.from_bytes(tag[8:12], "big"))
    vbri = data[36:]
    return vbri[:4] == b"VBRI" and int.from_bytes(vbri[14:18], "big") > 0


def wav_duration_s(read_at: ReadAt) -> float | None:
    """Return how long a PCM WAV file plays by its own header.

    Returns
    -------
    float | None
        Seconds; `None` for other files, and where the header leaves the size open.
    """
    riff = read_at(0, 12)
    if riff[:4] not in {b"RIFF", b"RF64", b"RIFX"} or riff[8:] != b"WAVE":
        return None
    order = "big" if riff[:4] == b"RIFX" else "little"
    offset, bytes_per_s, long_size = 12, 0, 0
    for _ in range(_MAX_WAV_CHUNKS):
        chunk = read_at(offset, 8)
        if len(chunk) < 8:  # noqa: PLR2004 - four bytes of name, four of size
            return None
        name, size = chunk[:4], int.from_bytes(chunk[4:], order)  # type: ignore[arg-type]  # a literal, chosen above
        if name == b"ds64":
            long_size = int.from_bytes(read_at(offset + 16, 8), "little")
        elif name == b"fmt ":
            bytes_per_s = int.from_bytes(read_at(offset + 16, 4), order)  # type: ignore[arg-type]
        elif name == b"data":
            if riff[:4] == b"RF64" and size == 0xFFFF_FFFF:  # noqa: PLR2004 - EBU Tech 3306: see ds64
                size = long_size
            elif size >= _UNKNOWN_WAV_BYTES:
                return None
            return size / bytes_per_s if size and bytes_per_s else None
        offset += 8 + size + (size & 1)
    return None


def ogg_ends_inside_page(read_at: ReadAt, size_bytes: int) -> bool:
    """Tell whether an Ogg file breaks off before the end of its last page (RFC 3533 §6)."""
    start = max(0, size_bytes - _OGG_MAX_PAGE_BYTES)
    tail = read_at(start, _OGG_MAX_PAGE_BYTES)
    at = tail.rfind(b"OggS\x00")
    if at < 0:
        return False
    page = tail[at:]
    if len(page) < _OGG_HEADER_BYTES:
        return True
    lacing = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
    return len(page) < _OGG_HEADER_BYTES + page[26] + sum(lacing)
