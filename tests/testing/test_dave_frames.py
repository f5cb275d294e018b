from __future__ import annotations

import pytest

from voicepool.testing.dave_frames import is_protocol_frame


@pytest.mark.parametrize(
    ("frame", "encrypted"),
    [
        (bytes(20) + b"\x0c\xfa\xfa", True),
        (bytes(10) + b"\x0d\xfa\xfa", False),
        (bytes(11) + b"\x0c\xfa\xfa", True),
        (bytes(20) + b"\x0b\xfa\xfa", False),
        (bytes(20) + b"\x0c\xfa\xfb", False),
        (b"\xf8\xff\xfe", False),
        (b"\xfa\xfa", False),
        (b"", False),
    ],
)
def test_marker_and_a_plausible_size_make_a_protocol_frame(frame: bytes, *, encrypted: bool) -> None:
    assert is_protocol_frame(frame) is encrypted
