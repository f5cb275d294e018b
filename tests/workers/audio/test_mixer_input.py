"""What a new input of a mixer is, and how one too many is refused."""

from __future__ import annotations

import pytest

from tests.workers.audio.shaped import Listed, feed_of
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer_input import MixerFullError, MixerInput
from voicepool.workers.errors import SourceError


def test_a_new_one_holds_what_it_was_given_and_has_done_nothing() -> None:
    feed, gain, duck, owner = feed_of(Listed([])), GainEnvelope(0.5), Duck(-12.0), object()
    entry = MixerInput(feed, gain, duck, None, owner)
    assert (entry.source, entry.gain, entry.duck, entry.on_end, entry.owner) == (
        feed,
        gain,
        duck,
        None,
        owner,
    )
    assert (entry.held, entry.error, entry.ended) == (None, None, False)
    assert (entry.starved_frames, entry.damaged_frames) == (0, 0)


def test_two_of_one_source_are_two() -> None:
    feed = feed_of(Listed([]))
    first, second = (MixerInput(feed, GainEnvelope(), None, None, None) for _ in range(2))
    assert first != second
    assert len({first, second}) == 2


def test_one_too_many_is_refused_with_the_limit_and_what_to_do() -> None:
    with pytest.raises(SourceError, match=r"24 tracks play in this call already.*stop one") as caught:
        raise MixerFullError(24)
    assert caught.value.code is ErrorCode.SOURCE_REFUSED
    assert caught.value.info.data == {"limit": 24}
