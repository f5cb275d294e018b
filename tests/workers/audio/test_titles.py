from __future__ import annotations

import io

import av

from tests.workers.audio.media_files import encode
from voicepool.workers.audio.titles import TitleChange, TitleLog


def test_changes_are_handed_out_once_and_with_the_position_of_who_asks() -> None:
    log = TitleLog()
    assert log.take(1.0) == []
    assert log.latest is None
    log.announce({"StreamTitle": "A - B"}, title="B", artist="A")
    log.announce({"StreamTitle": "A - B"}, title="B", artist="A")
    log.announce({"StreamTitle": ""}, title=None, artist=None)
    assert log.latest == TitleChange(0.0, None, None, {})
    assert log.take(2.5) == [
        TitleChange(2.5, "B", "A", {"streamtitle": "A - B"}),
        TitleChange(2.5, None, None),
    ]
    log.announce({"StreamTitle": ""}, title="", artist="")
    assert log.take(3.0) == []


def test_nobody_has_to_take_them() -> None:
    log = TitleLog()
    for number in range(1_000):
        log.announce({}, title=str(number), artist=None)
    assert [change.title for change in log.take(0.0)] == [str(number) for number in range(984, 1_000)]


def test_hostile_titles_are_cut_and_made_one_line() -> None:
    log = TitleLog()
    tags = {f"name{number}" * 99: "x" * 9_999 for number in range(99)}
    log.announce(tags, title="a\n\x1b[31m\udcff" + "b" * 9_999, artist="\0")
    (change,) = log.take(0.0)
    assert change.title is not None
    assert change.title.startswith("a  [31m")
    assert len(change.title) <= 300
    change.title.encode()
    assert change.artist is None
    assert len(change.tags) <= 32
    assert {len(value) for value in change.tags.values()} == {500}


def test_a_chained_ogg_tells_the_title_of_each_link() -> None:
    links = [
        encode("libopus", "ogg", seconds=0.5, tags=(("title", title), ("artist", "Someone")))
        for title in ("One", "Two", "Three")
    ]
    log = TitleLog()
    found = []
    with av.open(
        io.BytesIO(b"".join(relinked(link, serial) for serial, link in enumerate(links))), "r"
    ) as file:
        assert file.streams.audio[0].metadata["title"] == "One"
        for packet in file.demux(audio=0):
            log.look_at(packet)
            found += [(change.title, change.artist) for change in log.take(0.0)]
    assert found == [("Two", "Someone"), ("Three", "Someone")]


def relinked(data: bytes, serial: int) -> bytes:
    """Give an Ogg stream another serial number, and its pages the checksums to it (RFC 3533 §6)."""
    out, at = bytearray(data), 0
    while at < len(out):
        segments = out[at + 26]
        end = at + 27 + segments + sum(out[at + 27 : at + 27 + segments])
        out[at + 14 : at + 18] = serial.to_bytes(4, "little")
        out[at + 22 : at + 26] = bytes(4)
        out[at + 22 : at + 26] = checksum(out[at:end]).to_bytes(4, "little")
        at = end
    return bytes(out)


def checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C1_1DB7 if value & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return value
