from __future__ import annotations

from typing import Any

import pytest

from voicepool.testing.voice_settings import VoiceServerSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "localhost"},
        {"host": "::1"},
        {"modes": ()},
        {"modes": ("rot13",)},
        {"heartbeat_interval_ms": 0},
        {"heartbeat_interval_ms": float("nan")},
        {"heartbeat_timeout_ms": -1},
        {"inspect": "some"},
        {"keep_audio_s": -1},
        {"speaking_grace_s": -0.1},
        {"resume_window_s": -1},
        {"resume_buffer_messages": -1},
        {"first_sequence": 65_536},
        {"dave": "sometimes"},
        {"dave_transition_timeout_s": 0},
        {"dave_first_transition_id": 0},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"DiscordVoiceServer: {next(iter(wrong))} must be"):
        VoiceServerSettings(**wrong)


def test_derived_values() -> None:
    assert VoiceServerSettings(heartbeat_interval_ms=100).heartbeat_timeout_s == pytest.approx(0.2)
    assert VoiceServerSettings(heartbeat_timeout_ms=50).heartbeat_timeout_s == pytest.approx(0.05)
    assert VoiceServerSettings().keep_frames == 30_000
    assert VoiceServerSettings(inspect="headers").keep_frames == 0
