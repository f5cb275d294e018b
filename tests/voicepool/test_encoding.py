"""Settings of the Opus encoder, as bot authors give them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from voicepool.encoding import Encoding
from voicepool.ipc import commands


def test_it_goes_to_the_worker_as_it_is() -> None:
    encoding = Encoding(
        bitrate_bps=64_000, complexity=5, fec=True, expected_loss_percent=15, dtx=True, mono=True
    )
    assert encoding.to_wire(auto_bps=1) == commands.Encoding(
        bitrate_bps=64_000, complexity=5, fec=True, expected_loss_percent=15, dtx=True, mono=True
    )


@pytest.mark.parametrize(("auto_bps", "used_bps"), [(96_000, 96_000), (1, 6_000), (600_000, 510_000)])
def test_auto_is_what_it_is_told_within_the_range_of_opus(auto_bps: int, used_bps: int) -> None:
    assert Encoding().to_wire(auto_bps=auto_bps).bitrate_bps == used_bps


WRONG: list[tuple[str, object]] = [
    *[("bitrate_bps", value) for value in (5_999, 510_001, 64_000.0, True, "low", None)],
    *[("complexity", value) for value in (-1, 11, 1.0, None)],
    *[("expected_loss_percent", value) for value in (-1, 101, "5")],
    *[(name, value) for name in ("fec", "dtx", "mono") for value in (1, None, "yes")],
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_a_value_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        dataclasses.replace(Encoding(), **{name: value})
