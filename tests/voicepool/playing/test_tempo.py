"""How fast a track goes, as its options tell."""

from __future__ import annotations

import pytest

from voicepool._playing.options import checked_options
from voicepool._playing.tempo import rate_of
from voicepool.filters import BassBoost, Nightcore, Vaporwave


@pytest.mark.parametrize(
    ("filters", "rate"),
    [
        (None, 1.0),
        ("anull", 1.0),
        ("atempo=1.5", 1.5),
        ("volume=0.5, atempo=tempo=2,atempo=1.5", 3.0),
        ("asetrate=60000,aresample=48000", 1.25),
        ("asetrate=sample_rate=60000,aresample=48000,asetrate=r=24000", 0.625),
        ("aresample=24000,asetrate=48000", 2.0),
        ("asetrate=60000,aresample=48000,atempo=0.8", 1.0),
        ("rubberband=tempo=1.5:pitch=2", 1.5),
        ("rubberband=pitch=2", 1.0),
        ("asplit[a][b];[a]atempo=2[c];[b][c]amix", 1.0),
        ("atempo=0", 1.0),
        ("asetrate=44100*1.25", 1.0),
        ("xatempo=2", 1.0),
    ],
)
def test_filters_that_change_the_tempo_are_known(filters: str | None, rate: float) -> None:
    assert rate_of(checked_options({"filters": filters}).track) == pytest.approx(rate)


def test_the_speed_counts_beside_them() -> None:
    assert rate_of(checked_options({"speed": 2.0, "filters": "atempo=0.75"}).track) == pytest.approx(1.5)


def test_so_are_the_presets() -> None:
    for preset, rate in ((Nightcore(), 1.25), (Vaporwave(), 0.8), (BassBoost(), 1.0)):
        assert rate_of(checked_options({"filters": [preset]}).track) == pytest.approx(rate, rel=0.01)
