"""Which Opus may pass through; what sources say of themselves is shown in `test_media`."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.description import may_pass_through


def head(*, channels: int = 2, gain: int = 0, family: int = 0) -> bytes:
    return (
        b"OpusHead\x01"
        + bytes([channels])
        + (312).to_bytes(2, "little")
        + (48_000).to_bytes(4, "little")
        + gain.to_bytes(2, "little", signed=True)
        + bytes([family])
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_plain_opus_passes(channels: int) -> None:
    assert may_pass_through(head(channels=channels))


@pytest.mark.parametrize(
    "wrong",
    [None, b"", head()[:18], head(channels=6, family=1), head(gain=-256), head(gain=1), head(family=255)],
)
def test_other_opus_is_decoded(wrong: bytes | None) -> None:
    assert not may_pass_through(wrong)
