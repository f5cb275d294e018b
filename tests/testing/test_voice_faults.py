from __future__ import annotations

import pytest

from voicepool.testing.voice_faults import MUTABLE_STEPS, Faults


def test_steps_are_muted_one_by_one() -> None:
    faults = Faults()
    assert "ready" in MUTABLE_STEPS
    faults.mute("ready")
    assert faults.muted("ready")
    assert not faults.muted("hello")
    faults.unmute("ready")
    assert not faults.muted("ready")
    with pytest.raises(ValueError, match=r"no step 'redy'.*hello, ready"):
        faults.mute("redy")  # type: ignore[arg-type]


def test_ordered_closes_are_used_up_in_order() -> None:
    faults = Faults()
    faults.close_identify(4004, 2)
    faults.close_identify(4006, 1)
    assert [faults.take_identify_close() for _ in range(4)] == [4004, 4004, 4006, None]
    with pytest.raises(ValueError, match="no websocket close code"):
        faults.close_identify(40, 1)


def test_discovery_drops_are_used_up_and_muting_lasts() -> None:
    faults = Faults()
    faults.drop_discovery(2)
    assert [faults.take_discovery_drop() for _ in range(3)] == [True, True, False]
    faults.mute("discovery")
    assert faults.take_discovery_drop()
