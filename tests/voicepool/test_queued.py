"""A source and how it is to be played when its turn comes."""

from __future__ import annotations

import pytest

from voicepool.queued import QueuedTrack
from voicepool.source import AudioFile


def test_it_has_a_source_and_settings() -> None:
    track = QueuedTrack("/music/a.flac", volume=0.5, crossfade_s=3)
    assert track.source == AudioFile("/music/a.flac")
    assert (track.settings.track.volume, track.settings.crossfade_s) == (0.5, 3.0)


def test_two_of_them_are_not_equal_and_it_names_no_secret() -> None:
    first, second = (QueuedTrack("https://user:hidden@example.com/a.mp3?key=hidden") for _ in range(2))
    assert first != second
    assert repr(first) == "QueuedTrack('https://example.com/a.mp3')"


def test_what_is_wrong_is_refused_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="allowed is"):
        QueuedTrack(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="volume must be"):
        QueuedTrack("a.flac", volume=-1)
    with pytest.raises(TypeError, match="unknown option pitch"):
        QueuedTrack("a.flac", pitch=2)  # type: ignore[call-arg]
