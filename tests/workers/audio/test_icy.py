from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.audio.icy import IcyStripper, interval_bytes, parse_block, split_title


def block(text: bytes) -> bytes:
    """Return a block as it goes over the wire."""
    units = -(-len(text) // 16)
    return bytes([units]) + text.ljust(units * 16, b"\0")


def mixed(audio: bytes, interval: int, *titles: bytes) -> bytes:
    """Put a block behind each so many bytes of audio; empty ones once the titles are used up."""
    out, waiting = b"", list(titles)
    for at in range(0, len(audio), interval):
        piece = audio[at : at + interval]
        out += piece
        if len(piece) == interval:
            out += block(waiting.pop(0) if waiting else b"")
    return out


@pytest.mark.parametrize(
    ("header", "interval"),
    [("8192", 8192), (" 1 ", 1), ("16777216", 16777216), ("0", None), ("-5", None), ("16777217", None)]
    + [(header, None) for header in (None, "", "8k", "٣", "9" * 10_000, "1e3")],
)
def test_interval(header: str | None, interval: int | None) -> None:
    assert interval_bytes(header) == interval


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (
            b"StreamTitle='A - B';StreamUrl='http://x/';\0\0",
            {"streamtitle": "A - B", "streamurl": "http://x/"},
        ),
        (b"StreamTitle='Don't Stop';", {"streamtitle": "Don't Stop"}),
        (b"StreamTitle='a';b';StreamUrl='';", {"streamtitle": "a';b", "streamurl": ""}),
        (b"StreamTitle='It's 'quoted'';StreamUrl='';", {"streamtitle": "It's 'quoted'", "streamurl": ""}),
        (b"StreamTitle='no semicolon'", {"streamtitle": "no semicolon"}),
        (b"StreamTitle='';", {"streamtitle": ""}),
        ("StreamTitle='Ænima ☕ é';".encode(), {"streamtitle": "Ænima ☕ é"}),
        (b"StreamTitle='caf\xe9';", {"streamtitle": "café"}),
        (b"StreamTitle='cut off", {}),
        (b"", {}),
        (b"\xff\xfe\x00garbage'='';=", {}),
    ],
)
def test_blocks(data: bytes, fields: dict[str, str]) -> None:
    assert parse_block(data) == fields


def test_hostile_blocks_are_bounded() -> None:
    assert len(parse_block(b"".join(b"a%d='';" % n for n in range(400)))) == 16
    for data in (b"a" * 4_080, b"StreamTitle='" * 313, b"='" * 2_040, b"a='';" * 816):
        assert len(parse_block(data)) <= 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Artist - Title", ("Artist", "Title")),
        ("A - B - C", ("A", "B - C")),
        ("Only a title", (None, "Only a title")),
        ("AC-DC", (None, "AC-DC")),
        (" - Title", (None, "Title")),
        ("Artist - ", ("Artist", None)),
        ("  ", (None, None)),
    ],
)
def test_split(text: str, expected: tuple[str | None, str | None]) -> None:
    assert split_title(text) == expected


@given(st.binary(max_size=300), st.integers(1, 40), st.lists(st.binary(max_size=90), max_size=9), st.data())
def test_any_pieces_give_the_same_audio_and_blocks(
    audio: bytes, interval: int, titles: list[bytes], data: st.DataObject
) -> None:
    wire = mixed(audio, interval, *titles)
    stripper = IcyStripper(interval)
    out = b""
    while wire:
        count = data.draw(st.integers(1, len(wire)))
        out += stripper.feed(wire[:count])
        wire = wire[count:]
    assert out == audio
    assert stripper.audio_bytes == len(audio)
    sent = [title for title in titles[: len(audio) // interval] if title]
    assert [found.rstrip(b"\0") for found in stripper.blocks] == [title.rstrip(b"\0") for title in sent]


@given(st.binary(max_size=5_000), st.integers(1, 1_000))
def test_any_bytes_are_taken_apart(wire: bytes, interval: int) -> None:
    stripper = IcyStripper(interval)
    assert len(stripper.feed(wire)) <= len(wire)
    for found in stripper.blocks:
        assert len(found) <= 4_080
        parse_block(found)
