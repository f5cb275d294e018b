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


def test_what_is_ordered_for_a_guild_goes_first_and_spares_others() -> None:
    faults = Faults()
    faults.close_identify(4004, 1)
    faults.close_identify(4006, 1, 7)
    faults.close_resume(1006, 1, 7)
    assert faults.take_resume_close(8) is None
    assert faults.take_resume_close(7) == 1006
    assert [faults.take_identify_close(7) for _ in range(3)] == [4006, 4004, None]
    faults.drop_discovery(1, 7)
    faults.drop_discovery(1)
    assert [faults.take_discovery_drop(7) for _ in range(3)] == [True, True, False]


def test_unmuting_everywhere_unmutes_each_guild() -> None:
    faults = Faults()
    faults.mute("ready", 7)
    faults.mute("ready", 8)
    faults.mute("discovery", 7)
    assert (faults.muted("ready", 7), faults.muted("ready", 9), faults.muted("ready")) == (True, False, False)
    faults.unmute("ready", 7)
    assert (faults.muted("ready", 7), faults.muted("ready", 8)) == (False, True)
    faults.unmute("ready")
    assert not faults.muted("ready", 8)
    assert faults.muted("discovery", 7)


def test_hello_comes_before_the_guild_is_known() -> None:
    with pytest.raises(ValueError, match="all guilds"):
        Faults().mute("hello", 7)
