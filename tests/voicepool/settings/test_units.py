"""What a refused number may have meant."""

from __future__ import annotations

import pytest

from voicepool._settings.units import suggest

SECONDS = ("s", 0.01, 600.0)
MIB = ("MiB", 0, 1 << 20)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("15", "15"),
        ("15s", "15"),
        (" 15 sec ", "15"),
        ("1500ms", "1.5"),
        ("1_500 ms", "1.5"),
        ("2 min", "120"),
        ("0.05h", "180"),
        ("1e2", "100"),
        (15_000, "15"),
        (700, "0.7"),
    ],
)
def test_seconds(value: object, written: str) -> None:
    assert suggest(value, *SECONDS).endswith(f": write {written}")


@pytest.mark.parametrize(
    "value",
    ["soon", "15 apples", "", "1 h 5 min", "2h", "-1", -1, 0, 1e9, float("nan"), 10**400, True, None, []],
)
def test_what_fits_nothing_gets_no_advice(value: object) -> None:
    assert suggest(value, *SECONDS) == ""


@pytest.mark.parametrize(
    ("value", "unit", "lowest", "highest", "written"),
    [
        ("512MB", "MiB", 0, 1 << 20, "488"),
        ("512 MiB", "MiB", 0, 1 << 20, "512"),
        ("1G", "MiB", 0, 1 << 20, "1024"),
        (1 << 29, "MiB", 0, 1 << 20, "512"),
        ("64MiB", "bytes", 1, 1 << 30, "67108864"),
        ("128k", "bit/s", 6_000, 510_000, "128000"),
        ("96 kbps", "bit/s", 6_000, 510_000, "96000"),
        (96, "bit/s", 6_000, 510_000, "96000"),
        ("160ms", "frames of 20 ms", 2, 50, "8"),
        ("7", "attempts", 1, 1_000, "7"),
    ],
)
def test_whole_numbers(value: object, unit: str, lowest: int, highest: int, written: str) -> None:
    assert suggest(value, unit, lowest, highest, whole=True).endswith(f": write {written}")


def test_shares_and_rates() -> None:
    assert suggest("85%", "of a core", 0.05, 1.0).endswith(": write 0.85")
    assert suggest(85, "of a core", 0.05, 1.0).endswith("not percent: write 0.85")
    assert suggest("50 Hz", "calls/s", 0.1, 1e4).endswith(": write 50")


def test_a_unit_of_its_own_kind_has_no_other_spelling() -> None:
    assert suggest("8080 ms", "TCP port", 0, 65_535, whole=True) == ""
    assert (
        suggest("8080", "TCP port", 0, 65_535, whole=True)
        == "as a number without quotes and unit: write 8080"
    )
