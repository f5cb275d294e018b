"""What encoder and decoder have in common: libopus' state and its end."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.libopus import load_libopus
from voicepool.workers.audio.opus import check_range, failure
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.opus_encoder import Encoder


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    encoder.close()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.mark.parametrize("make", [Encoder, Decoder])
def test_state_is_freed_exactly_once(
    make: Callable[[], Encoder | Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[make.__module__]
    freed: list[int] = []
    real = load_libopus()

    class Counting:
        def __getattr__(self, name: str) -> Any:
            if name not in {"encoder_destroy", "decoder_destroy"}:
                return getattr(real, name)

            def destroy(state: int) -> None:
                freed.append(state)
                getattr(real, name)(state)

            return destroy

    monkeypatch.setattr(module, "load_libopus", Counting)
    codec = make()
    state = codec._state
    codec.close()
    codec.close()
    del codec
    gc.collect()
    assert freed == [state]
    forgotten = make()
    state = forgotten._state
    del forgotten
    gc.collect()
    assert freed[1:] == [state]


def test_closed_codecs_refuse(encoder: Encoder, decoder: Decoder) -> None:
    encoder.close()
    decoder.close()
    calls: list[Callable[[], object]] = [
        encoder.encode_bound,
        encoder.reset,
        lambda: setattr(encoder, "complexity", 1),
        decoder.reset,
        lambda: decoder.decode_float(SILENCE, np.zeros((960, 2), np.float32)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_an_error_is_in_libopus_words() -> None:
    error = failure(load_libopus(), "trying something", -4)
    assert str(error) == "trying something: corrupted stream (libopus error -4)"
    assert (error.action, error.code, error.reason) == ("trying something", -4, "corrupted stream")


@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_value_within_its_range_is_let_through(value: int) -> None:
    assert check_range("channels", value, 1, 3) == value


@pytest.mark.parametrize("value", [0, 4])
def test_a_value_out_of_its_range_is_refused_by_name(value: int) -> None:
    with pytest.raises(ValueError, match=f"channels must be 1 to 3, not {value}"):
        check_range("channels", value, 1, 3)
