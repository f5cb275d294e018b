from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.testing.mls_codec import MlsDecodeError, Reader, u8, u16, u32, u64, vector


@given(
    st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
)
def test_integers_come_back_big_endian(a: int, b: int, c: int, d: int) -> None:
    data = u8(a) + u16(b) + u32(c) + u64(d)
    reader = Reader(data, "numbers")
    assert (reader.u8("a"), reader.u16("b"), reader.u32("c"), reader.u64("d")) == (a, b, c, d)
    reader.end()
    assert u16(0x0102) == b"\x01\x02"


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "00"),
        (37, "25"),
        (63, "3f"),
        (64, "4040"),
        (15_293, "7bbd"),
        (16_383, "7fff"),
        (16_384, "80004000"),
        (100_000, "800186a0"),
    ],
)
def test_lengths_take_their_shortest_form(length: int, header: str) -> None:
    data = vector(bytes(length))
    assert data[: len(header) // 2].hex() == header
    reader = Reader(data, "vector")
    assert reader.vector("content") == bytes(length)
    reader.end()


@pytest.mark.parametrize("header", ["4025", "403f", "80000000", "80003fff"])
def test_a_length_in_a_longer_form_is_refused(header: str) -> None:
    with pytest.raises(
        MlsDecodeError, match="the vector does not give the length of content in its shortest"
    ):
        Reader(bytes.fromhex(header) + bytes(70_000), "the vector").vector("content")


def test_the_reserved_form_is_refused() -> None:
    with pytest.raises(MlsDecodeError, match="reserves"):
        Reader(b"\xc0" + bytes(20), "the vector").vector("content")


def test_a_vector_of_a_gigabyte_is_not_written() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**30

    with pytest.raises(ValueError, match="at most 1073741823 bytes"):
        vector(Huge())


@given(st.binary(max_size=20))
def test_what_ends_too_early_is_named(data: bytes) -> None:
    reader = Reader(vector(data)[:-1] if data else b"", "the thing")
    with pytest.raises(MlsDecodeError, match="the thing ends within"):
        reader.vector("its content")


def test_nested_readers_say_where_they_are() -> None:
    reader = Reader(vector(u16(7) + b"x"), "outer")
    inner = reader.sub("inner")
    assert inner.u16("number") == 7
    with pytest.raises(MlsDecodeError, match="outer: inner has 1 bytes more than its structure"):
        inner.end()
    reader.end()


def test_optional_values_are_marked_with_0_or_1() -> None:
    assert not Reader(b"\0", "x").present("flag")
    assert Reader(b"\1", "x").present("flag")
    with pytest.raises(MlsDecodeError, match="marks flag with 2"):
        Reader(b"\2", "x").present("flag")


def test_a_reader_hands_back_what_it_has_read() -> None:
    reader = Reader(b"abcdef", "letters")
    reader.take(1, "a")
    start = reader.position
    reader.take(2, "bc")
    assert reader.since(start) == b"bc"
    assert reader.remaining == 3
    assert reader.rest() == b"def"
    reader.end()
