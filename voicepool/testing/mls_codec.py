"""[pure] Reading and writing MLS structures: the TLS presentation language with MLS' vector headers.

Sources: RFC 8446 §3 (integers, big-endian), RFC 9420 §2.1.1 (optional values) and §2.1.2 (vectors whose
length is a variable-size integer, in its shortest form).
"""

from __future__ import annotations

__all__ = ("MAX_VECTOR_BYTES", "MlsDecodeError", "Reader", "u8", "u16", "u32", "u64", "vector")

from typing import Final, NoReturn

MAX_VECTOR_BYTES: Final = 2**30 - 1
"""Longest vector that its header can announce, in bytes."""

_LENGTH_FORMS: Final = ((1, 0), (2, 2**6), (4, 2**14))
"""Bytes of a length header by its first two bits, and the smallest length that needs so many."""


class MlsDecodeError(ValueError):
    """Bytes are not the MLS structure they should be; the text says which part, and free of its content."""


class Reader:
    """Takes one structure after the other from some bytes.

    Parameters
    ----------
    data : bytes
        What to read.
    name : str
        What `data` should be, for the error texts.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._at

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def u8(self, part: str) -> int:
        """Read an unsigned integer of one byte; `part` names it in the error text."""
        return int.from_bytes(self.take(1, part))

    def u16(self, part: str) -> int:
        """Read an unsigned integer of two bytes."""
        return int.from_bytes(self.take(2, part))

    def u32(self, part: str) -> int:
        """Read an unsigned integer of four bytes."""
        return int.from_bytes(self.take(4, part))

    def u64(self, part: str) -> int:
        """Read an unsigned integer of eight bytes."""
        return int.from_bytes(self.take(8, part))

    def take(self, count: int, part: str) -> bytes:
        """Read `count` bytes.

        Raises
        ------
        MlsDecodeError
            Fewer are left.
        """
        if count > self.remaining:
            self.fail(f"ends within {part} ({self.remaining} of {count} bytes are there)")
        start = self._at
        self._at += count
        return self._data[start : self._at]

    def vector(self, part: str) -> bytes:
        """Read a vector ``<V>``: its length, then that many bytes.

        Raises
        ------
        MlsDecodeError
            The length is not in its shortest form, or exceeds what is left.
        """
        first = self.u8(f"the length of {part}")
        form = first >> 6
        if form == len(_LENGTH_FORMS):
            self.fail(f"gives the length of {part} in a form that RFC 9420 §2.1.2 reserves")
        width, least = _LENGTH_FORMS[form]
        rest = self.take(width - 1, f"the length of {part}")
        length = int.from_bytes(bytes((first & 0x3F,)) + rest)
        if length < least:
            self.fail(f"does not give the length of {part} in its shortest form")
        return self.take(length, part)

    def sub(self, part: str) -> Reader:
        """Read a vector and return a reader of its content."""
        return Reader(self.vector(part), f"{self._name}: {part}")

    def present(self, part: str) -> bool:
        """Read whether an optional value follows.

        Raises
        ------
        MlsDecodeError
            The byte is neither 0 nor 1.
        """
        flag = self.u8(part)
        if flag > 1:
            self.fail(f"marks {part} with {flag}; 0 is absent, 1 is present")
        return bool(flag)

    def since(self, start: int) -> bytes:
        """Return the bytes read from position `start` on."""
        return self._data[start : self._at]

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take(self.remaining, "the rest")

    def end(self) -> None:
        """Make sure that everything was read.

        Raises
        ------
        MlsDecodeError
            Bytes are left over.
        """
        if self.remaining:
            self.fail(f"has {self.remaining} bytes more than its structure")

    def fail(self, problem: str) -> NoReturn:
        """Raise `MlsDecodeError` about this reader's structure."""
        raise MlsDecodeError(f"{self._name} {problem}")


def u8(value: int) -> bytes:
    """Return an unsigned integer as one byte."""
    return value.to_bytes(1)


def u16(value: int) -> bytes:
    """Return an unsigned integer as two bytes."""
    return value.to_bytes(2)


def u32(value: int) -> bytes:
    """Return an unsigned integer as four bytes."""
    return value.to_bytes(4)


def u64(value: int) -> bytes:
    """Return an unsigned integer as eight bytes."""
    return value.to_bytes(8)


def vector(content: bytes) -> bytes:
    """Return `content` as a vector ``<V>``.

    Raises
    ------
    ValueError
        It is longer than `MAX_VECTOR_BYTES`.
    """
    length = len(content)
    if length > MAX_VECTOR_BYTES:
        raise ValueError(f"an MLS vector holds at most {MAX_VECTOR_BYTES} bytes; this one has {length}")
    for form, (width, _least) in enumerate(_LENGTH_FORMS):
        if length < 1 << (8 * width - 2):
            return (form << (8 * width - 2) | length).to_bytes(width) + content
    raise AssertionError(length)
