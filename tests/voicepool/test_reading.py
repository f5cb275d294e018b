"""The content of file-like objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._reading import is_file_like, read_content


class Trickle:
    """Gives as little at a time as it likes, and counts what was asked for."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._file = io.BytesIO(content)
        self._piece = piece

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._piece))

    @property
    def read_bytes(self) -> int:
        return self._file.tell()


@given(st.binary(max_size=50), st.integers(1, 60), st.integers(0, 60))
def test_all_or_an_error_however_it_comes(content: bytes, piece: int, most: int) -> None:
    file = Trickle(content, piece)
    if len(content) <= most:
        assert read_content(file, most) == content
    else:
        with pytest.raises(ValueError, match=f"more than max_bytes = {most}"):
            read_content(file, most)
    assert file.read_bytes <= most + 1


def test_it_is_read_from_where_it_is() -> None:
    file = io.BytesIO(b"headRIFF")
    file.seek(4)
    assert read_content(file) == b"RIFF"


class Gives:
    def __init__(self, piece: object) -> None:
        self._piece = piece

    def read(self, _count: int) -> object:
        return self._piece


@pytest.mark.parametrize("file", [io.StringIO("la"), Gives("la"), Gives([1])])
def test_what_gives_no_bytes_is_no_file_of_audio(file: Any) -> None:
    with pytest.raises(TypeError, match="open it as 'rb'"):
        read_content(file)


def test_what_has_nothing_at_the_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="in blocking mode"):
        read_content(Gives(None))


def test_a_file_for_writing_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(ValueError, match="not opened for reading"):
        read_content(file)


def test_a_failure_is_its_own() -> None:
    class Broken:
        def read(self, _count: int) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        read_content(Broken())


def test_what_is_like_a_file() -> None:
    assert [is_file_like(io.BytesIO()), is_file_like(io.StringIO()), is_file_like(Gives(b""))] == [True] * 3
    assert [is_file_like(io.BytesIO), is_file_like(b""), is_file_like("a"), is_file_like(None)] == [False] * 4
