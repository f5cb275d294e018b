"""What several test modules of the sound ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.audio.encoder_bench import EncoderBench


@pytest.fixture
def encoders() -> Iterator[EncoderBench]:
    encoders = EncoderBench()
    yield encoders
    encoders.close()
