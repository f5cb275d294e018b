"""What a call is going to hear."""

from __future__ import annotations

import pytest

from voicepool._calls.hint import station_name
from voicepool.source import AudioFile
from voicepool.station import Station


def test_a_station_is_meant_by_its_name() -> None:
    assert station_name(Station("lofi", "lofi.ogg")) == station_name("lofi") == "lofi"
    assert station_name(None) is None


def test_a_source_is_no_station() -> None:
    with pytest.raises(TypeError, match="a Station or its name, not AudioFile"):
        station_name(AudioFile("lofi.ogg"))
